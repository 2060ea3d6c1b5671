"""A disk that is full, what is no file, and two processes at once."""

import os
from pathlib import Path

import pytest

from helpers import refused
from misbehaving_server import serving
from published import CONTENT, SIZE, arrives, bring, part_of, start_fetch


@pytest.fixture
def small_disk(path: Path) -> str:
    """Return Python code that gives its process a disk of 640 kB in the place of the folder."""
    return (
        "import ctypes, os\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "user, group = os.getuid(), os.getgid()\n"
        "def check(status):\n"
        "    if status: raise SystemExit(77)\n"
        "check(libc.unshare(0x10000000 | 0x00020000))\n"  # CLONE_NEWUSER, CLONE_NEWNS
        "open('/proc/self/setgroups', 'w').write('deny')\n"
        "open('/proc/self/uid_map', 'w').write(f'0 {user} 1')\n"
        "open('/proc/self/gid_map', 'w').write(f'0 {group} 1')\n"
        f"check(libc.mount(b'none', {str(path.parent).encode()!r}, b'tmpfs', 0, b'size=640k'))\n"
    )


def test_a_full_disk_is_an_error_that_names_the_file(path: Path, small_disk: str) -> None:
    with serving(CONTENT) as server:
        process = start_fetch(path, server, before=small_disk)
        error = process.communicate()[1]
    if process.returncode == 77:
        pytest.skip("this system lets no user mount a disk")
    assert f"error: {part_of(path)}: No space left on device; make room, then run" in error
    assert "Traceback" not in error
    assert process.returncode == 1


def test_what_was_written_before_a_limit_is_kept_and_resumed(path: Path) -> None:
    limit = "from resource import RLIMIT_FSIZE, RLIM_INFINITY, setrlimit\n"
    limit += "setrlimit(RLIMIT_FSIZE, (400_000, RLIM_INFINITY))"
    with serving(CONTENT) as server:
        process = start_fetch(path, server, before=limit)
        error = process.communicate()[1]
        assert process.returncode == 1
        assert f"error: {part_of(path)}: File too large; make room, then run again" in error
        assert "Traceback" not in error
        assert not path.exists()
        assert part_of(path).read_bytes() == CONTENT[:400_000]
        arrives(path, server)


@pytest.mark.parametrize("what", ["pipe", "device", "folder"])
@pytest.mark.parametrize("where", ["file", "part"])
def test_what_is_no_file_is_refused_and_not_waited_for(path: Path, what: str, where: str) -> None:
    place = path if where == "file" else part_of(path)
    if what == "pipe":
        os.mkfifo(place)
    elif what == "device":
        place.symlink_to("/dev/zero")
    else:
        place.mkdir()
    with serving(CONTENT) as server:
        line = refused(lambda: bring(path, server))
        assert not server.requests
    assert line == f"{place}: is a folder, a pipe or a device; remove it, then run again"


def test_two_processes_at_once_fetch_once(path: Path) -> None:
    with serving(CONTENT, rate=2e6) as server:
        both = [start_fetch(path, server), start_fetch(path, server)]
        errors = [process.communicate()[1] for process in both]
        assert [process.returncode for process in both] == [0, 0]
        assert server.sent <= 1.05 * SIZE
    assert "".join(errors).count("another process is fetching it") == 1
    assert path.read_bytes() == CONTENT
