"""A real HTTP server of one file, on this machine, that misbehaves as it is told.

The tests of fetching/ and tools/download_benchmark.py use it.
"""

import math
import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLICES_PER_SECOND = 50  # how smoothly a limited rate is kept
SLICE = 64 * 1024  # bytes, at most


@dataclass
class Server:
    """What is served, how, and a record of it."""

    content: bytes
    well: int = 0  # requests that are answered as they should be, before all below begins
    delay: float = 0  # seconds before an answer
    mute: bool = False  # accept, and say nothing
    rate: float = math.inf  # bytes of a body per second and connection

    # Headers
    header_rate: float = math.inf  # bytes per second
    continues: float = 0  # how many times "100 Continue" comes first
    statuses: list[int] = field(default_factory=list)  # answered to the first requests, one each
    reason: str = ""  # the phrase behind the status; empty for the usual one
    html: bool = False  # a page with status 200 instead of the file
    redirect: str = ""  # to this URL
    headers: dict[str, str] = field(default_factory=dict)  # added, or in place of the right ones

    # Bodies
    ranges: bool = True  # honour Range
    to_end: bool = False  # send all from a range's first byte on
    shift: int = 0  # bytes by which a range is missed, and truly labelled so
    cut: int | None = None  # offset in the file where a body breaks off
    stall: int | None = None  # offset in the file where a body falls silent
    times: float = math.inf  # how often it breaks off or falls silent
    extra: float = 0  # bytes that follow a body, whose length is then not told
    open_end: bool = False  # a body's length is not told, and the connection not closed behind it
    chunk_header_rate: float = math.inf  # bytes per second of the line that announces a chunk

    url: str = ""
    sent: int = 0  # bytes, headers included
    requests: list[str] = field(default_factory=list)  # the Range of each
    closing: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(
    content: bytes, tls: ssl.SSLContext | None = None, **misbehaviour: object
) -> Iterator[Server]:
    """Serve ``content`` at any path below ``url``, until the block ends."""
    server = Server(content, **deepcopy(misbehaviour))  # type: ignore[arg-type]
    http = QuietServer(("127.0.0.1", 0), type("Bound", (Handler,), {"told": server}))
    if tls:
        http.socket = tls.wrap_socket(http.socket, server_side=True, do_handshake_on_connect=False)
    server.url = f"http{'s' if tls else ''}://127.0.0.1:{http.server_port}/file"
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.closing.set()
        http.shutdown()
        http.server_close()


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that leaves or does not trust the certificate is expected."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    told: Server

    def do_HEAD(self) -> None:
        self.start(200, {"Content-Length": str(len(self.told.content))})

    def do_GET(self) -> None:
        told = self.told
        told.requests.append(self.headers.get("Range", ""))
        if len(told.requests) <= told.well:
            self.told = Server(told.content)  # in this handler alone, which is of one connection
            self.send_file()
            told.sent += self.told.sent
            self.told = told
            return
        told.closing.wait(told.delay)
        if told.mute:
            told.closing.wait()
            self.close_connection = True
        elif told.statuses:
            self.answer(told.statuses.pop(0), b"no")
        elif told.redirect:
            self.answer(302, b"", Location=told.redirect)
        elif told.html:
            page = b"<html>Log in to the network</html>"
            self.answer(200, page, **{"Content-Type": "text/html"})
        else:
            self.send_file()

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.start(status, {"Content-Length": str(len(body)), **headers})
        self.send_body(body, 0, len(body))

    def send_file(self) -> None:
        told, length = self.told, len(self.told.content)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not asked or not told.ranges:
            self.start(200, {"Content-Length": str(length)})
            return self.send_body(told.content, 0, length)
        first = int(asked[1]) + told.shift
        end = length if told.to_end else min(int(asked[2]) + 1, length)
        sent = {"Content-Range": f"bytes {first}-{end - 1}/{length}"}
        self.start(206, {"Content-Length": str(end - first), **sent})
        return self.send_body(told.content, first, end)

    def start(self, status: int, headers: dict[str, str]) -> None:
        told = self.told
        while told.continues > 0 and not told.closing.is_set():
            told.continues -= 1
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        headers |= told.headers
        if told.extra or told.open_end:
            headers.pop("Content-Length", None)
        if told.chunk_header_rate < math.inf:
            del headers["Content-Length"]
            headers["Transfer-Encoding"] = "chunked"
        lines = [
            f"HTTP/1.1 {status} {told.reason or HTTPStatus(status).phrase}",
            *map(": ".join, headers.items()),
        ]
        self.send("".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1"), "header_rate")

    def send_body(self, content: bytes, first: int, end: int) -> None:
        told = self.told
        ends = [offset for offset in (told.cut, told.stall) if offset is not None and offset < end]
        if ends and told.times > 0:
            told.times -= 1
            self.send(memoryview(content)[first : min(ends)])
            if told.stall is not None:
                told.closing.wait()
            self.close_connection = True
            return
        if told.chunk_header_rate < math.inf:
            self.send(b"1;" + b"a" * 100_000, "chunk_header_rate")
        self.send(memoryview(content)[first:end])
        if told.extra or told.open_end:
            self.send_extra()
            self.close_connection = True

    def send_extra(self) -> None:
        rest = self.told.extra
        while rest > 0 and not self.told.closing.is_set():
            self.send(bytes(int(min(rest, SLICE))))
            rest -= SLICE
        if self.told.open_end:
            self.told.closing.wait()

    def send(self, content: bytes | memoryview, limit: str = "rate") -> None:
        told, due = self.told, time.monotonic()
        while content and not told.closing.is_set():
            rate: float = getattr(told, limit)  # a test may change it meanwhile
            piece = content[: max(1, int(min(rate / SLICES_PER_SECOND, SLICE)))]
            self.wfile.write(piece)
            told.sent += len(piece)
            content = content[len(piece) :]
            # Against the clock, so that a sleep that lasts too long does not lower the rate.
            due += len(piece) / rate
            told.closing.wait(max(0.0, due - time.monotonic()))

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing to the terminal."""
