"""Images in class folders, in a directory or an archive, below train/ and test/ or not."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path, PurePosixPath

import numpy as np

from common.arrays import Array, Split
from common.errors import UserError
from common.files import sha256
from common.params import Download
from sources.archives import Tree
from sources.decode import UnreadableError
from sources.hidden import report_hidden, visible
from sources.keys import check_groups, check_undivided, image_key
from sources.parallel import decode_all
from sources.source import Source, SourceImage


@dataclass(frozen=True)
class Layout:
    """Where the images are, in the order of their names."""

    classes: list[str]  # sorted
    labels: Array  # int64 (N,)
    is_test: Array | None  # bool (N,); None if there are no folders train/ and test/


Placed = tuple[str, Split, int, int]  # name, split, label and key of an image


def folder(tree: Tree, path: Path, download: Download) -> Source:
    """Return the images of a directory or an archive.

    Names are gone through and never collected, so that memory does not grow with them.

    Raises:
        UserError: The images are not laid out as they must be, or cannot be split.
    """
    report_hidden(tree, path)
    layout = read_layout(tree, path)
    if download.group is not None:
        check_groups(visible(tree), download.group)
        if layout.is_test is not None:
            check_undivided(tree, layout.is_test, download.group)
    return Source(
        name=path.name.split(".")[0] or path.name,
        classes=layout.classes,
        origin=path.name,
        sha256=None if path.is_dir() else sha256(path),
        has_splits=layout.is_test is not None,
        count=len(layout.labels),
        images=read_images(tree, layout, download),
    )


def read_layout(names: Iterable[str], path: Path) -> Layout:
    """Return classes, labels and splits from the folders that the images are in.

    Raises:
        UserError: There are no images or fewer than two classes, an image is not in a class
            folder, or a class is in one split only.
    """
    counts = Counter(name.rpartition("/")[0] for name in visible(names))
    if not counts:
        raise UserError(
            f"{path}: has no images; put a folder of images per class there, or name another place "
            "in download.source (a queued experiment needs an absolute path, or a folder "
            "of its own that `dvc add` tracks)"
        )
    parts = [PurePosixPath(folder).parts for folder in counts]
    while len({part[:1] for part in parts}) == 1 and min(map(len, parts)) > 1:
        parts = [part[1:] for part in parts]  # a folder around all, which many archives have
    has_splits = {part[:1] for part in parts} == {("train",), ("test",)}
    for folder, part in zip(counts, parts, strict=True):
        if len(part) != (2 if has_splits else 1):
            name = next(name for name in visible(names) if name.rpartition("/")[0] == folder)
            raise UserError(
                f"{path}: {name!r} is not in a class folder; lay the images out as CLASS/IMAGE, or "
                "as train/CLASS/IMAGE and test/CLASS/IMAGE"
            )
    classes = sorted({part[-1] for part in parts})
    check_classes(classes, path)
    # All are at the same depth, so that the sorted names go through one folder after another.
    in_folder = list(counts.values())
    labels = np.repeat(np.array([classes.index(part[-1]) for part in parts], np.int64), in_folder)
    if not has_splits:
        check_counts(classes, labels, path)
        return Layout(classes, labels, None)
    for split in ("train", "test"):
        absent = set(classes) - {part[1] for part in parts if part[0] == split}
        if absent:
            raise UserError(
                f"{path}: {split}/ has no images of {', '.join(sorted(absent))}; put images of "
                "every class into train/ and into test/"
            )
    return Layout(classes, labels, np.repeat([part[0] == "test" for part in parts], in_folder))


def check_classes(classes: list[str], path: Path) -> None:
    """Check that there are two classes, and that their names can be written to any file.

    Raises:
        UserError: They are not.
    """
    for name in classes:
        if name.encode(errors="replace").decode() != name:
            raise UserError(
                f"{path}: the folder {name!r} has a name that is not Unicode; rename it"
            )
    if len(classes) < 2:
        raise UserError(
            f"{path}: has one class, {classes[0]!r}; it needs a folder of images for each of two "
            "or more"
        )


def check_counts(classes: list[str], labels: Array, path: Path) -> None:
    """Check early that each class can be split.

    Raises:
        UserError: A class has one image.
    """
    for name, count in zip(classes, np.bincount(labels), strict=True):
        if count < 2:
            raise UserError(
                f"{path}: class {name} has {count} image; it needs 2 or more, so that one can be "
                "for testing"
            )


def read_images(tree: Tree, layout: Layout, download: Download) -> Iterator[SourceImage]:
    """Yield each image, decoded.

    Raises:
        UserError: A file was added, removed or changed meanwhile.
    """

    def read() -> Iterator[tuple[Placed, bytes | UnreadableError]]:
        is_test = repeat(False) if layout.is_test is None else layout.is_test
        for name, label, test in zip(visible(tree), layout.labels, is_test, strict=False):
            content: bytes | UnreadableError
            try:
                content = tree.read(name)
                key = image_key(name, content, download.group)
            except UnreadableError as error:
                content, key = error, 0
            yield (name, "test" if test else "train", int(label), key), content

    for tag, decoded in decode_all(read(), download.image_size, download.fit):
        yield SourceImage(*tag, decoded)
    tree.check_unchanged()
