"""One HTTP request for a part of a published file: how it is made, checked and given up."""

import math
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx

from common.errors import printable

SILENCE = 5.0  # seconds without a byte, or without a connection, after which a request has failed
ANSWER = 8.0  # seconds until the headers must be there, redirects included
REDIRECTS = 20  # in a row
CHECK_EVERY = 0.1  # seconds between two looks at the clock
LONGEST_REASON = 250  # characters: headers of any length are quoted in it


class MirrorError(Exception):
    """Why a mirror did not deliver, on one line; ``final`` if asking it again cannot help."""

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(printable(reason[:LONGEST_REASON]))
        self.final = final


@dataclass(frozen=True)
class Answer:
    """A response whose headers have been checked."""

    partial: bool  # the body begins with the byte asked for, otherwise with the first of the file
    size: int  # bytes of the whole file
    body: Iterator[bytes]  # in chunks; it may be longer than asked for, or never end


@contextmanager
def ask(url: str, first: int, last: int, size: int | None = None) -> Iterator[Answer]:
    """Request bytes ``first`` to ``last``, inclusive, of a published file.

    Args:
        url: where the file is.
        first: offset of the first byte.
        last: offset of the last byte.
        size: length of the whole file in bytes; None if the answer decides it.

    Raises:
        MirrorError: There is no answer in time, it is not of that file, or its body breaks off.
    """
    headers = {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}
    watchdog = Watchdog(ANSWER)
    try:
        with connect() as client, watchdog:
            extensions = {"trace": watchdog.trace}
            request = client.build_request("GET", url, headers=headers, extensions=extensions)
            with closing(follow(client, request)) as response:
                partial, total = check(response, first, size)
                yield Answer(partial, total, chunks(response, watchdog))
    except httpx.TimeoutException:
        raise MirrorError(f"silent for {SILENCE:g} s") from None
    except (
        httpx.HTTPError,
        httpx.InvalidURL,
        UnicodeError,  # a host that is none
        OverflowError,  # a port that is none
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MirrorError(watchdog.verdict or reason) from error


def connect() -> httpx.Client:
    """Return a client with the environment's proxies and certificates (HTTPS_PROXY, …).

    Raises:
        MirrorError: The environment names proxies or certificates that cannot be used.
    """
    try:
        return httpx.Client(timeout=SILENCE)
    except (OSError, ImportError, ValueError, httpx.InvalidURL) as error:
        reason = f"the environment's proxy or certificates cannot be used: {error}"
        raise MirrorError(reason, final=True) from error


def follow(client: httpx.Client, request: httpx.Request) -> httpx.Response:
    """Return the response behind all redirects, whose bodies are not read: they may never end.

    Raises:
        MirrorError: A redirect leads from https to http, or they do not end.
    """
    for _ in range(REDIRECTS):
        response = client.send(request, stream=True)
        if response.next_request is None:
            return response
        response.close()
        target = response.next_request.url
        if request.url.scheme == "https" and target.scheme != "https":
            raise MirrorError(f"redirects from https to {target}, which is refused", final=True)
        request = response.next_request
    raise MirrorError(f"redirects more than {REDIRECTS} times", final=True)


def check(response: httpx.Response, first: int, size: int | None) -> tuple[bool, int]:
    """Check the headers before a byte of the body is stored.

    Returns:
        Whether the body begins at ``first``, otherwise at 0; and the length of the whole file.

    Raises:
        MirrorError: The status is no success, or the headers are of another file or range.
    """
    status, headers = response.status_code, response.headers
    if status == httpx.codes.PARTIAL_CONTENT:
        sent = headers.get("Content-Range", "unknown bytes")
        found = re.fullmatch(rf"bytes {first}-[0-9]+/([0-9]{{1,18}})", sent)
        if found is None or size not in (None, int(found[1])):
            wanted = f"bytes {first}-" + (f" of {size}" if size else "")
            raise MirrorError(f"sends {sent} when asked for {wanted}", final=True)
        return True, int(found[1])
    if status == httpx.codes.OK:
        length = headers.get("Content-Length", "unknown")
        if not re.fullmatch("[0-9]{1,18}", length) or size not in (None, int(length)):
            what = headers.get("Content-Type", "unknown type")
            wanted = f"expected {size}" if size else "which tells no size"
            raise MirrorError(f"has another file: {length} bytes of {what}, {wanted}", final=True)
        return False, int(length)
    passing = (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS)
    final = status < 500 and status not in passing
    raise MirrorError(f"answers {status} {response.reason_phrase}", final)


def chunks(response: httpx.Response, watchdog: "Watchdog") -> Iterator[bytes]:
    """Yield the body as it arrives; the time between two chunks is limited."""
    watchdog.allow(SILENCE)
    for chunk in response.iter_raw():
        watchdog.allow(math.inf)  # the caller may take any time, such as to write to a slow disk
        yield chunk
        watchdog.allow(SILENCE)


class Watchdog:
    """A context that shuts down the connections of a request if nothing useful arrives in time.

    A timeout of httpx limits one read from a socket. Headers at two bytes per second, "100
    Continue" without end, or a TLS handshake byte by byte never exceed it.
    """

    def __init__(self, seconds: float) -> None:
        self.verdict = ""  # why the connections were shut down
        self.sockets: list[socket.socket] = []
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.allow(seconds)

    def allow(self, seconds: float) -> None:
        """Expect something useful within ``seconds`` from now."""
        self.seconds, self.deadline = seconds, time.monotonic() + seconds

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Remember a new connection; httpcore calls this at each step of a request."""
        if event.endswith(".connect_tcp.complete"):
            # A duplicate, since TLS detaches the original from its descriptor.
            self.sockets.append(info["return_value"].get_extra_info("socket").dup())

    def watch(self) -> None:
        while not self.done.wait(CHECK_EVERY):
            if time.monotonic() > self.deadline:
                self.verdict = f"no answer within {self.seconds:g} s"
                for connection in self.sockets:
                    with suppress(OSError):  # the other side may have closed it
                        connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.done.set()
        self.thread.join()
        for connection in self.sockets:
            connection.close()
