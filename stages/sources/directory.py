"""The files of a directory on disk."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from common.errors import UserError
from sources.decode import UnreadableError
from sources.hidden import is_hidden

LARGEST_FILE = 2**29  # bytes; as many pixels as Pillow allows take no more with 16 bits per channel
# A pipe that took a file's place is opened at once, so that it can be refused.
FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
GONE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class File(NamedTuple):
    """A file of a directory or an archive."""

    name: str
    position: int  # of an archive: where the content is; of a directory: nanoseconds of the change
    size: int  # bytes; -1 for a sparse member of a tar


class Directory:
    """The files in a directory and below, and links to files.

    A pipe, a socket or a link to nothing or to a folder, if hidden, counts as an empty file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def list(self) -> Iterator[File]:
        """Yield each file in any order.

        Raises:
            UserError: There is a device, or a link to a folder or to nothing.
        """
        prefix = os.path.join(self.path, "")  # noqa: PTH118 - a Path per file takes seconds
        folders = [prefix]
        try:
            while folders:
                with os.scandir(folders.pop()) as entries:  # one at a time, unlike Path.iterdir
                    for entry in entries:
                        name = entry.path[len(prefix) :].replace(os.sep, "/")
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        elif entry.is_file():
                            # entry.stat() may be out of date on Windows.
                            yield File(name, *stamp(os.stat(entry.path)))  # noqa: PTH116
                        elif is_hidden(name):
                            yield File(name, 0, 0)
                        else:
                            raise UserError(
                                f"{self.path}: {name!r} is a device, or a link to a folder or to "
                                "nothing; put files and folders there"
                            )
        except GONE as error:
            raise self.changed(str(error.filename)) from None

    def read(self, file: File) -> bytes:
        """Return the content of a file.

        Raises:
            UnreadableError: The file is too large for an image, or the system does not read it.
            UserError: The file was removed or changed since it was listed.
        """
        if file.size > LARGEST_FILE:
            raise UnreadableError(f"more than {LARGEST_FILE:,} bytes, which no image needs")
        try:
            with os.fdopen(os.open(f"{self.path}/{file.name}", FLAGS), "rb") as opened:
                content = opened.read(file.size + 1) or b""  # a device would never end
                status = os.fstat(opened.fileno())
        except GONE:
            raise self.changed(file.name) from None
        except OSError as error:
            raise UnreadableError(str(error.strerror)) from None
        if stamp(status) != file[1:] or len(content) != file.size:
            raise self.changed(file.name)
        return content

    def check_unchanged(self, listed: Mapping[str, File]) -> None:
        """Check that the files are those that were listed.

        Raises:
            UserError: A file was added, removed or changed.
        """
        count = 0
        for file in self.list():
            if file != listed.get(file.name):
                raise self.changed(file.name)
            count += 1
        if count < len(listed):
            raise self.changed(next(name for name in listed if not (self.path / name).is_file()))

    def changed(self, name: str) -> UserError:
        return UserError(
            f"{self.path}: {name!r} was added, removed or changed while the images were read; run "
            "again when nothing writes there"
        )


def stamp(status: os.stat_result) -> tuple[int, int]:
    """Return what differs after a change: nanoseconds and bytes."""
    return status.st_mtime_ns, status.st_size
