"""A published file, from whichever of its mirrors is fast, byte for byte the one with this SHA-256.

All mirrors hold the same bytes, so bytes already fetched are kept, whoever sent them. The policy:

1. Every mirror is asked at once for a small sample; the first to deliver it is used, so a dead one costs no time.
2. The file grows in ``<path>.part``. An interrupted run is carried on from there, by a Range request to any mirror.
3. What a mirror sends is timed, over windows that grow. If the rest would take long, the next mirror is tried, with the
   bytes needed next; once all are timed, one is left only for another that was more than twice as fast.
4. A mirror that fails is asked again, a bounded number of times; one that has another file, or none, is not.
5. The SHA-256 decides. After wrong bytes the part is dropped, and so is the mirror that sent them; when there were
   several, each is asked alone.
"""

import math
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import httpx
from filelock import FileLock, Timeout

from common import files
from common.errors import UserError
from common.progress import Progress

SILENCE = 5.0  # seconds without a byte, or without a connection, after which a request has failed
ANSWER = 8.0  # seconds until some mirror must have answered; its own retries included
ATTEMPTS = 3  # failures in a row after which a mirror is given up
PAUSE = 0.5  # seconds before a mirror is asked again; doubles with each failure
PROGRESS = 0.01  # fraction of the file that makes an attempt no failure in a row, so that cut after cut still ends
SAMPLE = 128 * 1024  # bytes; more than a throttled server's first burst often is
SAMPLE_FRACTION = 1 / 256  # of the file: samples are thrown away, so they must cost next to nothing
SAMPLE_TIME = (
    2.0  # seconds after which a part of the sample is enough, or a slow line would look dead
)
FIRST_WINDOW = 0.5  # seconds over which a mirror is first timed; each later window is twice as long
LONGEST_WINDOW = 8.0  # seconds
PATIENCE = 10.0  # seconds; if the rest takes less, no faster mirror is worth a change
MUCH_FASTER = 2.0  # times; below that, changing costs more than it gains


class MirrorError(Exception):
    """Why a mirror did not deliver."""

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final  # asking again would not help


@dataclass(eq=False)
class Mirror:
    """A URL and what is known of it. The thread that takes its sample lets go of it by setting ``delay`` or ``out``."""

    url: str
    asked: bool = False
    delay: float | None = None  # seconds until the sample was there
    ranges: bool = True  # can send a part of the file
    rate: float = (
        math.inf
    )  # bytes per second in the last window; infinite before the first, so that each gets its turn
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


