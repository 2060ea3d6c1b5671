"""Files from a directory or an archive, read by name and never unpacked: nothing can land outside a target."""

import bz2
import errno
import gzip
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .stage import UserError

TAR_OPENERS: dict[str, Callable[..., Any]] = {
    ".tar": open,
    ".gz": gzip.open,
    ".tgz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}


@dataclass(frozen=True)
class Tree:
    """Names of regular files with their folders, separated by ``/`` and sorted, and how to read one of them."""

    names: list[str]
    read: Callable[[str], bytes]


@contextmanager
def open_tree(path: Path) -> Iterator[Tree]:
    """Open a directory, a .zip or a .tar, plain or compressed with gzip, bzip2 or xz.

    Raises:
        UserError: there is no such path, its kind is unknown, it is damaged, or it holds a link, a device or a
            name that leads outside.
    """
    with ExitStack() as stack:
        try:
            if not path.exists():
                raise UserError(f"{path}: no such file or directory")
            if path.is_dir():
                yield open_directory(path)
            elif path.suffix == ".zip":
                yield open_zip(stack.enter_context(zipfile.ZipFile(path)), path)
            elif path.suffix in TAR_OPENERS:
                yield open_tar(path, stack)
            else:
                raise UserError(f"{path}: unknown kind; give a directory, .zip, {', '.join(TAR_OPENERS)}")
        except (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise  # the disk's; the archive's own have no number, or come of a seek to nowhere
            raise UserError(f"{path}: a damaged archive: {error}; fetch or pack it again") from None


def open_directory(path: Path) -> Tree:
    names = []
    for entry in path.rglob("*"):
        name = entry.relative_to(path).as_posix()
        if entry.is_file():
            names.append(name)
        elif entry.is_symlink() or not entry.is_dir():
            raise UserError(
                f"{path}: {name!r} is a device, or a link to a folder or to nowhere; give files and folders"
            )
    return Tree(sorted(names), lambda name: (path / name).read_bytes())


def open_zip(archive: zipfile.ZipFile, path: Path) -> Tree:
    members = {}
    for member in archive.infolist():
        kind = stat.S_IFMT(member.external_attr >> 16)
        name = check_member(path, member.filename, regular=kind in (0, stat.S_IFREG, stat.S_IFDIR))
        if not member.is_dir():
            members[name] = member

    def read(name: str) -> bytes:
        try:
            return archive.read(members[name])
        except RuntimeError as error:  # encrypted, or compressed in a way that Python does not know
            raise UserError(f"{path}: {name!r}: {error}; pack it again") from None

    return Tree(sorted(members), read)


def open_tar(path: Path, stack: ExitStack) -> Tree:
    # Decompressed once, into a file that goes with the process, so that members can be read in any order.
    plain = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    with TAR_OPENERS[path.suffix](path, "rb") as packed:
        shutil.copyfileobj(packed, plain, 1 << 20)
    plain.seek(0)
    positions = {}
    with tarfile.open(fileobj=plain, mode="r:") as archive:
        for member in archive:
            name = check_member(path, member.name, regular=member.isreg() or member.isdir())
            if member.isreg():
                positions[name] = (member.offset_data, member.size)
        plain.seek(archive.offset)
        if plain.read(tarfile.BLOCKSIZE) != bytes(
            tarfile.BLOCKSIZE
        ):  # tarfile itself takes a damaged header for the end
            raise tarfile.ReadError(f"no end after {len(positions)} files")

    def read(name: str) -> bytes:
        position, size = positions[name]
        plain.seek(position)
        return plain.read(size)

    return Tree(sorted(positions), read)


def check_member(path: Path, name: str, regular: bool) -> str:
    """Check that a member is a file or a folder inside, and give its plain name: ``./cat/1.png`` is ``cat/1.png``."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if not regular:
        raise UserError(f"{path}: {name!r} is a link or a device; pack only files and folders")
    if parts.is_absolute() or ".." in parts.parts or any(":" in part for part in parts.parts[:1]):
        raise UserError(f"{path}: {name!r} leads outside the archive; pack it with relative names")
    return PurePosixPath(name).as_posix()
