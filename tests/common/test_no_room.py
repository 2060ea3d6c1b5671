"""Outputs that cannot be written: one line names the file, and what was there before stays."""

from pathlib import Path

import pytest

from helpers import lay_out, snapshot, start
from project import Project


def fails_to_write(directory: Path, before: str, path: str) -> str:
    """Standard error of a process that writes a million bytes to ``path`` as a stage does."""
    code = "import os, resource, sys\nfrom pathlib import Path\nfrom common import files, stage\n"
    code += (
        f"{before}\nstage.run_tool(lambda: files.write_bytes(Path(sys.argv[1]), bytes(1_000_000)))"
    )
    with start(code, directory, path) as process:
        error = process.communicate()[1]
    assert process.returncode == 1
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_a_read_only_folder_is_one_line(tmp_path: Path) -> None:
    lay_out(tmp_path, {"reports/b": b"old"})
    (tmp_path / "reports").chmod(0o555)
    tmp_path.chmod(0o755)
    nobody = "if os.geteuid() == 0: os.seteuid(65534)"  # root may write anywhere
    error = fails_to_write(tmp_path, nobody, "reports/a")
    (tmp_path / "reports").chmod(0o755)
    assert "reports/a.part: Permission denied" in error
    assert snapshot(tmp_path / "reports") == {"b": b"old"}


def test_no_room_for_an_output_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))"
    error = fails_to_write(tmp_path, limit, "out")
    assert error == "error: out: File too large; make room, then run again\n"
    assert snapshot(tmp_path) == {"out": b"old"}


def test_a_file_where_a_folder_should_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("mine")
    assert "reports" in fails_to_write(tmp_path, "", "reports/a")
    assert snapshot(tmp_path) == {"reports": b"mine"}


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="no /dev/full here, the device that is always full"
)
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    full = (
        "Path.write_bytes = lambda path, content: "
        "path.symlink_to('/dev/full') or path.open('wb', 0).write(content)"
    )
    error = fails_to_write(tmp_path, full, "out")
    assert error == "error: out: No space left on device; make room, then run again\n"
    assert snapshot(tmp_path) == {"out": b"old"}


def test_room_that_runs_out_in_a_folder_of_outputs_names_the_folder(tmp_path: Path) -> None:
    lay_out(tmp_path, {"out/b": b"old"})
    code = "import resource, sys\nfrom pathlib import Path\nfrom common import files, stage\n"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
    code += "def main():\n    with files.replacing(Path('out')) as part:\n        part.mkdir()\n"
    code += "        (part / 'a').open('wb', 0).write(bytes(999))\n"
    code += "        file = (part / 'b').open('wb', 0)\n"
    code += "        while True:\n            file.write(bytes(999))\n"
    with start(f"{code}stage.run(main)", tmp_path) as process:
        error = process.communicate()[1]
    assert error == "error: out: File too large; make room, then run again\n"
    assert snapshot(tmp_path / "out") == {"b": b"old"}


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop()), resource.RLIM_INFINITY))
import {stage}
from common.stage import run
run({stage}.main)
"""


@pytest.mark.parametrize(
    ("stage", "limit", "file"),
    [
        ("download", 100_000, "data/arrays"),
        ("download", 5_000, "data/arrays"),
        ("preview", 5_000, "reports/preview.png"),
        ("train", 20_000, "models/"),
        ("test_sample", 5_000, "reports/test_sample.png"),
        ("evaluate", 5_000, "reports/"),
    ],
)
def test_no_room_for_an_output_names_the_file_in_every_stage(
    stage: str, limit: int, file: str, trained: Project
) -> None:
    """A limit on the size of files, which the system reports as it does a full disk."""
    before = snapshot(trained.path)
    with start(LIMITED.format(stage=stage), trained.path, str(limit)) as process:
        error = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    line = error.splitlines()[-1]
    assert line.startswith(f"error: {file}")
    assert line.endswith("File too large; make room, then run again")
    assert "Traceback" not in error
    after = snapshot(trained.path)
    kept = [name for name in before if not name.startswith("reports/")]
    assert {name: after.get(name) for name in kept} == {name: before[name] for name in kept}
    assert not [name for name in after if name.endswith(".part")]
