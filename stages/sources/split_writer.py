"""The files of one split of a data set, written image by image in bounded memory."""

import json
from array import array
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from common.arrays import Array, Split, files_path, images_path, keys_path, labels_path
from sources.parallel import Decoded
from sources.source import SourceImage

BLOCK = 2**22  # bytes of images that are moved at a time


class SplitWriter:
    """Writes images, labels, keys and names of one split.

    The header of the images says how many there are, so ``finish`` writes it again.
    """

    def __init__(self, split: Split, image_size: int, directory: Path, stack: ExitStack) -> None:
        self.split, self.directory, self.shape = split, directory, (3, image_size, image_size)
        self.images = stack.enter_context(images_path(split, directory).open("w+b"))
        self.names = stack.enter_context(files_path(split, directory).open("w+b"))
        self.labels, self.keys = array("q"), array("Q")
        self.source_sizes = array("I")  # width and height of each image in turn
        write_header(self.images, np.uint8, (0, *self.shape))

    def append(self, image: SourceImage, decoded: Decoded) -> None:
        self.images.write(decoded.pixels.tobytes())
        self.source_sizes.extend(decoded.source_size)
        self.names.write(json.dumps(image.name).encode() + b"\n")
        self.labels.append(image.label)
        self.keys.append(image.key)

    def move(self, is_moved: Array, target: "SplitWriter") -> None:
        """Move images to another split, bool (N,), in their order; the others close the gaps."""
        self.move_images(is_moved, target)
        self.names.seek(0)
        lines = zip(self.names, is_moved, strict=True)
        kept = files_path(self.split, self.directory).with_suffix(".kept")
        with kept.open("wb") as file:
            for line, moved in lines:
                (target.names if moved else file).write(line)
        kept.replace(files_path(self.split, self.directory))
        labels, keys = np.array(self.labels, np.int64), np.array(self.keys, np.uint64)
        target.labels.frombytes(labels[is_moved].tobytes())
        target.keys.frombytes(keys[is_moved].tobytes())
        self.labels = array("q", labels[~is_moved].tobytes())
        self.keys = array("Q", keys[~is_moved].tobytes())

    def move_images(self, is_moved: Array, target: "SplitWriter") -> None:
        """Move the pixels within the file, since a copy would take as much room on disk again."""
        self.images.seek(0)
        write_header(self.images, np.uint8, (0, *self.shape))
        read_at = write_at = self.images.tell()
        size = int(np.prod(self.shape))  # bytes per image
        for moved in np.array_split(is_moved, len(is_moved) * size // BLOCK + 1):
            self.images.seek(read_at)
            block = np.frombuffer(self.images.read(len(moved) * size), np.uint8)
            read_at += block.nbytes
            rows = block.reshape(len(moved), size)
            target.images.write(rows[moved].tobytes())
            self.images.seek(write_at)
            self.images.write(rows[~moved].tobytes())
            write_at = self.images.tell()
        self.images.truncate(write_at)

    def finish(self) -> None:
        """Write what is known only now: the number of images, their labels and their keys."""
        self.images.seek(0)
        write_header(self.images, np.uint8, (len(self.labels), *self.shape))
        for path, numbers, dtype in [
            (labels_path(self.split, self.directory), self.labels, np.int64),
            (keys_path(self.split, self.directory), self.keys, np.uint64),
        ]:
            # On a full disk, np.save says only how many numbers it wrote.
            with path.open("wb") as file:
                write_header(file, dtype, (len(numbers),))
                file.write(numbers.tobytes())


def write_header(file: IO[bytes], dtype: Any, shape: tuple[int, ...]) -> None:
    """Write the header of a .npy file; its length does not depend on the first dimension."""
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
