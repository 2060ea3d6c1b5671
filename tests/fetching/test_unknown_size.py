"""Files of which only a URL and the first digits of the SHA-256 are known, as published weights."""

from pathlib import Path

import pytest

from common.errors import UserError
from fetching.fetch import fetch
from misbehaving_server import Server, serving
from published import CONTENT, DEAD, SHA256, SIZE, part_of, wrong_from


def bring(path: Path, *servers: Server | str) -> None:
    urls = [server if isinstance(server, str) else server.url for server in servers]
    fetch(urls, path, SHA256[:8], otherwise="do without")


@pytest.mark.parametrize("ranges", [True, False])
def test_the_server_tells_the_size(path: Path, ranges: bool) -> None:
    with serving(CONTENT, ranges=ranges) as server:
        bring(path, server)
    assert path.read_bytes() == CONTENT


def test_a_busy_server_is_asked_for_the_size_again(path: Path) -> None:
    with serving(CONTENT, statuses=[503]) as server:
        bring(path, server)
    assert path.read_bytes() == CONTENT


def test_a_part_is_resumed(path: Path) -> None:
    part_of(path).write_bytes(CONTENT[:1_000_000])
    with serving(CONTENT) as server:
        bring(path, server)
        assert server.sent < 0.4 * SIZE
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("size", [SIZE, 2 * SIZE])
def test_a_part_of_something_else_is_fetched_anew(path: Path, size: int) -> None:
    part_of(path).write_bytes(bytes(size))
    with serving(CONTENT) as server:
        bring(path, server)
    assert path.read_bytes() == CONTENT


def test_other_digits_are_refused(path: Path) -> None:
    with serving(wrong_from(SIZE - 1)) as server, pytest.raises(UserError, match="wrong bytes"):
        bring(path, server)
    assert not path.exists()
    assert not part_of(path).exists()


def test_a_valid_file_needs_no_network(path: Path) -> None:
    path.write_bytes(CONTENT)
    bring(path, DEAD)


def test_a_body_of_untold_length_is_refused(path: Path) -> None:
    reason = "unknown bytes of unknown type, which tells no size"
    with (
        serving(CONTENT, ranges=False, open_end=True) as server,
        pytest.raises(UserError, match=reason),
    ):
        bring(path, server)


def test_without_a_server_every_reason_is_named(path: Path) -> None:
    with serving(CONTENT, statuses=[404]) as missing, pytest.raises(UserError) as raised:
        bring(path, DEAD, missing)
    title, dead, not_there, way_out = str(raised.value).split("\n")
    assert title == "cannot fetch archive.tar.gz"
    assert dead.startswith(f"  {DEAD}: ")
    assert not_there == f"  {missing.url}: answers 404 Not Found"
    assert way_out == "  try again, or do without"
