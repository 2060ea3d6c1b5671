"""A published file, and how it is fetched from servers on this machine."""

import hashlib
import random
import subprocess
from pathlib import Path

import pytest

from common.errors import UserError
from fetching.fetch import fetch
from helpers import start
from misbehaving_server import Server

CONTENT = random.Random(0).randbytes(1_500_000)
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
DEAD = "http://127.0.0.1:9/file"  # the discard port: nobody listens


def wrong_from(offset: int) -> bytes:
    """Return the file with each byte changed from ``offset`` on."""
    return CONTENT[:offset] + bytes(byte ^ 1 for byte in CONTENT[offset:])


def urls(servers: tuple[Server | str, ...]) -> list[str]:
    return [server if isinstance(server, str) else server.url for server in servers]


def bring(path: Path, *servers: Server | str) -> None:
    fetch(urls(servers), path, SHA256, SIZE, otherwise="do without")


def arrives(path: Path, *servers: Server | str) -> None:
    bring(path, *servers)
    assert path.read_bytes() == CONTENT
    assert {file.name for file in path.parent.iterdir()} <= {path.name, path.name + ".lock"}


def fails(path: Path, *servers: Server | str) -> str:
    """Return the error, of one printable line for the file, for each URL, and for the way out."""
    with pytest.raises(UserError) as raised:
        bring(path, *servers)
    lines = str(raised.value).split("\n")
    assert all(line.isprintable() for line in lines)
    assert lines[0] == f"cannot fetch {path.name}"
    for url, line in zip(urls(servers), lines[1:], strict=False):
        assert line.startswith(f"  {url}: ".replace("\x1b", r"\x1b"))
    assert lines[-1] == "  try again, or do without"
    assert not path.exists()
    return str(raised.value)


def part_of(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def start_fetch(path: Path, *servers: Server, before: str = "") -> "subprocess.Popen[str]":
    """Fetch in a process of its own, which can be killed; ``before`` is Python code."""
    code = (
        f"{before}\nfrom pathlib import Path\nfrom fetching.fetch import fetch\n"
        "from common.stage import run\n"
        f"run(lambda: fetch({urls(servers)!r}, Path({str(path)!r}), {SHA256!r}, {SIZE}, "
        "otherwise='do without'))"
    )
    return start(code, path.parent)
