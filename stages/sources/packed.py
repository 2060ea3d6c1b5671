"""The members of .zip and .tar archives."""

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from common.errors import UserError
from sources.directory import LARGEST_FILE, File, stamp

TAR_OPENERS: dict[str, Callable[..., Any]] = {
    ".tar": open,
    ".gz": gzip.open,
    ".tgz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
SPARSE = -1  # the size of a member that is stored without its holes


class Zip:
    """The members of a .zip."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self.archive, self.stamp = path, archive, stamp(path.stat())

    def list(self) -> Iterator[File]:
        """Yield each member; its position is its index in the table of contents.

        Raises:
            UserError: A member is no file or folder, leads outside, is too large, or is compressed
                in another way than with deflate.
        """
        for position, member in enumerate(self.archive.infolist()):
            kind = stat.S_IFMT(member.external_attr >> 16)
            regular = kind in (0, stat.S_IFREG, stat.S_IFDIR)
            name = check_member(self.path, member.filename, regular, member.file_size)
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # Of these alone, zipfile inflates no more than it is asked for.
                raise UserError(
                    f"{self.path}: {name!r} is not compressed with deflate; pack it again"
                )
            if not member.is_dir():
                yield File(name, position, member.file_size)

    def read(self, file: File) -> bytes:
        """Return the content of a member, and inflate no more than the table of contents promises.

        Raises:
            UserError: The member is encrypted.
        """
        try:
            with self.archive.open(self.archive.infolist()[file.position]) as opened:
                return b"".join(iter(lambda: opened.read(max(file.size, 1)), b""))
        except RuntimeError as error:
            raise UserError(f"{self.path}: {file.name!r}: {error}; pack it again") from None

    def check_unchanged(self, listed: Mapping[str, File]) -> None:
        check_same(self.path, self.stamp)


class Tar:
    """The members of a .tar.

    Args:
        packed: the archive, decompressed as it is read.
        plain: where its decompressed bytes go, so that members can be read in any order; ``packed``
            itself if it is not compressed.
    """

    def __init__(self, path: Path, packed: IO[bytes], plain: IO[bytes]) -> None:
        self.path, self.packed, self.plain, self.stamp = path, packed, plain, stamp(path.stat())

    def list(self) -> Iterator[File]:
        """Decompress the archive and yield each member; its position is the offset of its content.

        A member that is too large is refused at its header, before it is decompressed.
        """
        with self.open() as archive:
            for member in archive:
                archive.members.clear()  # type: ignore[attr-defined]  # or all would be kept
                regular = member.isreg() or member.isdir()
                # Python lets the placeholder in a sparse member's path win over its name.
                name = member.pax_headers.get("GNU.sparse.name", member.name)
                name = check_member(self.path, name, regular, member.size)
                if member.issparse():
                    yield File(name, member.offset, SPARSE)
                elif member.isreg():
                    yield File(name, member.offset_data, member.size)
            end = archive.offset
        if self.packed is not self.plain:
            while self.packed.read(1 << 20):
                pass  # to the checksum at the end of the compressed data
        self.plain.seek(end)
        if self.plain.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            # tarfile itself takes a damaged header for the end.
            raise tarfile.ReadError("no end after the last file that can be read")

    def open(self) -> tarfile.TarFile:
        if self.packed is self.plain:
            return tarfile.open(fileobj=self.plain, mode="r:")
        return tarfile.open(fileobj=Copying(self.packed, self.plain), mode="r|")

    def read(self, file: File) -> bytes:
        """Return the content of a member; of a sparse one with its holes, which are zeros."""
        self.plain.seek(file.position)
        if file.size == SPARSE:
            with tarfile.open(fileobj=self.plain, mode="r:") as archive:
                member = archive.next()
                opened = member and archive.extractfile(member)
                return opened.read() if opened else b""
        content = self.plain.read(file.size)
        if len(content) < file.size:
            raise tarfile.ReadError(f"ends within {file.name!r}")
        return content

    def check_unchanged(self, listed: Mapping[str, File]) -> None:
        check_same(self.path, self.stamp)


class Copying(io.RawIOBase):
    """Reads from one file, and writes what it has read to another."""

    def __init__(self, source: IO[bytes], target: IO[bytes]) -> None:
        self.source, self.target = source, target

    def read(self, size: int = -1) -> bytes:
        content = self.source.read(size)
        rest = memoryview(content)
        while rest:
            rest = rest[self.target.write(rest) :]
        return content


def check_same(path: Path, before: tuple[int, int]) -> None:
    """Check that an archive was not changed since it was opened.

    Raises:
        UserError: It was.
    """
    if not path.exists() or stamp(path.stat()) != before:
        raise UserError(f"{path}: changed while it was read; run again when nothing writes there")


def check_member(path: Path, name: str, regular: bool, size: int) -> str:
    """Return the plain name of a member: ``cat/1.png`` for ``./cat/1.png``.

    Raises:
        UserError: The member is neither a file nor a folder, leads outside, or is too large.
    """
    parts = PurePosixPath(name.replace("\\", "/"))
    if not regular:
        raise UserError(f"{path}: {name!r} is a link or a device; pack only files and folders")
    if parts.is_absolute() or ".." in parts.parts or any(":" in part for part in parts.parts[:1]):
        raise UserError(f"{path}: {name!r} leads outside the archive; pack it with relative names")
    if size > LARGEST_FILE:
        raise UserError(
            f"{path}: {name!r} has {size:,} bytes, and no image needs more than {LARGEST_FILE:,}; "
            "leave it out"
        )
    return PurePosixPath(name).as_posix()
