"""Checks before the first step: outputs can be written, and no other training writes them."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from common.errors import UserError
from common.files import MODEL
from training.distributed import ProcessGroup

LOCK = MODEL.with_name("train.lock")
POLL = 1.0  # seconds from one try for the lock to the next, after each of which all ranks are told


def check_writable(*folders: Path) -> None:
    """Create a temporary file in each folder.

    Raises:
        UserError: A folder cannot be made or written to.
    """
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(
                f"{folder}: cannot write there ({error.strerror}), so training does not begin; "
                "allow writing or make room, then run again"
            ) from None


@contextmanager
def exclusive(group: ProcessGroup, path: Path = LOCK) -> Iterator[None]:
    """Hold the lock of this folder's training in rank 0; while another training holds it, wait and
    say so.

    Otherwise a train stage that outlived its killed ``dvc repro`` would write the same files as the
    next one.
    """
    lock = FileLock(path)
    timeout = 0.0
    while not group.broadcast_object(group.rank == 0 and acquired(lock, timeout)):
        if group.rank == 0 and timeout == 0:
            print(
                f"{path}: locked by another training in this folder; waiting for its end",
                file=sys.stderr,
            )
        timeout = POLL
    try:
        yield
    finally:
        lock.release()


def acquired(lock: FileLock, timeout: float) -> bool:
    """Try to acquire the lock for a limited time."""
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        return False
    return True
