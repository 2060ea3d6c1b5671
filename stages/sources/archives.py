"""Files from a directory or an archive, read by name and never unpacked: nothing can land outside a target."""

import bz2
import errno
import gzip
import lzma
import os
import shutil
import sqlite3
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from common.errors import UserError

TAR_OPENERS: dict[str, Callable[..., Any]] = {
    ".tar": open,
    ".gz": gzip.open,
    ".tgz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}


File = tuple[str, int, int]  # name, and two numbers that say where an archive has it
Reader = Callable[[str, int, int], bytes]


class Tree:
    """Regular files by their names, which have their folders in them, separated by ``/``; iterating sorts them.

    Names and places are in a database on disk that goes with the process: as Python's objects, those of half a million
    pictures would take several times the memory of all the rest.
    """

    def __init__(self, database: sqlite3.Connection, files: Iterable[File], read: Reader) -> None:
        self.database, self.reader = database, read
        database.execute("CREATE TABLE files (name BLOB PRIMARY KEY, position, size) WITHOUT ROWID")
        rows = ((as_bytes(name), position, size) for name, position, size in files)
        database.executemany(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?)", rows
        )  # of two, the later one counts

    def __iter__(self) -> Iterator[str]:
        for (name,) in self.database.execute("SELECT name FROM files ORDER BY name"):
            yield name.decode(errors="surrogatepass")

    def read(self, name: str) -> bytes:
        place = self.database.execute(
            "SELECT position, size FROM files WHERE name = ?", [as_bytes(name)]
        ).fetchone()
        if place is None:
            raise KeyError(name)
        return self.reader(name, *place)


def as_bytes(name: str) -> bytes:
    """A name as it is sorted, also one that is not Unicode, which no text of a database could hold."""
    return name.encode(errors="surrogatepass")


@contextmanager
def open_tree(path: Path) -> Iterator[Tree]:
    """Open a directory, a .zip or a .tar, plain or compressed with gzip, bzip2 or xz.

    A .zip's table of contents stays in memory, some 650 bytes a file; of the others, nothing that grows with the files.

    Raises:
        UserError: there is no such path, its kind is unknown, it is damaged, or it holds a link, a device or a
            name that leads outside; or there is no room for the list of its files.
    """
    with ExitStack() as stack:
        try:
            if not path.exists():
                raise UserError(f"{path}: no such file or directory")
            if path.is_dir():
                files, read = open_directory(path)
            elif path.suffix == ".zip":
                files, read = open_zip(stack.enter_context(zipfile.ZipFile(path)), path)
            elif path.suffix in TAR_OPENERS:
                files, read = open_tar(path, stack)
            else:
                raise UserError(
                    f"{path}: unknown kind; give a directory, .zip, {', '.join(TAR_OPENERS)}"
                )
            # Without a name: a temporary file, which SQLite begins when the list outgrows 2 MB.
            yield Tree(stack.enter_context(closing(sqlite3.connect(""))), files, read)
        except sqlite3.OperationalError as error:
            raise UserError(
                f"{path}: the list of its files: {error}; make room where temporary files go"
            ) from None
        except (
            zipfile.BadZipFile,
            tarfile.TarError,
            lzma.LZMAError,
            zlib.error,
            EOFError,
            OSError,
        ) as error:
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise  # the disk's; the archive's own have no number, or come of a seek to nowhere
            raise UserError(f"{path}: a damaged archive: {error}; fetch or pack it again") from None


def open_directory(path: Path) -> tuple[Iterable[File], Reader]:
    def files(folder: Path) -> Iterator[File]:
        with os.scandir(
            folder
        ) as entries:  # one at a time, which Path.iterdir and Path.rglob are not
            for entry in entries:
                inside = Path(entry.path)
                name = inside.relative_to(path).as_posix()
                if entry.is_dir(follow_symlinks=False):
                    yield from files(inside)
                elif entry.is_file():
                    yield name, 0, 0
                else:
                    raise UserError(
                        f"{path}: {name!r} is a device, or a link to a folder or to nowhere; give files and folders"
                    )

    return files(path), lambda name, *_: (path / name).read_bytes()


def open_zip(archive: zipfile.ZipFile, path: Path) -> tuple[Iterable[File], Reader]:
    members = archive.infolist()

    def files() -> Iterator[File]:
        for position, member in enumerate(members):
            kind = stat.S_IFMT(member.external_attr >> 16)
            name = check_member(
                path, member.filename, regular=kind in (0, stat.S_IFREG, stat.S_IFDIR)
            )
            if not member.is_dir():
                yield name, position, 0

    def read(name: str, position: int, _: int) -> bytes:
        try:
            return archive.read(members[position])
        except RuntimeError as error:  # encrypted, or compressed in a way that Python does not know
            raise UserError(f"{path}: {name!r}: {error}; pack it again") from None

    return files(), read


def open_tar(path: Path, stack: ExitStack) -> tuple[Iterable[File], Reader]:
    # Decompressed once, into a file that goes with the process, so that members can be read in any order.
    plain = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    with TAR_OPENERS[path.suffix](path, "rb") as packed:
        shutil.copyfileobj(packed, plain, 1 << 20)
    plain.seek(0)

    def files() -> Iterator[File]:
        with tarfile.open(fileobj=plain, mode="r:") as archive:
            for member in archive:
                archive.members.clear()  # type: ignore[attr-defined]  # or it would keep them all
                name = check_member(path, member.name, regular=member.isreg() or member.isdir())
                if member.isreg():
                    yield name, member.offset_data, member.size
            plain.seek(archive.offset)
            if plain.read(tarfile.BLOCKSIZE) != bytes(
                tarfile.BLOCKSIZE
            ):  # tarfile itself takes a damaged header for the end
                raise tarfile.ReadError("no end after the last file that can be read")

    def read(_: str, position: int, size: int) -> bytes:
        plain.seek(position)
        return plain.read(size)

    return files(), read


def check_member(path: Path, name: str, regular: bool) -> str:
    """Check that a member is a file or a folder inside, and give its plain name: ``./cat/1.png`` is ``cat/1.png``."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if not regular:
        raise UserError(f"{path}: {name!r} is a link or a device; pack only files and folders")
    if parts.is_absolute() or ".." in parts.parts or any(":" in part for part in parts.parts[:1]):
        raise UserError(f"{path}: {name!r} leads outside the archive; pack it with relative names")
    return PurePosixPath(name).as_posix()
