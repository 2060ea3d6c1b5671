"""Several mirrors of one file: which of them is asked for the bytes needed next.

1. Every mirror is asked at once for a small sample. The first to deliver it is used, so that a
   dead mirror costs no time.
2. What a mirror sends is timed, over windows that grow. If the rest would take long, the next
   mirror is tried, with the bytes needed next. Once all are timed, a mirror is left only for
   another that was more than twice as fast.
3. A mirror that fails is asked again, a bounded number of times. A mirror that has another file,
   or none, is not asked again.
"""

import math
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import UserError, printable
from common.progress import Progress
from fetching.request import ANSWER, MirrorError, ask

ATTEMPTS = 3  # failures in a row after which a mirror is given up
PAUSE = 0.5  # seconds before a mirror is asked again; doubles with each failure
PROGRESS = 0.01  # of the file: progress of this much resets the failure count
SAMPLE = 128 * 1024  # bytes; more than a throttled server's first burst often is
SAMPLE_FRACTION = 1 / 256  # of the file: samples are thrown away, so they must cost little
SAMPLE_TIME = 2.0  # seconds after which a part of the sample is enough: the line may be slow
FIRST_WINDOW = 0.5  # seconds over which a mirror is first timed; each later window is twice as long
LONGEST_WINDOW = 8.0  # seconds
PATIENCE = 10.0  # seconds; if the rest takes less, no faster mirror is worth a change
MUCH_FASTER = 2.0  # times; below that, changing costs more than it gains


@dataclass(eq=False)
class Mirror:
    """A URL and what is known of it.

    Until ``delay`` or ``out`` is set, it belongs to the thread that takes its sample.
    """

    url: str
    asked: bool = False
    delay: float | None = None  # seconds until the sample was there
    ranges: bool = True  # can send a part of the file
    rate: float = math.inf  # bytes per second in the last window; infinite before the first
    failures: int = 0  # in a row
    out: bool = False  # given up
    reason: str = f"no answer within {ANSWER:g} s"

    def fail(self, error: MirrorError, progress: bool = False) -> None:
        self.reason = str(error)
        self.failures = 1 if progress else self.failures + 1
        self.rate = self.rate if progress else 0.0
        self.out = error.final or self.failures >= ATTEMPTS

    def pause(self) -> None:
        if self.failures:
            time.sleep(PAUSE * 2 ** (self.failures - 1))


@dataclass(frozen=True)
class Piece:
    """Bytes from ``start`` to ``end``, exclusive, and who sent them; None for an earlier run."""

    sender: Mirror | None
    start: int
    end: int


@dataclass
class Part:
    """A file that only grows: the first bytes of a published file of ``size`` bytes."""

    path: Path
    size: int
    pieces: list[Piece] = field(default_factory=list)

    @property
    def held(self) -> int:
        """The bytes on disk."""
        return self.path.stat().st_size if self.path.exists() else 0

    def senders(self) -> list[Mirror | None]:
        """Return the senders, ordered by how many bytes each sent, fewest first."""
        sent: dict[Mirror | None, int] = {}
        for piece in self.pieces:
            sent[piece.sender] = sent.get(piece.sender, 0) + piece.end - piece.start
        return sorted(sent, key=lambda sender: sent[sender])

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.pieces = []


def fill(part: Part, mirrors: list[Mirror], end: int) -> bool:
    """Append to ``part`` until it holds ``end`` bytes; return False if all mirrors failed."""
    why = f"the first of {len(mirrors)} to answer"
    while (offset := part.held) < end:
        mirror = next_mirror(mirrors, offset, part.size)
        if mirror is None:
            return False
        mirror.pause()
        report(f"{part.path.stem}: from {mirror.url}, {why}")
        try:
            stream(part, mirror, mirrors, end)
            why = f"because {mirror.url} sends only {mirror.rate / 1000:.0f} kB/s"
        except MirrorError as error:
            mirror.fail(error, progress=part.held - offset >= PROGRESS * part.size)
            why = f"because {mirror.url} failed: {error}"
        if part.held > offset:
            part.pieces.append(Piece(mirror, offset, part.held))
    return True


