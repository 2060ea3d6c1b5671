"""Faults 1-14 of a download, each caused for real by a server, a signal or a full disk."""

import hashlib
import os
import random
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from servers import Server, serving

from common.errors import UserError
from sources import fetch as policy
from sources.fetch import Mirror, MirrorError, choose, fetch

CONTENT = random.Random(0).randbytes(1_500_000)
OTHER = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
DEAD = "http://127.0.0.1:9/file"  # the discard port: nobody listens
STAGES = Path(__file__).parent.parent / "stages"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "PAUSE", 0.02)
    monkeypatch.setattr(policy, "SILENCE", 1.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive.tar.gz"


def part_of(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def bring(path: Path, *servers: Server | str) -> None:
    fetch(
        [server if isinstance(server, str) else server.url for server in servers],
        path,
        SHA256,
        SIZE,
    )


def fails(path: Path, *servers: Server | str) -> str:
    """The error's line, which must name every URL."""
    with pytest.raises(UserError) as raised:
        bring(path, *servers)
    line = str(raised.value)
    assert "\n" not in line
    assert all((server if isinstance(server, str) else server.url) in line for server in servers)
    assert not path.exists()
    return line


def start(path: Path, *servers: Server, before: str = "") -> "subprocess.Popen[str]":
    """Fetch in a process of its own, which can be killed."""
    code = f"{before}\nimport sys\nfrom sources.fetch import fetch\nfrom common.stage import run\n"
    code += (
        f"run(lambda: fetch({[s.url for s in servers]!r}, __import__('pathlib').Path(sys.argv[1]), "
    )
    code += f"{SHA256!r}, {SIZE}))"
    environment = {**os.environ, "PYTHONPATH": str(STAGES)}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)], env=environment, stderr=subprocess.PIPE, text=True
    )


