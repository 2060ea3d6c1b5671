"""The arrays of a data set, written as its images come: memory does not grow with their number."""

import json
from array import array
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, get_args

import numpy as np

from common.arrays import (
    Array,
    Dataset,
    Split,
    dataset_path,
    files_path,
    images_path,
    keys_path,
    labels_path,
)
from common.errors import UserError
from common.files import write_json
from common.params import Download
from common.progress import Progress
from sources.decode import UnreadableError
from sources.source import Source, SourceImage
from sources.unreadable import Unreadable, refusal


class SplitWriter:
    """Writes the files of one split of a data set.

    The header of the images says how many they are, so it is written again at the end.
    """

    def __init__(self, split: Split, image_size: int, directory: Path, stack: ExitStack) -> None:
        self.split, self.image_size, self.directory = split, image_size, directory
        self.images = stack.enter_context(images_path(split, directory).open("wb"))
        self.names = stack.enter_context(files_path(split, directory).open("w", newline="\n"))
        self.labels, self.keys = array("q"), array("Q")
        write_header(self.images, np.uint8, (0, 3, image_size, image_size))

    def append(self, image: SourceImage, pixels: Array) -> None:
        self.images.write(pixels.tobytes())
        self.names.write(json.dumps(image.name) + "\n")
        self.labels.append(image.label)
        self.keys.append(image.key)

    def finish(self) -> None:
        size = self.image_size
        self.images.seek(0)
        write_header(self.images, np.uint8, (len(self.labels), 3, size, size))
        for path, numbers, dtype in [
            (labels_path(self.split, self.directory), self.labels, np.int64),
            (keys_path(self.split, self.directory), self.keys, np.uint64),
        ]:
            # np.save says nothing of a full disk but how many numbers it wrote.
            with path.open("wb") as file:
                write_header(file, dtype, (len(numbers),))
                file.write(numbers.tobytes())


def write_header(file: IO[bytes], dtype: Any, shape: tuple[int, ...]) -> None:
    """Write the header of a .npy file; its length does not depend on the first dimension."""
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def write_arrays(
    source: Source, download: Download, directory: Path
) -> tuple[Dataset, list[Unreadable]]:
    """Write the arrays and dataset.json into a new directory.

    Returns:
        the data set, and the image files that were skipped.

    Raises:
        UserError: Image files cannot be read and are not to be skipped, or what is left of a class
            is not in both splits.
    """
    directory.mkdir()
    unreadable = []
    with ExitStack() as stack:
        writers = {
            split: SplitWriter(split, download.image_size, directory, stack)
            for split in get_args(Split)
        }
        progress = stack.enter_context(Progress(total=source.count, desc="Convert", unit="image"))
        for image in source.images:
            if isinstance(image.decoded, UnreadableError):
                unreadable.append(Unreadable(image.name, str(image.decoded)))
            else:
                writers[image.split].append(image, image.decoded.pixels)
            progress.update()
        if unreadable and download.unreadable == "stop":
            raise refusal(unreadable, source.origin, source.count)
        for writer in writers.values():
            check_classes(writer.split, writer.labels, source.classes)
            writer.finish()
    dataset = Dataset(
        name=source.name,
        classes=source.classes,
        image_size=download.image_size,
        fit=download.fit,
        counts={split: len(writer.labels) for split, writer in writers.items()},
        source=source.origin,
        sha256=source.sha256,
    )
    write_json(dataset_path(directory), dataset.model_dump())
    return dataset, unreadable


def check_classes(split: Split, labels: Iterable[int], classes: list[str]) -> None:
    """Check that a split has images of each class.

    Raises:
        UserError: It has not, since the only ones could not be read.
    """
    absent = sorted(set(range(len(classes))) - set(labels))
    if absent:
        raise UserError(
            f"no image of class {classes[absent[0]]} that is for {split} can be read; repair "
            "one, or take the unreadable ones out, so that another takes its place"
        )