def next_mirror(mirrors: list[Mirror], offset: int, size: int) -> Mirror | None:
    """Return the mirror to ask next, after waiting for one to answer; None if there is none."""
    for mirror in mirrors:
        if not mirror.asked:
            mirror.asked = True
            # A daemon: looking up a name cannot be interrupted and must not delay the exit.
            threading.Thread(target=take_sample, args=(mirror, offset, size), daemon=True).start()
    deadline = time.monotonic() + ANSWER
    while not all(mirror.out for mirror in mirrors):
        if candidates := ready(mirrors, offset):
            return max(
                candidates, key=lambda mirror: (mirror.rate, -mirror.failures, -(mirror.delay or 0))
            )
        if time.monotonic() > deadline:
            for mirror in mirrors:
                mirror.out |= mirror.delay is None
        time.sleep(0.01)
    return None


def ready(mirrors: list[Mirror], offset: int) -> list[Mirror]:
    """Return the mirrors that have answered.

    A mirror that ignores Range sends everything from the start. It is left out where that would
    send bytes twice, unless no other mirror is left.
    """
    alive = [mirror for mirror in mirrors if not mirror.out]
    whole = offset == 0 or not any(mirror.ranges for mirror in alive)
    return [mirror for mirror in alive if mirror.delay is not None and (mirror.ranges or whole)]


def take_sample(mirror: Mirror, offset: int, size: int) -> None:
    """Find out whether a mirror has the file, and how soon it delivers what is needed next."""
    wanted = min(max(1, min(SAMPLE, int(size * SAMPLE_FRACTION))), size - offset)
    while not mirror.out and mirror.delay is None:
        mirror.pause()
        began = time.monotonic()
        try:
            with ask(mirror.url, offset, offset + wanted - 1, size) as answer:
                mirror.ranges = answer.partial
                received = 0
                for chunk in answer.body if answer.partial else ():
                    received += len(chunk)
                    if received >= wanted or time.monotonic() - began > SAMPLE_TIME:
                        break
            mirror.failures, mirror.rate = 0, math.inf
            mirror.delay = time.monotonic() - began
        except MirrorError as error:
            mirror.fail(error)


def stream(part: Part, mirror: Mirror, mirrors: list[Mirror], end: int) -> None:
    """Append what a mirror sends, up to ``end`` or until another mirror promises to be much faster.

    Bytes beyond ``end`` are neither stored nor waited for.

    Raises:
        MirrorError: The mirror failed before that.
        UserError: The bytes cannot be written.
    """
    offset = part.held
    with (
        ask(mirror.url, offset, end - 1, part.size) as answer,
        part.path.open("ab", buffering=0) as file,
        Progress(
            total=part.size, initial=offset, desc=part.path.stem, unit="B", unit_scale=True
        ) as bar,
    ):
        position = offset if answer.partial else 0
        window, began, first = FIRST_WINDOW, time.monotonic(), position
        for chunk in answer.body:
            # A mirror that ignores Range sends again what is already there; it is skipped.
            new = memoryview(chunk)[max(0, offset - position) : end - position]
            bar.update(len(new))
            with writing(part.path):
                while new:
                    new = new[file.write(new) :]  # unbuffered, so that they survive SIGKILL
            position += len(chunk)
            offset = max(offset, min(position, end))
            if position >= end:
                return
            if (elapsed := time.monotonic() - began) >= window:
                mirror.rate = (position - first) / elapsed
                if outpaced(mirror, ready(mirrors, offset), end - position):
                    return
                window, began, first = min(2 * window, LONGEST_WINDOW), time.monotonic(), position
    raise MirrorError(f"ends after {position} of {part.size} bytes")


def outpaced(mirror: Mirror, rivals: list[Mirror], rest: int) -> bool:
    """Return whether the rest would take long and another mirror is untried or was much faster."""
    return rest > PATIENCE * mirror.rate and any(
        rival.rate > MUCH_FASTER * mirror.rate for rival in rivals
    )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system refuses, such as a write to a full disk, into an error with the path.

    Raises:
        UserError: The system refused.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}; make room, then run again: what is there is kept"
        ) from error


def report(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)
