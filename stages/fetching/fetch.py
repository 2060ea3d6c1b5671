"""A published file, from whichever of its mirrors is fast, proven by its SHA-256.

All mirrors hold the same bytes, so bytes already fetched are kept, whoever sent them. The file
grows in ``<path>.part``, and an interrupted run is resumed from there, by a Range request to any
mirror. Only a file with the right SHA-256 gets its final name. If the SHA-256 is wrong, the bytes
of one sender at a time are fetched again from the others: as long as a single sender is wrong, at
most twice the size of the file is fetched.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from common import files
from common.errors import UserError
from fetching.mirrors import Mirror, Part, Piece, fill, report, writing
from fetching.request import MirrorError, ask

BLOCK = 1024 * 1024  # bytes copied at once


def fetch(
    urls: Sequence[str], path: Path, sha256: str, size: int | None = None, *, otherwise: str
) -> None:
    """Fetch a published file to ``path``, from whichever of ``urls`` is fast.

    Args:
        urls: where copies of it are; the order does not matter.
        path: where it goes once it is whole. Beside it are ``<path>.part`` until then, and
            ``<path>.lock``.
        sha256: its digest in hexadecimal, or as many first digits of it as are known.
        size: its length in bytes; None to ask the first mirror that answers.
        otherwise: what the user can do if no mirror delivers it, for the error.

    Raises:
        UserError: No mirror delivers it, or it cannot be written. What was fetched is kept for the
            next run, unless it is known to be wrong.
    """
    part = path.with_name(path.name + ".part")
    refuse_special(path, part)
    if path.exists() and files.sha256(path).startswith(sha256):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path):
        if path.exists():
            if (actual := files.sha256(path)).startswith(sha256):
                return  # another process fetched it while this one waited
            report(f"{path} is corrupt: {mismatch(actual, sha256)}; fetching it again")
        mirrors = [Mirror(url) for url in urls]
        if not bring(part, mirrors, sha256, size):
            reasons = [f"  {mirror.url}: {mirror.reason}" for mirror in mirrors]
            if part.exists():
                reasons.append(f"  {part.stat().st_size} bytes are kept for the next run")
            raise UserError(f"cannot fetch {path.name}", *reasons, f"  try again, or {otherwise}")
        with writing(part):
            files.flush_to_disk(part)
            part.replace(path)
            files.flush_to_disk(path.parent)


def refuse_special(*paths: Path) -> None:
    """Refuse what exists but is no file: opening a pipe would wait forever."""
    for path in paths:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is a folder, a pipe or a device; remove it, then run again")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``<path>.lock``, which the system releases even after SIGKILL.

    If another process holds it, wait for that process.
    """
    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        report(f"{path.name}: another process is fetching it; waiting for that")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def bring(path: Path, mirrors: list[Mirror], sha256: str, size: int | None) -> bool:
    """Complete the file at ``path``; return False if no mirror is left that could deliver it."""
    if size is None:
        size = find_size(mirrors)
    if size is None:
        return False
    part = Part(path, size)
    if part.held:
        part.pieces.append(Piece(None, 0, part.held))
    return complete(part, mirrors, sha256)


def find_size(mirrors: list[Mirror]) -> int | None:
    """Return the length in bytes that the first mirror to answer tells; None if all fail."""
    for mirror in mirrors:
        while not mirror.out:
            mirror.pause()
            try:
                with ask(mirror.url, 0, 0) as answer:
                    return answer.size
            except MirrorError as error:
                mirror.fail(error)
    return None


def complete(part: Part, mirrors: list[Mirror], sha256: str) -> bool:
    """Fill ``part`` until its digest is right; return False if no mirror is left to do so."""
    while fill(part, mirrors, part.size):
        if genuine(part, sha256):
            return True
        senders = part.senders()
        if len(senders) > 1:
            if any(replace(part, sender, mirrors, sha256) for sender in senders):
                return True
            part.drop()
            # More than one sender is wrong: each mirror must deliver the whole file alone.
            return any(complete(part, [mirror], sha256) for mirror in mirrors if not mirror.out)
        part.drop()
    return False


def genuine(part: Part, sha256: str) -> bool:
    """Return whether the digest is right; give up a mirror that sent every byte of a wrong file."""
    if (actual := files.sha256(part.path)).startswith(sha256):
        return True
    reason = f"wrong bytes: {mismatch(actual, sha256)}"
    report(f"{part.path.name}: {reason}")
    senders = part.senders()
    if len(senders) == 1 and senders[0] is not None:
        senders[0].fail(MirrorError(reason, final=True))
    return False


def replace(part: Part, suspect: Mirror | None, mirrors: list[Mirror], sha256: str) -> bool:
    """Fetch what ``suspect`` sent again from others; return whether the digest is right then."""
    others = [mirror for mirror in mirrors if mirror is not suspect]
    source = suspect.url if suspect else "an earlier run"
    report(f"{part.path.name}: fetching again what came from {source}")
    candidate = Part(part.path.with_name(part.path.name + ".other"), part.size)
    candidate.drop()
    try:
        for piece in part.pieces:
            if piece.sender is not suspect:
                copy(part, candidate, piece)
            elif not fill(candidate, others, piece.end):
                return False
        if right := genuine(candidate, sha256):
            candidate.path.replace(part.path)
        return right
    finally:
        candidate.drop()


def copy(part: Part, candidate: Part, piece: Piece) -> None:
    with (
        part.path.open("rb") as source,
        writing(candidate.path),
        candidate.path.open("ab") as target,
    ):
        source.seek(piece.start)
        for offset in range(piece.start, piece.end, BLOCK):
            target.write(source.read(min(BLOCK, piece.end - offset)))
    candidate.pieces.append(piece)


def mismatch(actual: str, sha256: str) -> str:
    return f"its SHA-256 is {actual}, expected {sha256}"
