"""The arrays of a data set, written as its images come."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from common.arrays import Array, Dataset, Split, dataset_path
from common.errors import UserError
from common.files import write_json
from common.params import Download
from common.progress import Progress
from common.split import hold_out
from sources.decode import UnreadableError
from sources.source import Source
from sources.split_writer import SplitWriter
from sources.unreadable import Unreadable, refusal


def write_arrays(
    source: Source, download: Download, directory: Path
) -> tuple[Dataset, list[Unreadable]]:
    """Write the arrays and dataset.json into a new directory; memory is bounded.

    Returns:
        the data set, and the image files that were skipped.

    Raises:
        UserError: Image files cannot be read and are not to be skipped, or what can be read of a
            class is too little for both splits.
    """
    directory.mkdir()
    with ExitStack() as stack:
        writers = {
            split: SplitWriter(split, download.image_size, directory, stack)
            for split in get_args(Split)
        }
        unreadable = write_images(source, writers)
        if unreadable and download.unreadable == "stop":
            raise refusal(unreadable, download.source, source.count)
        if unreadable:
            check_classes(source, writers)
        if not source.has_splits:
            train, test = writers["train"], writers["test"]
            train.move(held_out(train, source.classes, download), test)
        for writer in writers.values():
            writer.finish()
    dataset = Dataset(
        name=source.name,
        classes=source.classes,
        image_size=download.image_size,
        fit=download.fit,
        counts={split: len(writer.labels) for split, writer in writers.items()},
        source=source.origin,
        sha256=source.sha256,
        source_sizes=summarize_sizes([writer.source_sizes for writer in writers.values()]),
    )
    write_json(dataset_path(directory), dataset.model_dump())
    return dataset, unreadable


def write_images(source: Source, writers: dict[Split, SplitWriter]) -> list[Unreadable]:
    """Write all images that can be read; return the others."""
    unreadable = []
    with Progress(total=source.count, desc="Convert", unit="image") as progress:
        for image in source.images:
            if isinstance(image.decoded, UnreadableError):
                unreadable.append(Unreadable(image.name, str(image.decoded)))
            else:
                writers[image.split].append(image, image.decoded)
            progress.update()
    return unreadable


def held_out(writer: SplitWriter, classes: list[str], download: Download) -> Array:
    """Return which of the images are for testing, bool (N,); see ``common.split.hold_out``."""
    keys, labels = np.array(writer.keys, np.uint64), np.array(writer.labels, np.int64)
    is_test = np.zeros(len(keys), bool)
    is_test[hold_out(keys, labels, classes, download.test_fraction, download.seed)[1]] = True
    return is_test


def summarize_sizes(
    sizes: Sequence[Sequence[int]],
) -> dict[Literal["smallest", "median", "largest"], tuple[int, int]]:
    """Return width and height of the image with the fewest, median and most pixels."""
    both = np.concatenate([np.array(each, np.int64).reshape(-1, 2) for each in sizes])
    order = both.prod(axis=1).argsort(kind="stable")
    smallest, median, largest = both[order[[0, len(order) // 2, -1]]].tolist()
    return {"smallest": tuple(smallest), "median": tuple(median), "largest": tuple(largest)}


def check_classes(source: Source, writers: dict[Split, SplitWriter]) -> None:
    """Check that some images of each class could be read, in each split that the source has.

    Raises:
        UserError: None could.
    """
    for split, writer in writers.items():
        absent = sorted(set(range(len(source.classes))) - set(writer.labels))
        if absent and (source.has_splits or split == "train"):
            place = f" in {split}/" if source.has_splits else ""
            raise UserError(
                f"class {source.classes[absent[0]]}: none of its images{place} can be read; repair "
                "some of them"
            )
