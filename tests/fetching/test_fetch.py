"""A published file from its mirrors: resumed, checked, and from the mirror that is fast."""

import hashlib
import re
import signal
import time
from pathlib import Path

import pytest

from fetching.mirrors import Mirror, next_mirror
from fetching.request import MirrorError
from helpers import wait_until
from misbehaving_server import serving
from published import (
    CONTENT,
    DEAD,
    SHA256,
    SIZE,
    arrives,
    bring,
    fails,
    part_of,
    start_fetch,
    wrong_from,
)

WRONG = wrong_from(SIZE * 95 // 100)


def test_a_whole_file_arrives_and_one_line_says_from_where(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(CONTENT) as server:
        arrives(path, server)
    assert capfd.readouterr().err.count(f"from {server.url}, the first of 1 to answer") == 1


def test_a_body_cut_short_is_resumed(path: Path) -> None:
    with serving(CONTENT, cut=500_000, times=1) as server:
        arrives(path, server)
    assert server.sent <= 1.05 * SIZE


def test_a_body_always_cut_short_is_given_up_and_kept(path: Path) -> None:
    with serving(CONTENT, cut=500_000) as server:
        assert "500000 bytes are kept for the next run" in fails(path, server)
    assert part_of(path).read_bytes() == CONTENT[:500_000]


@pytest.mark.parametrize("percent", [10, 50, 90])
def test_a_killed_fetch_is_resumed_from_another_mirror(path: Path, percent: int) -> None:
    with serving(CONTENT, rate=1.5e6) as first:
        process = start_fetch(path, first)
        wait_until(lambda: first.sent >= SIZE * percent / 100)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not path.exists()
    kept = part_of(path).read_bytes()
    assert len(kept) > SIZE * (percent - 5) / 100
    assert CONTENT.startswith(kept)
    with serving(CONTENT) as second:
        arrives(path, second)
        assert first.sent + second.sent <= 1.05 * SIZE


def test_a_complete_part_needs_no_network(path: Path) -> None:
    part_of(path).write_bytes(CONTENT)
    arrives(path, DEAD)


def test_a_valid_file_needs_no_network(path: Path) -> None:
    path.write_bytes(CONTENT)
    bring(path, DEAD)
    assert list(path.parent.iterdir()) == [path]


def test_a_corrupt_file_is_fetched_again_with_a_word_about_it(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path.write_bytes(WRONG)
    with serving(CONTENT) as server:
        arrives(path, server)
    found = hashlib.sha256(WRONG).hexdigest()
    reason = f"its SHA-256 is {found}, expected {SHA256}; fetching it again"
    assert f"{path} is corrupt: {reason}" in capfd.readouterr().err


# Wrong bytes


def test_wrong_bytes_are_refused_and_not_kept(path: Path) -> None:
    with serving(WRONG) as server:
        error = fails(path, server)
    assert hashlib.sha256(WRONG).hexdigest() in error
    assert "kept" not in error
    assert not part_of(path).exists()


def test_a_mirror_with_wrong_bytes_is_left_for_one_with_the_right_ones(path: Path) -> None:
    with serving(WRONG) as wrong, serving(CONTENT, delay=0.3) as right:
        arrives(path, wrong, right)
        assert wrong.sent + right.sent <= 2.05 * SIZE


@pytest.mark.parametrize("wrong_first", [True, False])
def test_wrong_bytes_among_right_ones_cost_at_most_the_file_twice(
    path: Path, wrong_first: bool
) -> None:
    with (
        serving(CONTENT, well=1, cut=500_000, times=1, rate=1e6) as right,
        serving(WRONG, delay=0.1) as wrong,
    ):
        arrives(path, *([wrong, right] if wrong_first else [right, wrong]))
        assert wrong.sent > 0.6 * SIZE  # it sent the end
        assert right.sent + wrong.sent <= 2.05 * SIZE


def test_of_three_senders_with_one_wrong_little_is_fetched_again(path: Path) -> None:
    with (
        serving(CONTENT, well=1, cut=700_000, times=1, rate=2e6) as first,
        serving(CONTENT, delay=0.1, cut=1_400_000, times=1, rate=2e6) as second,
        serving(WRONG, delay=0.2) as last,
    ):
        arrives(path, first, second, last)
        assert last.sent >= 100_000
        assert first.sent + second.sent + last.sent <= 1.2 * SIZE


def test_with_two_wrong_senders_the_right_one_is_still_found(path: Path) -> None:
    with (
        serving(wrong_from(400_000), well=1, cut=700_000, times=1, rate=2e6) as first,
        serving(WRONG, delay=0.1) as second,
        serving(CONTENT, delay=0.2) as right,
    ):
        arrives(path, first, second, right)
        assert right.sent <= 1.6 * SIZE


def test_wrong_bytes_of_an_earlier_run_are_replaced_and_no_others(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    part_of(path).write_bytes(bytes(1000))
    with serving(CONTENT) as server:
        arrives(path, server)
        assert server.sent <= 1.05 * SIZE
    assert "fetching again what came from an earlier run" in capfd.readouterr().err


@pytest.mark.parametrize("size", [SIZE, SIZE + 1])
def test_a_complete_part_that_is_wrong_is_fetched_anew(path: Path, size: int) -> None:
    part_of(path).write_bytes(bytes(size))
    with serving(CONTENT) as server:
        arrives(path, server)


# Several mirrors


@pytest.mark.parametrize("slow_first", [True, False])
@pytest.mark.parametrize("fast_delay", [0, 0.4], ids=["", "the fast one answers later"])
def test_a_slow_mirror_is_left_for_a_fast_one(
    path: Path, slow_first: bool, fast_delay: float
) -> None:
    with serving(CONTENT, rate=60e3) as slow, serving(CONTENT, rate=5e6, delay=fast_delay) as fast:
        arrives(path, *([slow, fast] if slow_first else [fast, slow]))
        assert slow.sent < 0.1 * SIZE
        assert slow.sent + fast.sent <= 1.05 * SIZE


def test_after_a_slow_mirror_the_next_soonest_gets_its_turn_and_then_the_fastest() -> None:
    slow, late, soon = mirrors = [
        Mirror(url, asked=True, delay=delay) for url, delay in zip("abc", (0, 2, 1), strict=True)
    ]
    slow.rate = 60e3
    assert next_mirror(mirrors, 0, SIZE) is soon
    soon.rate = 5e6
    assert next_mirror(mirrors, 0, SIZE) is late
    late.rate = 1e6
    assert next_mirror(mirrors, 0, SIZE) is soon
    soon.fail(MirrorError("silent"))
    assert next_mirror(mirrors, 0, SIZE) is late


def test_a_mirror_that_becomes_slow_is_left(path: Path) -> None:
    with serving(CONTENT, rate=2e6) as first, serving(CONTENT, rate=5e6, delay=0.2) as second:
        process = start_fetch(path, first, second)
        wait_until(lambda: first.sent > 0.3 * SIZE)
        first.rate = 20e3
        error = process.communicate()[1]
        assert second.sent > 0.3 * SIZE
    assert re.search(rf"from {second.url}, because {first.url} sends only \d+ kB/s", error)
    assert path.read_bytes() == CONTENT


def test_a_server_that_ignores_range_doubles_no_bytes(path: Path) -> None:
    part_of(path).write_bytes(CONTENT[:400_000])
    with serving(CONTENT, ranges=False) as server:
        arrives(path, server)
        assert len(server.requests) == 2  # its sample and the file: the sum was right at once


def test_a_server_that_ignores_range_is_the_last_resort(path: Path) -> None:
    part_of(path).write_bytes(CONTENT[:400_000])
    with serving(CONTENT, ranges=False) as whole, serving(CONTENT, delay=0.3) as server:
        arrives(path, whole, server)
        assert len(whole.requests) == 1  # its sample
        assert server.sent >= SIZE - 400_000


def test_no_network_ends_within_ten_seconds_and_names_every_mirror(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real waits
    began = time.monotonic()
    with serving(CONTENT, mute=True) as silent:
        fails(path, DEAD, "https://nowhere.invalid/file", silent)
    assert time.monotonic() - began < 10
