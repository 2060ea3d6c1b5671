"""Where the stages read and write, and how an output appears: whole, or not at all."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.errors import UserError

# Relative to the project's root, from which DVC and the README run every stage.
PARAMS = Path("params.yaml")
ARCHIVES = Path("data/archives")
ARRAYS = Path("data/arrays")
MODEL = Path("models/classifier.safetensors")
REPORTS = Path("reports")

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield ``<path>.part``, to be written as a file or filled as a directory, then rename it.

    If the block raises, the part is removed and what was at ``path`` stays. A rename never writes
    through a link, so a file that DVC linked from its cache is safe.

    Raises:
        OSError: The output cannot be written. Its ``filename`` is set, also on a full disk.
    """
    part = path.with_name(path.name + ".part")
    remove(part)
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        for file in [part, *part.rglob("*")] if part.is_dir() else [part]:
            flush_to_disk(file)
        if path.is_dir() or part.is_dir():
            remove(path)  # os.replace neither replaces a directory nor a file by a directory
        part.replace(path)
        flush_to_disk(path.parent)
    except OSError as error:
        if error.errno in NO_ROOM:  # raised by write(), which knows no name
            error.filename = error.filename or str(path)
        raise
    finally:
        remove(part)


def remove(path: Path) -> None:
    """Remove a file or a directory tree, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_is_file(path: Path) -> None:
    """Check that ``path`` is no directory, pipe or device, from which reading might never end.

    A path that does not exist is accepted; reading it reports the error.

    Raises:
        UserError: It is one.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: is a directory, pipe or device; it must be a file")


def flush_to_disk(path: Path) -> None:
    """Wait until a file, or on POSIX a directory's entries, would survive a power cut."""
    if os.name == "nt" and path.is_dir():
        return  # Windows neither needs nor allows opening a directory
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    with replacing(path) as part:
        part.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    # Bytes, so that the line ends are the same on every system and so are DVC's checksums.
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON.

    Raises:
        ValueError: A number in it is not finite, which JSON cannot hold.
    """
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
