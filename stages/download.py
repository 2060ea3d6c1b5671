"""Bring labelled pictures, from wherever they are, into checked arrays.

Reads params download and what it names; writes data/arrays: uint8 arrays (N, 3, H, W), int64 labels (N,) and
dataset.json. CIFAR's archives stay in data/archives, outside DVC's outs, so that nothing is fetched twice.
60,000 JPEGs of 32 x 32 take about 10 s on two cores; the arrays take N * 3 * H * W bytes on disk.
"""

from common.stage import exit_on_interrupt, run

if __name__ == "__main__":
    exit_on_interrupt()  # importing what follows takes seconds

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import compress, islice
from pathlib import Path, PurePosixPath

import numpy as np
from filelock import FileLock
from PIL import Image

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
from common.files import ARRAYS, replacing, sha256, write_json
from common.params import Download, load_params
from common.progress import Progress
from common.split import split_by_class
from sources.archives import Tree, open_tree
from sources.cifar import PUBLISHED, cifar, published_archive
from sources.decode import decode_image, to_array
from sources.hidden import report_hidden, visible
from sources.source import Source

AT_A_TIME = 256  # pictures read, decoded and written together
THREADS_PAY_FROM = (
    50_000  # bytes a file: with smaller ones, threads spend their time waiting for each other
)


def main() -> None:
    params = load_params()
    ARRAYS.parent.mkdir(exist_ok=True)
    with (
        FileLock(ARRAYS.parent / "download.lock"),
        open_source(params.download, params.machine.mirrors) as source,
    ):
        dataset = write_images(source, params.download)
    counts = ", ".join(f"{count:,} {split}" for split, count in dataset.counts.items())
    size = f"{dataset.image_size} x {dataset.image_size}"
    print(f"{dataset.name}: {counts} pictures of {size}, {len(dataset.classes)} classes")


@contextmanager
def open_source(download: Download, mirrors: Sequence[str] | None) -> Iterator[Source]:
    """Open what ``download.dataset`` names.

    Raises:
        UserError: it cannot be had, or is not laid out as it must be.
    """
    if download.dataset == "digits":
        yield digits(download)
    elif download.dataset == "folder":
        path = Path(str(download.source))
        with open_tree(path) as tree:
            yield folder(tree, path, download)
    else:
        published = PUBLISHED[download.dataset]
        with open_tree(published_archive(published, download, mirrors)) as tree:
            yield cifar(tree, published, download)


def write_images(source: Source, download: Download) -> Dataset:
    """Write the arrays and dataset.json: the whole directory, or nothing."""
    image_size = download.image_size
    dataset = Dataset(
        name=source.name,
        classes=source.classes,
        image_size=image_size,
        fit=download.fit,
        counts={split: len(labels) for split, labels in source.labels.items()},
        source=source.origin,
        sha256=source.sha256,
    )
    with replacing(ARRAYS) as directory:
        directory.mkdir()
        with Progress(
            total=sum(dataset.counts.values()), desc="Convert", unit="picture"
        ) as progress:
            for split, labels in source.labels.items():
                np.save(labels_path(split, directory), labels)
                shape = (len(labels), 3, image_size, image_size)
                pictures = iter(source.pictures[split])
                keys: list[int] = []
                with (
                    images_path(split, directory).open(
                        "wb"
                    ) as file,  # a mapped one counts as memory
                    files_path(split, directory).open("w") as names,
                ):
                    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, header)
                    while batch := list(islice(pictures, AT_A_TIME)):
                        decoded = source.decode(batch)
                        file.write(decoded.tobytes())
                        for image, item in zip(decoded, batch, strict=True):
                            name = item if isinstance(item, str) else str(len(keys))
                            names.write(json.dumps(name) + "\n")
                            digest = hashlib.blake2b(image.tobytes(), digest_size=8).digest()
                            keys.append(int.from_bytes(digest, "little"))
                        progress.update(len(batch))
                np.save(keys_path(split, directory), np.array(keys, np.uint64))
        write_json(dataset_path(directory), dataset.model_dump())
    return dataset


