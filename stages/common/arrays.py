"""The data set between download and the other stages: uint8 arrays and dataset.json."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from common.errors import UserError
from common.files import ARRAYS
from common.section import Count, Section

Split = Literal["train", "test"]
Array = npt.NDArray[Any]


class Dataset(Section):
    """What dataset.json says."""

    name: str
    classes: list[str]  # in label order
    image_size: int  # pixels
    counts: dict[Split, Count]
    source: str
    sha256: str | None  # of the source, when it is a file


class ImageFile:
    """Pictures in a .npy file, uint8 (N, 3, H, W), read by index.

    Not by mapping the file into memory: that would count all of it as this process's memory, and a shuffled epoch over
    mapped pages waits for a page fault a picture, which took up to 70 times as long as reading.

    Raises:
        FileNotFoundError, ValueError: the file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        mapped = np.lib.format.open_memmap(path, "r")  # checks header and length
        if not mapped.flags.c_contiguous:
            raise ValueError(f"{path.name} is in Fortran's order")
        self.shape, self.dtype, self.offset = mapped.shape, mapped.dtype, mapped.offset
        self.file = path.open("rb", buffering=0)

    def __len__(self) -> int:
        return int(self.shape[0])

    def read(self, indices: Sequence[int] | Array) -> Array:
        """Those pictures, (len(indices), 3, H, W)."""
        images = np.empty((len(indices), *self.shape[1:]), self.dtype)
        stride = images.nbytes // max(1, len(images))
        for image, index in zip(images, indices, strict=True):
            self.file.seek(self.offset + int(index) * stride)
            self.file.readinto(image)
        return images


@dataclass(frozen=True)
class LabelledImages:
    """One split of a data set; labels are int64, (N,)."""

    dataset: Dataset
    images: ImageFile
    labels: Array


def images_path(split: Split, directory: Path = ARRAYS) -> Path:
    return directory / f"{split}_images.npy"


def labels_path(split: Split, directory: Path = ARRAYS) -> Path:
    return directory / f"{split}_labels.npy"


def dataset_path(directory: Path = ARRAYS) -> Path:
    return directory / "dataset.json"


def load_images(split: Split) -> LabelledImages:
    """Open a split as download wrote it.

    Raises:
        UserError: a file is missing or damaged, or the files do not belong together.
    """
    try:
        dataset = Dataset.model_validate_json(dataset_path().read_bytes())
        images = ImageFile(images_path(split))
        labels = np.array(np.lib.format.open_memmap(labels_path(split), "r"))
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: no such file; run the download stage first") from None
    except (ValidationError, ValueError) as error:
        raise UserError(
            f"{ARRAYS}: damaged ({str(error).splitlines()[0]}); run the download stage again"
        ) from None
    size = dataset.image_size
    expected = (dataset.counts.get(split, 0), 3, size, size)
    if (
        images.shape != expected
        or images.dtype != np.uint8
        or labels.shape != expected[:1]
        or labels.dtype != np.int64
    ):
        raise UserError(
            f"{ARRAYS}: {split} holds {images.dtype} {images.shape} with labels {labels.dtype} {labels.shape}, "
            f"dataset.json says uint8 {expected}; run the download stage again"
        )
    if labels.min() < 0 or labels.max() >= len(dataset.classes):
        raise UserError(
            f"{labels_path(split)}: labels {labels.min()} to {labels.max()}, but {len(dataset.classes)} classes; "
            "run the download stage again"
        )
    return LabelledImages(dataset, images, labels)