def test_a_whole_file_arrives_and_one_line_says_from_where(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(CONTENT) as server:
        bring(path, server)
    assert path.read_bytes() == CONTENT
    assert not part_of(path).exists()
    assert capfd.readouterr().err.count(f"from {server.url}, the first of 1 to answer") == 1


def test_1_a_body_cut_short_is_carried_on(path: Path) -> None:
    with serving(CONTENT, cut=500_000, times=2) as server:
        bring(path, server)
    assert path.read_bytes() == CONTENT
    assert server.sent <= 1.05 * SIZE


def test_1_a_body_always_cut_short_is_given_up_and_kept(path: Path) -> None:
    with serving(CONTENT, cut=500_000) as server:
        line = fails(path, server)
        assert len(server.requests) == 1 + policy.ATTEMPTS
    assert f"500000 of {SIZE} bytes are kept" in line
    assert part_of(path).read_bytes() == CONTENT[:500_000]


def test_2_wrong_bytes_of_the_right_size_are_refused(path: Path) -> None:
    with serving(OTHER) as server:
        line = fails(path, server)
    assert SHA256 in line
    assert hashlib.sha256(OTHER).hexdigest() in line
    assert not part_of(path).exists()


def test_2_a_mirror_with_wrong_bytes_is_left_for_one_with_the_right_ones(path: Path) -> None:
    with serving(OTHER) as wrong, serving(CONTENT, delay=0.3) as right:
        bring(path, wrong, right)
    assert path.read_bytes() == CONTENT


def test_2_wrong_bytes_among_right_ones_are_told_apart(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        policy, "PATIENCE", 1.0
    )  # so that the slow mirror's part is finished by the fast one
    with serving(CONTENT, rate=SIZE / 3) as slow, serving(OTHER, delay=0.3) as wrong:
        bring(path, slow, wrong)
        assert slow.sent > SIZE
        assert wrong.sent > 0.5 * SIZE
    assert path.read_bytes() == CONTENT


def test_2_wrong_bytes_of_an_earlier_run_are_nobodys_fault(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    part_of(path).write_bytes(bytes(1000))
    with serving(CONTENT) as server:
        bring(path, server)
    assert path.read_bytes() == CONTENT
    assert "some are from an earlier run, so starting over" in capfd.readouterr().err


def test_a_complete_part_needs_no_network(path: Path) -> None:
    part_of(path).write_bytes(CONTENT)
    bring(path, DEAD)
    assert path.read_bytes() == CONTENT


def test_3_a_page_instead_of_the_file_is_not_even_stored(path: Path) -> None:
    with serving(CONTENT, html=True) as server:
        line = fails(path, server)
        assert len(server.requests) == 1
    assert f"another file: 34 bytes of text/html, expected {SIZE}" in line
    assert not part_of(path).exists()


def test_4_what_is_missing_is_asked_for_once_and_what_is_busy_a_few_times(path: Path) -> None:
    with (
        serving(CONTENT, statuses=[404] * 9) as missing,
        serving(CONTENT, statuses=[503] * 9) as busy,
    ):
        line = fails(path, missing, busy)
        assert (len(missing.requests), len(busy.requests)) == (1, policy.ATTEMPTS)
    assert f"{missing.url}: answers 404 Not Found" in line
    assert f"{busy.url}: answers 503 Service Unavailable" in line


def test_4_a_busy_mirror_that_recovers_is_used(path: Path) -> None:
    with serving(CONTENT, statuses=[503, 503]) as server:
        bring(path, server)
    assert path.read_bytes() == CONTENT


def test_5_a_silent_mirror_is_passed_over(path: Path) -> None:
    with serving(CONTENT, mute=True) as silent, serving(CONTENT) as server:
        bring(path, silent, server)
    assert path.read_bytes() == CONTENT


def test_5_a_mirror_that_falls_silent_is_left_and_its_bytes_are_kept(path: Path) -> None:
    with serving(CONTENT, stall=600_000) as silent, serving(CONTENT, delay=0.3) as server:
        bring(path, silent, server)
        assert silent.sent + server.sent <= 1.05 * SIZE
        assert server.sent <= 0.7 * SIZE
    assert path.read_bytes() == CONTENT


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate with its key, for 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate, and is not installed")
    file = tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=local -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        [*command.split(), "-keyout", file, "-out", file], check=True, capture_output=True
    )
    return file


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_6_a_certificate_that_is_not_trusted_is_an_error(path: Path, tls: ssl.SSLContext) -> None:
    with serving(CONTENT, tls) as server:
        assert "CERTIFICATE_VERIFY_FAILED" in fails(path, server)
        assert not server.requests


def test_6_certificates_come_from_the_environment(
    path: Path, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(CONTENT, tls) as server:
        bring(path, server)
    assert path.read_bytes() == CONTENT


def test_6_a_redirect_from_https_to_http_is_refused(
    path: Path, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(CONTENT) as plain, serving(CONTENT, tls, redirect=plain.url) as server:
        assert f"redirects from https to {plain.url}, which is refused" in fails(path, server)
        assert not plain.requests


def test_other_redirects_are_followed(path: Path) -> None:
    with serving(CONTENT) as server, serving(b"", redirect=server.url) as first:
        bring(path, first)
    assert path.read_bytes() == CONTENT


def test_certificates_that_cannot_be_read_are_a_reason(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    assert "the environment's proxy or certificates cannot be used" in fails(path, DEAD)


def test_proxies_come_from_the_environment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(CONTENT) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/file"))
        bring(path, "http://nowhere.invalid/archive.tar.gz")
    assert path.read_bytes() == CONTENT


def test_7_a_dead_first_mirror_is_passed_over(path: Path) -> None:
    with serving(CONTENT) as server:
        bring(path, DEAD, "https://nowhere.invalid/file", server)
    assert path.read_bytes() == CONTENT


def test_7_what_is_no_url_is_a_reason(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    line = fails(
        path, DEAD, "file.tar.gz", "ftp://local/file", "http://a..b/", "http://127.0.0.1:99999/"
    )
    assert "no answer" not in line
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("slow_first", [True, False])
@pytest.mark.parametrize("fast_delay", [0, 0.4], ids=["", "the fast one answers later"])
def test_8_a_slow_mirror_is_left_for_a_fast_one(
    path: Path, slow_first: bool, fast_delay: float
) -> None:
    with serving(CONTENT, rate=60e3) as slow, serving(CONTENT, rate=5e6, delay=fast_delay) as fast:
        bring(path, *([slow, fast] if slow_first else [fast, slow]))
        assert slow.sent < 0.1 * SIZE
        assert slow.sent + fast.sent <= 1.05 * SIZE
    assert path.read_bytes() == CONTENT


def test_8_after_a_slow_mirror_the_next_soonest_gets_its_turn_and_then_the_fastest() -> None:
    slow, late, soon = mirrors = [
        Mirror(url, asked=True, delay=delay) for url, delay in zip("abc", (0, 2, 1), strict=True)
    ]
    slow.rate = 60e3
    assert choose(mirrors, 0, SIZE) is soon
    soon.rate = 5e6
    assert choose(mirrors, 0, SIZE) is late
    late.rate = 1e6
    assert choose(mirrors, 0, SIZE) is soon
    soon.fail(MirrorError("silent"))
    assert choose(mirrors, 0, SIZE) is late


def test_8_a_mirror_that_becomes_slow_is_left(path: Path) -> None:
    with serving(CONTENT, rate=2e6) as first, serving(CONTENT, rate=5e6, delay=0.2) as second:
        process = start(path, first, second)
        wait_until(lambda: first.sent > 0.3 * SIZE)
        first.rate = 20e3
        error = process.communicate()[1]
        assert second.sent > 0.3 * SIZE
    assert re.search(rf"from {second.url}, because {first.url} sends only \d+ kB/s", error)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("percent", [10, 50, 90])
def test_9_a_killed_download_is_carried_on_from_another_mirror(path: Path, percent: int) -> None:
    with serving(CONTENT, rate=1.5e6) as first:
        process = start(path, first)
        wait_until(lambda: first.sent >= SIZE * percent / 100)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not path.exists()
    kept = part_of(path).read_bytes()
    assert len(kept) > SIZE * (percent - 5) / 100
    assert CONTENT.startswith(kept)
    with serving(CONTENT) as second:
        bring(path, second)
        assert first.sent + second.sent <= 1.05 * SIZE
    assert path.read_bytes() == CONTENT


def test_10_a_server_that_ignores_range_doubles_no_bytes(path: Path) -> None:
    part_of(path).write_bytes(CONTENT[:400_000])
    with serving(CONTENT, ranges=False) as server:
        bring(path, server)
        assert len(server.requests) == 2  # its sample and the file: the sum was right at once
    assert path.read_bytes() == CONTENT


def test_10_a_server_that_ignores_range_is_the_last_resort(path: Path) -> None:
    part_of(path).write_bytes(CONTENT[:400_000])
    with serving(CONTENT, ranges=False) as whole, serving(CONTENT, delay=0.3) as server:
        bring(path, whole, server)
        assert len(whole.requests) == 1  # its sample
        assert server.sent >= SIZE - 400_000
    assert path.read_bytes() == CONTENT


def test_10_another_range_than_the_one_asked_for_is_refused(path: Path) -> None:
    part_of(path).write_bytes(CONTENT[:400_000])
    with serving(CONTENT, shift=-7) as server:
        line = fails(path, server)
    assert re.search(rf"sends bytes 399993-\d+/{SIZE} when asked for bytes 400000- of {SIZE}", line)
    assert part_of(path).read_bytes() == CONTENT[:400_000]


def test_11_a_valid_file_needs_no_network(path: Path) -> None:
    path.write_bytes(CONTENT)
    bring(path, DEAD)
    assert list(path.parent.iterdir()) == [path]


def test_12_a_corrupt_file_is_fetched_again_with_a_word_about_it(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path.write_bytes(OTHER)
    with serving(CONTENT) as server:
        bring(path, server)
    assert path.read_bytes() == CONTENT
    found = hashlib.sha256(OTHER).hexdigest()
    assert (
        f"{path} is corrupt: its SHA-256 is {found}, expected {SHA256}; fetching it again"
        in capfd.readouterr().err
    )


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="no /dev/full here, the device that is always full"
)
def test_13_a_full_disk_is_an_error(path: Path) -> None:
    part_of(path).symlink_to("/dev/full")
    with (
        serving(CONTENT) as server,
        pytest.raises(UserError, match="No space left on device; make room"),
    ):
        bring(path, server)
    assert not path.exists()


def test_13_what_was_written_before_a_limit_is_carried_on(path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))"
    with serving(CONTENT) as server:
        process = start(path, server, before=limit)
        error = process.communicate()[1]
        assert process.returncode == 1
        assert f"error: {part_of(path)}: File too large; make room, then run again" in error
        assert "Traceback" not in error
        assert not path.exists()
        assert part_of(path).read_bytes() == CONTENT[:400_000]
        bring(path, server)
    assert path.read_bytes() == CONTENT


def test_14_two_downloads_at_once_fetch_once(path: Path) -> None:
    with serving(CONTENT, rate=2e6) as server:
        both = [start(path, server), start(path, server)]
        errors = [process.communicate()[1] for process in both]
        assert [process.returncode for process in both] == [0, 0]
        assert server.sent <= 1.05 * SIZE
    assert "".join(errors).count("another process is fetching it") == 1
    assert path.read_bytes() == CONTENT


def test_no_network_ends_within_ten_seconds_and_names_both_ways_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real pauses
    began = time.monotonic()
    with serving(CONTENT, mute=True) as silent:
        line = fails(path, DEAD, "https://nowhere.invalid/file", silent)
    assert time.monotonic() - began < 10
    assert "download.source" in line
    assert "download.dataset to digits" in line


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)