def digits(download: Download) -> Source:
    """scikit-learn's 1,797 bundled digits: 8 x 8 pixels of 17 grey levels."""
    from sklearn.datasets import load_digits  # two seconds that other data sets need not wait

    bundle = load_digits()
    classes = [str(name) for name in bundle.target_names]
    grey = (bundle.images * 255 / 16).round().astype(np.uint8)
    masks = train_and_test(bundle.target, classes, download)

    def decode(pictures: list[Array]) -> Array:
        images = [Image.fromarray(picture).convert("RGB") for picture in pictures]
        return np.stack([to_array(image, download.image_size) for image in images])

    labels = {split: bundle.target[mask].astype(np.int64) for split, mask in masks.items()}
    pictures: dict[Split, Iterable[Array]] = {split: grey[mask] for split, mask in masks.items()}
    return Source("digits", classes, labels, pictures, decode, "scikit-learn's digits")


def folder(tree: Tree, path: Path, download: Download) -> Source:
    """Pictures in class folders, below train/ and test/ or not."""
    report_hidden(tree, path)
    classes, all_labels, masks = sort_pictures(tree, path, download)

    def decode_one(name: str, content: bytes) -> Array:
        try:
            return decode_image(content, download.image_size, download.fit)
        except UserError as error:
            raise UserError(f"{path}: {name}: {error}") from None

    def decode(names: list[str]) -> Array:
        contents = [tree.read(name) for name in names]
        if sum(map(len, contents)) < THREADS_PAY_FROM * len(contents):
            return np.stack(list(map(decode_one, names, contents)))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return np.stack(list(pool.map(decode_one, names, contents)))

    labels = {split: all_labels[mask] for split, mask in masks.items()}
    pictures: dict[Split, Iterable[str]] = {
        split: compress(visible(tree), mask) for split, mask in masks.items()
    }
    checksum = None if path.is_dir() else sha256(path)
    return Source(
        path.name.split(".")[0] or path.name, classes, labels, pictures, decode, path.name, checksum
    )


def sort_pictures(
    names: Iterable[str], path: Path, download: Download
) -> tuple[list[str], Array, dict[Split, Array]]:
    """The classes; for the pictures in the order of their names, labels, int64 (N,); per split, its mask, bool (N,).

    The names are gone through, never collected: only their folders are.

    Raises:
        UserError: there are none, or a folder is not where it should be, or a class is in one split alone.
    """
    counts = Counter(name.rpartition("/")[0] for name in visible(names))
    parts = [PurePosixPath(folder).parts for folder in counts]
    while parts and len({part[:1] for part in parts}) == 1 and min(map(len, parts)) > 1:
        parts = [part[1:] for part in parts]  # a folder around it all, as many archives have
    has_splits = {part[:1] for part in parts} == {("train",), ("test",)}
    for folder, part in zip(counts, parts, strict=True):
        if len(part) != (2 if has_splits else 1):
            name = next(name for name in visible(names) if name.rpartition("/")[0] == folder)
            raise UserError(
                f"{path}: {name} is not where a picture should be; lay them out as CLASS/PICTURE, or as "
                "train/CLASS/PICTURE and test/CLASS/PICTURE"
            )
    classes = sorted({part[-1] for part in parts})
    for name in classes:
        if name.encode(errors="replace").decode() != name:
            raise UserError(
                f"{path}: the folder {name!r} has a name that is not Unicode; rename it"
            )
    if len(classes) < 2:
        raise UserError(
            f"{path}: has {len(classes)} classes {classes}; it needs a folder of pictures for each of 2 or more"
        )
    # All are at the same depth, so that the sorted names go through one folder after the other.
    in_folder = list(counts.values())
    labels = np.repeat(np.array([classes.index(part[-1]) for part in parts], np.int64), in_folder)
    if not has_splits:
        return classes, labels, train_and_test(labels, classes, download)
    for split in ("train", "test"):
        absent = set(classes) - {part[1] for part in parts if part[0] == split}
        if absent:
            raise UserError(
                f"{path}: {split}/ has no pictures of {', '.join(sorted(absent))}; every class must be in both"
            )
    is_train = np.repeat([part[0] == "train" for part in parts], in_folder)
    return classes, labels, {"train": is_train, "test": ~is_train}


def train_and_test(labels: Array, classes: list[str], download: Download) -> dict[Split, Array]:
    """Per split, which of the pictures are in it: bool (N,)."""
    train, _ = split_by_class(labels, classes, download.test_fraction, download.seed)
    is_train = np.zeros(len(labels), bool)
    is_train[train] = True
    return {"train": is_train, "test": ~is_train}


if __name__ == "__main__":
    run(main)
