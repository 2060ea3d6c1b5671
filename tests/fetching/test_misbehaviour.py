"""What a mirror can do wrong, each caused for real by a server, and what comes of it."""

import math
import re
import time
from pathlib import Path
from typing import Any

import pytest

from fetching import mirrors
from misbehaving_server import serving
from published import CONTENT, DEAD, SHA256, SIZE, arrives, fails, part_of, wrong_from

BUFFERS = 20_000_000  # bytes that the system may take from a server and give to nobody
ESCAPES = "\x1b[2J\x07\x85"  # clears a terminal, rings its bell, and is a line break to Unicode
PRINTED = re.escape(r"\x1b[2J\x07\x85")
NINES = "9" * 5000

# Behaviour: how the server is told to, and what the error says of it where there is no other
# mirror; None where the file arrives all the same. A new behaviour is one line.
BEHAVIOURS: dict[str, tuple[dict[str, Any], str | None]] = {
    "it behaves": ({}, None),
    "silence": ({"mute": True}, "silent for 0.6 s|no answer within"),
    "status 404": ({"statuses": [404] * 9}, "answers 404 Not Found"),
    "status 503": ({"statuses": [503] * 9}, "answers 503 Service Unavailable"),
    "status 503 once": ({"statuses": [503]}, None),
    "headers at 2 bytes per second": ({"header_rate": 2}, "no answer within"),
    "such headers after the sample": ({"well": 1, "header_rate": 2}, "no answer within 1 s"),
    "100 Continue without end": ({"continues": math.inf}, "no answer within"),
    "the same after the sample": ({"well": 1, "continues": math.inf}, "no answer within 1 s"),
    "100 Continue five times": ({"continues": 5}, None),
    "a header without end": ({"headers": {"X": "9" * 1_000_000}}, "too long"),
    "a redirect to itself": ({"redirect": "/file"}, "redirects more than 20 times"),
    "a redirect with an endless body": ({"redirect": DEAD, "extra": math.inf}, "refused"),
    "a redirect to no host": ({"redirect": "http://a..b/"}, "label empty"),
    "a page instead": ({"html": True}, f"another file: 34 bytes of text/html, expected {SIZE}"),
    "another range": ({"shift": 7}, "sends bytes 7-.* when asked for bytes 0- of 1500000"),
    "another size": ({"headers": {"Content-Range": "bytes 0-9/10"}}, "sends bytes 0-9/10 when"),
    "a range of 5000 digits": ({"headers": {"Content-Range": f"bytes 0-9/{NINES}"}}, "sends"),
    "a length of 5000 digits": ({"headers": {"Content-Length": NINES}}, "bad Content-Length"),
    "escapes as reason": ({"statuses": [404], "reason": ESCAPES}, r"404 \\x1b\[2J\\x07"),
    "escapes as type": ({"html": True, "headers": {"Content-Type": ESCAPES}}, f"of {PRINTED}"),
    "escapes as range": ({"headers": {"Content-Range": ESCAPES}}, f"sends {PRINTED} when"),
    "escapes as place": ({"redirect": f"http://{ESCAPES}/"}, "."),
    "a body cut short": ({"cut": 500_000}, "closed connection|ends after 500000 of 1500000"),
    "a body cut short once": ({"cut": 500_000, "times": 1}, None),
    "a body that falls silent": ({"stall": 600_000}, "silent for 0.6 s|no answer within 0.6 s"),
    "a body to the end of the file": ({"to_end": True}, None),
    "a body and a million bytes": ({"extra": 1_000_000}, None),
    "a body without end": ({"extra": math.inf}, None),
    "a body whose end is not told": ({"open_end": True}, None),
    "a chunk announced without end": ({"well": 1, "chunk_header_rate": 20}, "no answer within 0.6"),
    "no ranges": ({"ranges": False}, None),
    "a wrong byte": ({"content": wrong_from(SIZE - 1)}, f"SHA-256 is .*, expected {SHA256}"),
    "wrong bytes from 95 % on": ({"content": wrong_from(SIZE * 95 // 100)}, "wrong bytes"),
}


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_mirror_alone_delivers_or_is_given_up_with_its_reason(
    path: Path, behaviour: str, capfd: pytest.CaptureFixture[str]
) -> None:
    how, reason = BEHAVIOURS[behaviour]
    began = time.monotonic()
    with serving(**{"content": CONTENT, **how}) as server:
        if reason is None:
            arrives(path, server)
        else:
            line = fails(path, server).split("\n")[1]
            assert re.search(reason, line)
            assert len(line) < 400
        assert server.sent <= SIZE + BUFFERS
    assert time.monotonic() - began < 30
    assert capfd.readouterr().err.replace("\n", "").isprintable()
    if part_of(path).exists():
        assert CONTENT.startswith(part_of(path).read_bytes())


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_beside_a_mirror_that_behaves_the_file_arrives(path: Path, behaviour: str) -> None:
    how, _ = BEHAVIOURS[behaviour]
    began = time.monotonic()
    with serving(**{"content": CONTENT, **how}) as server, serving(CONTENT, delay=0.1) as good:
        arrives(path, server, good)
        assert good.sent <= 1.05 * SIZE
    assert time.monotonic() - began < 30


def test_what_is_missing_is_asked_for_once_and_what_fails_a_few_times(path: Path) -> None:
    with (
        serving(CONTENT, statuses=[404] * 9) as missing,
        serving(CONTENT, statuses=[503] * 9) as busy,
        serving(CONTENT, cut=500_000) as short,
    ):
        fails(path, missing, busy, short)
        assert len(missing.requests) == 1
        assert len(busy.requests) == mirrors.ATTEMPTS
        assert len(short.requests) == 1 + mirrors.ATTEMPTS


def test_a_mirror_that_becomes_endless_is_left_in_the_middle_of_the_file(path: Path) -> None:
    """The second request of the first mirror is good, so that its bytes are kept."""
    with (
        serving(CONTENT, well=1, stall=700_000, rate=5e6) as first,
        serving(CONTENT, well=1, continues=math.inf, delay=0.2) as second,
        serving(CONTENT, delay=0.4) as third,
    ):
        arrives(path, first, second, third)
        assert third.sent <= 0.6 * SIZE
