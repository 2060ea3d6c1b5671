"""Outputs appear whole or not at all, and never through a link into a cache."""

import hashlib
import math
import os
import signal
from pathlib import Path

import pytest

from common import files
from common.files import check_is_file, replacing, sha256, write_bytes, write_json, write_text
from helpers import lay_out, refused, snapshot, start

KINDS = ["file", "directory"]


def fill(path: Path, kind: str, content: str) -> None:
    if kind == "file":
        path.write_text(content)
    else:
        lay_out(path, {"a": content.encode(), "below/b": content.encode()})


def expected(kind: str, content: str) -> dict[str, bytes]:
    return (
        {"": content.encode()}
        if kind == "file"
        else {"a": content.encode(), "below": b"", "below/b": content.encode()}
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", [None, "file", "directory"])
def test_an_output_replaces_what_was_there(tmp_path: Path, kind: str, before: str | None) -> None:
    path = tmp_path / "folder" / "out"
    if before:
        path.parent.mkdir()
        fill(path, before, "old")
    with replacing(path) as part:
        fill(part, kind, "new")
    assert snapshot(path) == expected(kind, "new")
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("there", [True, False])
def test_an_exception_leaves_what_was_there_and_no_part(
    tmp_path: Path, kind: str, there: bool
) -> None:
    path = tmp_path / "out"
    if there:
        fill(path, kind, "old")
    before = snapshot(tmp_path)
    with pytest.raises(RuntimeError, match="half"), replacing(path) as part:
        fill(part, kind, "new")
        raise RuntimeError("half")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_leaves_what_was_there_and_the_next_run_works(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out"
    fill(path, kind, "old")
    code = "import sys, time\nfrom pathlib import Path\nfrom common.files import replacing\n"
    code += "with replacing(Path(sys.argv[1])) as part:\n"
    code += (
        "    part.write_text('half')\n"
        if kind == "file"
        else "    part.mkdir(); (part / 'a').write_text('half')\n"
    )
    code += "    print('written', flush=True)\n    time.sleep(600)\n"
    with start(code, tmp_path, str(path)) as process:
        assert process.stdout
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    assert snapshot(path) == expected(kind, "old")
    assert (tmp_path / "out.part").exists()  # the kill came in the middle
    with replacing(path) as part:
        fill(part, kind, "new")
    assert snapshot(path) == expected(kind, "new")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("link", ["hardlink", "symlink"])
def test_a_file_linked_from_a_cache_is_not_written_through(tmp_path: Path, link: str) -> None:
    cached, path = tmp_path / "cached", tmp_path / "out"
    cached.write_text("cached")
    path.symlink_to(cached) if link == "symlink" else path.hardlink_to(cached)
    write_text(path, "new")
    assert cached.read_text() == "cached"
    assert path.read_text() == "new"
    assert not path.is_symlink()


@pytest.mark.parametrize("link", ["hardlink", "symlink"])
def test_a_directory_of_linked_files_is_not_written_through(tmp_path: Path, link: str) -> None:
    cached, path = tmp_path / "cached", tmp_path / "out"
    cached.write_text("cached")
    path.mkdir()
    (path / "a").symlink_to(cached) if link == "symlink" else (path / "a").hardlink_to(cached)
    with replacing(path) as part:
        fill(part, "directory", "new")
    assert cached.read_text() == "cached"
    assert snapshot(path) == expected("directory", "new")


def test_a_link_to_a_directory_is_replaced_and_not_followed(tmp_path: Path) -> None:
    fill(tmp_path / "cached", "directory", "cached")
    (tmp_path / "out").symlink_to(tmp_path / "cached")
    with replacing(tmp_path / "out") as part:
        fill(part, "directory", "new")
    assert snapshot(tmp_path / "cached") == expected("directory", "cached")
    assert snapshot(tmp_path / "out") == expected("directory", "new")


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_left_by_an_earlier_run_is_removed_and_not_followed(
    tmp_path: Path, kind: str
) -> None:
    fill(tmp_path / "other", kind, "other")
    (tmp_path / "out.part").symlink_to(tmp_path / "other")
    with replacing(tmp_path / "out") as part:
        fill(part, kind, "new")
    assert snapshot(tmp_path / "other") == expected(kind, "other")
    assert snapshot(tmp_path / "out") == expected(kind, "new")


def test_it_is_flushed_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    flushed: list[tuple[Path, bool]] = []

    def record(file: Path) -> None:
        flushed.append((file, path.exists()))

    monkeypatch.setattr(files, "flush_to_disk", record)
    with replacing(path) as part:
        fill(part, "directory", "new")
    assert {(part, False), (part / "a", False), (part / "below" / "b", False)} <= set(flushed)
    assert flushed[-1] == (tmp_path, True)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_json_holds_no_nan(tmp_path: Path, number: float) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"accuracy": 1.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"accuracy": number})
    assert path.read_bytes() == b'{\n  "accuracy": 1.5\n}\n'


def test_text_is_utf_8_with_the_same_line_ends_everywhere(tmp_path: Path) -> None:
    write_text(tmp_path / "out", "Bär\nKuh\n")
    assert (tmp_path / "out").read_bytes() == b"B\xc3\xa4r\nKuh\n"


def test_sha256_is_the_standards(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"abc")  # the first example of FIPS 180-2
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    large = os.urandom(3_000_001)
    write_bytes(path, large)
    assert sha256(path) == hashlib.sha256(large).hexdigest()


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "link to a pipe"])
def test_what_is_not_a_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "input"
    if kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to("pipe") if kind == "link to a pipe" else (tmp_path / "pipe").replace(path)
    assert f"{path}: is a directory, pipe or device" in refused(lambda: check_is_file(path))


def test_a_file_a_link_to_one_and_nothing_are_not_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link", "nothing"):
        check_is_file(tmp_path / name)