def fetch(urls: Sequence[str], path: Path, sha256: str, size: int) -> None:
    """Bring a published file to ``path``: from whichever of ``urls`` is fast, byte for byte the one with this SHA-256.

    Args:
        urls: where copies of it are; the order does not matter.
        path: where it goes once it is whole. Beside it lie ``<path>.part`` meanwhile, and ``<path>.lock``.
        sha256: its checksum, in hexadecimal.
        size: its length in bytes.

    Raises:
        UserError: no mirror delivers it, or it cannot be written. What was fetched is kept for the next run, unless it
            is known to be wrong.
    """
    if path.exists() and files.sha256(path) == sha256:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with locked(path):
        if path.exists():
            if (actual := files.sha256(path)) == sha256:
                return  # another process fetched it while this one waited
            say(f"{path} is corrupt: its SHA-256 is {actual}, expected {sha256}; fetching it again")
        mirrors = [Mirror(url) for url in urls]
        if not complete(part, mirrors, sha256, size):
            reasons = "; ".join(f"{mirror.url}: {mirror.reason}" for mirror in mirrors)
            kept = f"{held(part)} of {size} bytes are kept for the next run; " if held(part) else ""
            raise UserError(
                f"cannot fetch {path.name}: {reasons}; {kept}try again, or set download.source to a local copy of it "
                f"(SHA-256 {sha256}), or download.dataset to digits, which needs no network"
            )
        files.flush_to_disk(part)
        part.replace(path)
        files.flush_to_disk(path.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``<path>.lock``, which the system releases even after SIGKILL; wait for another process that holds it."""
    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"{path.name}: another process is fetching it; waiting for that")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def complete(part: Path, mirrors: list[Mirror], sha256: str, size: int) -> bool:
    """Fill ``part`` until it is the file with this checksum, or say that no mirror is left that could deliver it."""
    while True:
        earlier = held(part) > 0
        senders = fill(part, mirrors, size)
        if senders is None:
            return False
        if (actual := files.sha256(part)) == sha256:
            return True
        part.unlink()
        reason = f"wrong bytes: SHA-256 is {actual}, expected {sha256}"
        if earlier:
            say(f"{part.name}: {reason}; some are from an earlier run, so starting over")
        elif len(senders) == 1:
            senders[0].fail(MirrorError(reason, final=True))
        else:
            say(
                f"{part.name}: {reason}; they came from {len(senders)} mirrors, so starting over with each alone"
            )
            return any(
                complete(part, [mirror], sha256, size) for mirror in mirrors if not mirror.out
            )


def fill(part: Path, mirrors: list[Mirror], size: int) -> list[Mirror] | None:
    """Append to ``part`` until it is ``size`` bytes long. Returns who sent them; None when all mirrors failed."""
    senders: list[Mirror] = []
    why = f"the first of {len(mirrors)} to answer"
    while (offset := held(part)) < size:
        mirror = choose(mirrors, offset, size)
        if mirror is None:
            return None
        mirror.pause()
        say(f"{part.stem}: from {mirror.url}, {why}")
        try:
            stream(part, mirror, mirrors, size)
            why = f"because {mirror.url} sends only {mirror.rate / 1000:.0f} kB/s"
        except MirrorError as error:
            mirror.fail(error, progress=held(part) - offset >= PROGRESS * size)
            why = f"because {mirror.url} failed: {error}"
        if held(part) > offset and mirror not in senders:
            senders.append(mirror)
    return senders


def held(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def choose(mirrors: list[Mirror], offset: int, size: int) -> Mirror | None:
    """The mirror to go on with, after waiting for one to answer; None when there is none."""
    for mirror in mirrors:
        if not mirror.asked:
            mirror.asked = True
            # A daemon, because looking up a name cannot be interrupted and must not hold up the end of the process.
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
    """Those that have answered; one that ignores Range only where nothing is sent twice, or when no other is left."""
    alive = [mirror for mirror in mirrors if not mirror.out]
    whole = offset == 0 or not any(mirror.ranges for mirror in alive)
    return [mirror for mirror in alive if mirror.delay is not None and (mirror.ranges or whole)]


def take_sample(mirror: Mirror, offset: int, size: int) -> None:
    """Find out whether a mirror has the file, and how soon it delivers some of what is needed next."""
    last = min(offset + max(1, min(SAMPLE, int(size * SAMPLE_FRACTION))), size) - 1
    while not mirror.out and mirror.delay is None:
        mirror.pause()
        began = time.monotonic()
        try:
            with ask(mirror.url, offset, last, size) as response:
                mirror.ranges = response.status_code == httpx.codes.PARTIAL_CONTENT
                for _ in response.iter_raw() if mirror.ranges else ():
                    if time.monotonic() - began > SAMPLE_TIME:
                        break
            mirror.failures, mirror.rate = 0, math.inf
            mirror.delay = time.monotonic() - began
        except MirrorError as error:
            mirror.fail(error)


def stream(part: Path, mirror: Mirror, mirrors: list[Mirror], size: int) -> None:
    """Append what a mirror sends, until the file is complete or another mirror promises to be much faster.

    Raises:
        MirrorError: it failed before that.
        UserError: the disk is full.
    """
    offset = held(part)
    with (
        ask(mirror.url, offset, size - 1, size) as response,
        part.open("ab", buffering=0) as file,
        Progress(total=size, initial=offset, desc=part.stem, unit="B", unit_scale=True) as bar,
    ):
        position = offset if response.status_code == httpx.codes.PARTIAL_CONTENT else 0
        window, began, first = FIRST_WINDOW, time.monotonic(), position
        for chunk in response.iter_raw():
            # Whoever ignores Range sends again what is already here, and it is skipped.
            new = chunk[max(0, offset - position) : size - position]
            append(file, new)
            bar.update(len(new))
            position += len(chunk)
            offset = max(offset, position)
            if (elapsed := time.monotonic() - began) >= window:
                mirror.rate = (position - first) / elapsed
                if outpaced(mirror, ready(mirrors, offset), size - position):
                    return
                window, began, first = min(2 * window, LONGEST_WINDOW), time.monotonic(), position
    if position < size:
        raise MirrorError(f"ends after {position} of {size} bytes")


def outpaced(mirror: Mirror, rivals: list[Mirror], rest: int) -> bool:
    """Whether the rest would take long, and another mirror is untried or was much faster."""
    return rest > PATIENCE * mirror.rate and any(
        rival.rate > MUCH_FASTER * mirror.rate for rival in rivals
    )


def append(file: FileIO, content: bytes) -> None:
    """Hand bytes to the system, so that they survive SIGKILL.

    Raises:
        UserError: it does not take them.
    """
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise UserError(
            f"{file.name}: {error.strerror}; make room, then run again: what is there is kept"
        ) from error


@contextmanager
def ask(url: str, first: int, last: int, size: int) -> Iterator[httpx.Response]:
    """Request the bytes from ``first`` to ``last`` of a file that is ``size`` bytes long.

    Raises:
        MirrorError: the answer is none, or not of that file, or it breaks off.
    """
    headers = {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}
    try:
        with connect() as client, client.stream("GET", url, headers=headers) as response:
            check(response, first, size)
            yield response
    except httpx.TimeoutException:
        raise MirrorError(f"silent for {SILENCE:g} s") from None
    except (
        httpx.HTTPError,
        httpx.InvalidURL,
        UnicodeError,
        OverflowError,
    ) as error:  # the last two: host and port
        raise MirrorError(" ".join(str(error).split()) or type(error).__name__) from error


def connect() -> httpx.Client:
    """An HTTP client with the environment's proxies and certificates (HTTPS_PROXY, SSL_CERT_FILE, …)."""
    try:
        return httpx.Client(
            timeout=SILENCE, follow_redirects=True, event_hooks={"response": [refuse_downgrade]}
        )
    except (OSError, ImportError, ValueError, httpx.InvalidURL) as error:
        raise MirrorError(
            f"the environment's proxy or certificates cannot be used: {error}", final=True
        ) from error


def refuse_downgrade(response: httpx.Response) -> None:
    """Never from https to http."""
    if response.has_redirect_location:
        target = response.url.join(response.headers["Location"])
        if response.url.scheme == "https" and target.scheme != "https":
            raise MirrorError(f"redirects from https to {target}, which is refused", final=True)


def check(response: httpx.Response, first: int, size: int) -> None:
    """See from its headers whether a response can be of the file, before a byte of it is stored."""
    status, headers = response.status_code, response.headers
    if status == httpx.codes.PARTIAL_CONTENT:
        sent = headers.get("Content-Range", "")
        if not re.fullmatch(rf"bytes {first}-\d+/{size}", sent):
            raise MirrorError(
                f"sends {sent or 'unknown bytes'} when asked for bytes {first}- of {size}",
                final=True,
            )
    elif status == httpx.codes.OK:
        if (length := headers.get("Content-Length")) != str(size):
            what = headers.get("Content-Type", "unknown type")
            raise MirrorError(
                f"has another file: {length or 'unknown'} bytes of {what}, expected {size}",
                final=True,
            )
    else:
        again = status >= 500 or status in (
            httpx.codes.REQUEST_TIMEOUT,
            httpx.codes.TOO_MANY_REQUESTS,
        )
        raise MirrorError(f"answers {status} {response.reason_phrase}", final=not again)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
