"""A real HTTP server of one file, on this machine, that misbehaves as it is told."""

import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLICES_PER_SECOND = 50  # how smoothly a limited rate is kept


@dataclass
class Server:
    """What is served, how, and a record of it."""

    content: bytes
    rate: float = float("inf")  # bytes per second and connection
    delay: float = 0  # seconds before an answer
    mute: bool = False  # accept, and say nothing
    statuses: list[int] = field(default_factory=list)  # answered to the first requests, one each
    html: bool = False  # a page with status 200 instead of the file
    redirect: str = ""  # to this URL
    ranges: bool = True  # honour Range
    shift: int = 0  # bytes by which a range is missed, and truly labelled so
    cut: int | None = None  # offset in the file where a body breaks off
    stall: int | None = None  # offset in the file where a body falls silent
    times: float = float("inf")  # how often it breaks off or falls silent

    url: str = ""
    sent: int = 0  # bytes of bodies
    requests: list[str] = field(default_factory=list)  # the Range of each
    closing: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(
    content: bytes, tls: ssl.SSLContext | None = None, **misbehaviour: object
) -> Iterator[Server]:
    """Serve ``content`` at any path below ``url``, until the block ends."""
    server = Server(content, **misbehaviour)  # type: ignore[arg-type]
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
        """A client that leaves, or does not trust the certificate, is what the tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    told: Server

    def do_HEAD(self) -> None:
        self.start(200, len(self.told.content), {})

    def do_GET(self) -> None:
        told = self.told
        told.requests.append(self.headers.get("Range", ""))
        told.closing.wait(told.delay)
        if told.mute:
            told.closing.wait()
            self.close_connection = True
        elif told.statuses:
            self.answer(told.statuses.pop(0), b"no")
        elif told.redirect:
            self.answer(302, b"", Location=told.redirect)
        elif told.html:
            self.answer(200, b"<html>Log in to the network</html>", **{"Content-Type": "text/html"})
        else:
            self.send_file()

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.start(status, len(body), headers)
        self.send(body)

    def send_file(self) -> None:
        told = self.told
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not asked or not told.ranges:
            self.start(200, len(told.content), {})
            return self.send_body(0, len(told.content))
        first, end = int(asked[1]) + told.shift, min(int(asked[2]) + 1, len(told.content))
        self.start(
            206, end - first, {"Content-Range": f"bytes {first}-{end - 1}/{len(told.content)}"}
        )
        return self.send_body(first, end)

    def start(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def send_body(self, first: int, end: int) -> None:
        told = self.told
        stop = min(
            told.cut if told.cut is not None else end, told.stall if told.stall is not None else end
        )
        if stop >= end or told.times <= 0:
            return self.send(memoryview(told.content)[first:end])
        told.times -= 1
        self.send(memoryview(told.content)[first:stop])
        if told.stall is not None:
            told.closing.wait()
        self.close_connection = True
        return None

    def send(self, body: bytes | memoryview) -> None:
        due = time.monotonic()
        while body:
            rate = self.told.rate
            piece = body[: max(1, int(min(rate / SLICES_PER_SECOND, 64 * 1024)))]
            self.wfile.write(piece)
            self.told.sent += len(piece)
            body = body[len(piece) :]
            # Against the clock, so that a sleep that lasts too long does not lower the rate.
            due += len(piece) / rate
            self.told.closing.wait(max(0.0, due - time.monotonic()))

    def log_message(self, format: str, *args: object) -> None:
        """Not on the terminal."""
