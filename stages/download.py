"""Bring labelled images, from wherever they are, into checked arrays.

Reads what the parameters in download name: the network, an archive, a directory or nothing. Writes
data/arrays, per split (train, test): images, uint8 (N, 3, H, W); labels, int64 (N,); keys, uint64
(N,), which decide on splits; names, one JSON string per line; and dataset.json. Writes
reports/skipped.csv: the image files that could not be read, if download.unreadable is skip. The
archives of the CIFARs stay in data/archives, so that nothing is fetched twice.

60,000 JPEGs of 32 x 32 take about 10 s on two cores. Memory is 0.1 GB, and up to 0.4 GB with large
images, whatever their number; a single image of more than 20 million pixels takes 4 to 12 bytes for
each of them. The arrays take N * 3 * H * W bytes on disk.
"""

from common.stage import exit_on_interrupt, run

if __name__ == "__main__":
    exit_on_interrupt()  # importing what follows takes seconds

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from common.errors import UserError, printable
from common.files import ARRAYS, REPORTS, remove, replacing
from common.params import Download, load_params
from sources.archives import open_tree
from sources.cifar import PUBLISHED, cifar, published_archive
from sources.digits import digits
from sources.folder import folder
from sources.source import Source
from sources.unreadable import LIST, write_unreadable
from sources.writer import write_arrays

SKIPPED = REPORTS / "skipped.csv"


def main() -> None:
    params = load_params()
    check_source(params.download.source)
    ARRAYS.parent.mkdir(exist_ok=True)
    with (
        FileLock(ARRAYS.parent / "download.lock"),
        open_source(params.download, params.machine.mirrors) as source,
        replacing(ARRAYS) as directory,
    ):
        dataset, skipped = write_arrays(source, params.download, directory)
        write_unreadable(SKIPPED, skipped)
        remove(LIST)  # of an earlier run
    counts = ", ".join(f"{count:,} {split}" for split, count in dataset.counts.items())
    size = f"{dataset.image_size} x {dataset.image_size}"
    name = printable(dataset.name)
    print(f"{name}: {counts} images of {size}, {len(dataset.classes)} classes")
    if skipped:
        print(f"{len(skipped):,} image files could not be read; {SKIPPED} says why")


def check_source(source: str) -> None:
    """Check that the images are not where the arrays will be.

    Raises:
        UserError: They are, so that DVC or this stage would delete them.
    """
    path = Path(os.path.realpath(source))
    for taken in (ARRAYS, ARRAYS.with_name(ARRAYS.name + ".part")):
        arrays = Path(os.path.realpath(taken))
        if path.is_relative_to(arrays) or arrays.is_relative_to(path):
            raise UserError(
                f"download.source: {source}: images cannot be in {taken} or around it, since DVC "
                "deletes that before each run; move them, for example to data/images, and name "
                "that in download.source"
            )


@contextmanager
def open_source(download: Download, mirrors: Sequence[str] | None) -> Iterator[Source]:
    """Open the data set that ``download.dataset`` names.

    Raises:
        UserError: It cannot be fetched, or is not laid out as it must be.
    """
    if download.dataset == "digits":
        yield digits(download)
    elif download.dataset == "folder":
        path = Path(download.source)
        with open_tree(path) as tree:
            yield folder(tree, path, download)
    else:
        published = PUBLISHED[download.dataset]
        with open_tree(published_archive(published, download, mirrors)) as tree:
            yield cifar(tree, published, download)


if __name__ == "__main__":
    run(main)
