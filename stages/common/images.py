"""The data set between download and the other stages: uint8 arrays and dataset.json; and how a picture becomes one."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from pydantic import ValidationError

from .files import IMAGES
from .params import Count, Section
from .stage import UserError

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


def images_path(split: Split, directory: Path = IMAGES) -> Path:
    return directory / f"{split}_images.npy"


def labels_path(split: Split, directory: Path = IMAGES) -> Path:
    return directory / f"{split}_labels.npy"


def dataset_path(directory: Path = IMAGES) -> Path:
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
        raise UserError(f"{IMAGES}: damaged ({str(error).splitlines()[0]}); run the download stage again") from None
    size = dataset.image_size
    expected = (dataset.counts.get(split, 0), 3, size, size)
    if images.shape != expected or images.dtype != np.uint8 or labels.shape != expected[:1] or labels.dtype != np.int64:
        raise UserError(
            f"{IMAGES}: {split} holds {images.dtype} {images.shape} with labels {labels.dtype} {labels.shape}, "
            f"dataset.json says uint8 {expected}; run the download stage again"
        )
    if labels.min() < 0 or labels.max() >= len(dataset.classes):
        raise UserError(
            f"{labels_path(split)}: labels {labels.min()} to {labels.max()}, but {len(dataset.classes)} classes; "
            "run the download stage again"
        )
    return LabelledImages(dataset, images, labels)


def split_by_class(labels: Array, classes: list[str], fraction: float, seed: int) -> tuple[Array, Array]:
    """Indices of the pictures that stay and of those set apart, ascending: ``fraction`` of each class, at least one.

    Raises:
        UserError: a class has a single picture.
    """
    chosen = np.zeros(len(labels), bool)
    for label, name in enumerate(classes):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise UserError(f"class {name} has {len(members)} picture; it needs 2, so that one can be set apart")
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        chosen[np.random.default_rng((seed, label)).permutation(members)[:count]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def decode_picture(content: bytes, size: int) -> Array:
    """Decode a file that Pillow reads into uint8, (3, size, size), RGB.

    Turned as its EXIF orientation says; transparent parts on white; of an animation the first frame.

    Raises:
        UserError: it cannot be decoded, is so large that it may be an attack, or has pixels without a defined range.
    """
    try:
        image: Image.Image = Image.open(io.BytesIO(content))
        # Pillow only warns of these; turning its warning into an error would not be safe in a thread.
        if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
            raise Image.DecompressionBombError
        image.draft("RGB", (2 * size, 2 * size))  # lets a large JPEG be decoded at a fraction of its size
        return to_array(to_rgb(ImageOps.exif_transpose(image)), size)
    except Image.DecompressionBombError:
        raise UserError(f"more than {Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller or take it out") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise UserError(f"not a picture that Pillow can read ({error}); repair it or take it out") from None


def to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        # 16 bits a pixel: Pillow's own conversion would clip everything above 255 to white.
        return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise UserError("floating-point pixels have no defined range; save it with 8 or 16 bits, or take it out")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def to_array(image: Image.Image, size: int) -> Array:
    """Resize to a square, whole and uncropped, and bring (H, W, 3) to (3, H, W)."""
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1)
