"""Files of a directory or an archive, read by name and never unpacked."""

import errno
import lzma
import sqlite3
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Protocol, Self

from common.errors import UserError
from sources.directory import Directory, File
from sources.packed import TAR_OPENERS, Tar, Zip

# What damaged archives make the standard library raise. An OSError of bz2 and gzip has no number,
# or comes from a seek to nowhere; one with another number is the disk's.
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    RuntimeError,
    ValueError,
)
DAMAGE_NUMBERS = (None, errno.EINVAL)


class Files(Protocol):
    """Regular files, as a directory or an archive has them."""

    path: Path

    def list(self) -> Iterator[File]:
        """Yield each file in any order; of two with one name, the later one counts."""

    def read(self, file: File) -> bytes:
        """Return the content of a file."""

    def check_unchanged(self, listed: Mapping[str, File]) -> None:
        """Check that the files are those that were listed."""


class Tree(Mapping[str, File]):
    """Files by name, sorted by name; a name contains its folders, separated by ``/``.

    The names are in a database on disk, which is deleted with the process: as Python objects,
    those of half a million images would take several times the memory of everything else.
    """

    def __init__(self, database: sqlite3.Connection, files: Files) -> None:
        self.database, self.files = database, files

    def fill(self) -> Self:
        """List the files in the database."""
        self.database.execute(
            "CREATE TABLE files (name BLOB PRIMARY KEY, position, size) WITHOUT ROWID"
        )
        rows = ((as_bytes(name), position, size) for name, position, size in self.files.list())
        self.database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", rows)
        return self

    def __iter__(self) -> Iterator[str]:
        for (name,) in self.database.execute("SELECT name FROM files ORDER BY name"):
            yield name.decode(errors="surrogatepass")

    def __len__(self) -> int:
        return int(self.database.execute("SELECT count(*) FROM files").fetchone()[0])

    def __getitem__(self, name: str) -> File:
        query = "SELECT position, size FROM files WHERE name = ?"
        row = self.database.execute(query, [as_bytes(name)]).fetchone()
        if row is None:
            raise KeyError(name)
        return File(name, *row)

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            KeyError: No such file was listed.
            UnreadableError: The system does not let this file be read.
            UserError: The archive is damaged, or the file was changed since it was listed.
        """
        file = self[name]
        try:
            with damage_reported(self.files.path):
                return self.files.read(file)
        except MemoryError:
            raise UserError(
                f"{self.files.path}: {name!r}: not enough memory to read it; make it smaller"
            ) from None

    def check_unchanged(self) -> None:
        """Check that nothing was added, removed or changed since the files were listed.

        Raises:
            UserError: The text names what was.
        """
        self.files.check_unchanged(self)


def as_bytes(name: str) -> bytes:
    """Return a name as it is sorted; also one that is not Unicode, which no database text holds."""
    return name.encode(errors="surrogatepass")


@contextmanager
def open_tree(path: Path) -> Iterator[Tree]:
    """Open a directory, a .zip or a .tar, plain or compressed with gzip, bzip2 or xz.

    The table of contents of a .zip stays in memory, some 650 bytes per file; of the others nothing
    stays that grows with the number of files.

    Raises:
        UserError: The path does not exist, is of an unknown kind or is a device; the archive is
            damaged or has a link, a device, a file too large to be an image, or a name that leads
            outside; or there is no room for the list of files.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or directory")
    with ExitStack() as stack:
        with damage_reported(path):
            # Without a name: a temporary file, which SQLite makes when the list outgrows 2 MB.
            database = stack.enter_context(closing(sqlite3.connect("")))
            tree = Tree(database, open_files(path, stack)).fill()
        yield tree


def open_files(path: Path, stack: ExitStack) -> Files:
    if path.is_dir():
        return Directory(path)
    if not path.is_file():  # reading a pipe could wait for ever
        raise UserError(f"{path}: a pipe or a device; name a directory or an archive")
    if path.suffix == ".zip":
        return Zip(path, stack.enter_context(zipfile.ZipFile(path)))
    if path.suffix not in TAR_OPENERS:
        raise UserError(f"{path}: unknown kind; name a directory, .zip, {', '.join(TAR_OPENERS)}")
    packed = stack.enter_context(TAR_OPENERS[path.suffix](path, "rb"))
    if path.suffix == ".tar":
        return Tar(path, packed, packed)
    # Without a buffer, which would be written again, and fail again, when the file is closed.
    return Tar(path, packed, stack.enter_context(tempfile.TemporaryFile(buffering=0)))


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Turn what damaged archives and a full disk raise into a UserError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise UserError(
            f"{path}: the list of its files: {error}; make room where temporary files go"
        ) from None
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno not in DAMAGE_NUMBERS:
            # A temporary file, whose name the system does not tell, holds what is unpacked.
            error.filename = error.filename or tempfile.gettempdir()
            raise
        raise UserError(f"{path}: a damaged archive: {error}; fetch or pack it again") from None
