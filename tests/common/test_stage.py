"""How a stage starts and ends: arguments, one-line errors, Ctrl-C."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import ROOT, lay_out, snapshot, start
from project import Project

SCRIPTS = [
    path.relative_to(ROOT).as_posix()
    for path in sorted([*ROOT.glob("stages/*.py"), *ROOT.glob("tools/*.py")])
    if "from common.stage import" in path.read_text(encoding="utf-8")
]
# What the system refuses, each caused for real in a folder with a file, a folder that holds a file,
# and a link to itself.
REFUSED = {
    "open('folder').read()": "folder: Is a directory; move away what is there",
    "os.mkdir('folder')": "folder: File exists; move away what is there",
    "os.rmdir('folder')": "folder: Directory not empty; move away what is there",
    "open('file/below').read()": "file/below: Not a directory; move away what is there",
    "open('loop').read()": "loop: Too many levels of symbolic links; choose another path",
    "open('x' * 300).read()": "xxx: File name too long; choose another path",
    "os.open('pipe', os.O_WRONLY | os.O_NONBLOCK)": "pipe: No such device or address; choose",
    "mmap.mmap(os.open('/dev/null', os.O_RDWR), 9)": "the output: No such device; choose",
    "files.write_text(Path('file/below'), 'x')": "file/below.part: Not a directory; move away",
    "files.write_text(Path('x' * 254), 'x')": "File name too long; choose another path",
    "resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9)) or [open('file') for _ in range(9)]": (
        "file: Too many open files; close other programs"
    ),
}


def ends_with(code: str, directory: Path) -> str:
    """Standard error of a process that runs ``code`` as a stage and that must fail."""
    prelude = "import mmap, os, resource, sys\nfrom pathlib import Path\n"
    prelude += "from common import arrays, errors, files, params, stage\n"
    with start(f"{prelude}stage.run(lambda: {code})", directory) as process:
        error = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    return error


@pytest.mark.parametrize("code", REFUSED)
def test_what_the_system_refuses_is_one_line_with_the_path(code: str, tmp_path: Path) -> None:
    lay_out(tmp_path, {"file": b"mine", "folder/a": b"mine"})
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    error = ends_with(code, tmp_path)
    assert error.startswith("error: ")
    assert REFUSED[code] in error
    assert error.endswith(", then run again\n")
    assert error.count("\n") == 1
    assert (tmp_path / "file").read_bytes() == (tmp_path / "folder" / "a").read_bytes() == b"mine"


def error_with_output_to(output: int, count: int) -> str:
    """Standard error of a process that prints as many characters as a stage and that must fail."""
    code = f"from common import stage\nstage.run(lambda: print('x' * {count}))"
    process = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "stages")},
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert process.returncode == 1
    return process.stderr


@pytest.mark.parametrize("count", [1, 10**6])
def test_output_that_nobody_reads_is_one_line(count: int) -> None:
    read, write = os.pipe()
    os.close(read)
    error = error_with_output_to(write, count)
    os.close(write)
    assert error == "error: the output: Broken pipe; read all of it, then run again\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("count", [1, 10**6])
def test_output_to_a_full_disk_is_one_line(count: int) -> None:
    with Path("/dev/full").open("w") as full:
        error = error_with_output_to(full.fileno(), count)
    assert error == "error: the output: No space left on device; make room, then run again\n"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("bytearray(10**17)", "for this process"),
        ("__import__('numpy').zeros(10**17, 'uint8')", "Unable to allocate 88.8 PiB"),
        ("__import__('torch').zeros(10**17)", "DefaultCPUAllocator"),
    ],
)
def test_memory_that_is_not_there_is_one_line(code: str, reason: str, tmp_path: Path) -> None:
    error = ends_with(code, tmp_path)
    assert error.startswith("error: not enough memory (")
    assert reason in error
    assert error.count("\n") == 1


def test_an_error_of_several_lines_has_one_prefix_per_line(tmp_path: Path) -> None:
    code = "(_ for _ in ()).throw(errors.UserError('first', 'sec\\nond'))"
    assert ends_with(code, tmp_path) == "error: first\nerror: sec\\nond\n"


@pytest.mark.parametrize(
    "code", ["1 / 0", "open('missing')", "[][1]", "next(iter([]))", "exec('raise RuntimeError')"]
)
def test_a_fault_of_this_project_keeps_its_traceback(code: str, tmp_path: Path) -> None:
    error = ends_with(code, tmp_path)
    assert error.startswith("Traceback")
    assert len(error.splitlines()) > 3


def test_a_user_s_error_ends_the_process_with_one_line_and_status_1(project: Project) -> None:
    project.change(recipes__quick__epochs="10")
    line = project.fails("preview")
    assert "params.yaml: recipes.quick.epochs is '10'; it must be a valid integer" in line


def test_two_faults_are_two_lines_and_status_1(project: Project) -> None:
    project.change(recipes__quick__epochs=True, preview__seeds=1)
    done = project.run("preview")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: params.yaml: ") for line in lines)


def call(script: str, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / script, *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("script", ["stages/preview.py", "stages/train.py", "tools/compare.py"])
def test_help_says_what_a_script_does_and_does_nothing(script: str, tmp_path: Path) -> None:
    done = call(script, tmp_path, "--help")
    assert done.returncode == 0
    assert done.stderr == ""
    docstring = (ROOT / script).read_text().split('"""')[1].strip()
    assert docstring.splitlines()[0] in " ".join(done.stdout.split())
    assert script.startswith("tools") or done.stdout.strip() == docstring
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--dataset", "digits"], ["digits"], ["--help", "x"], [""]])
def test_a_stage_refuses_arguments_before_it_touches_anything(
    arguments: list[str], trained: Project
) -> None:
    before = snapshot(trained.path)
    done = call("stages/train.py", trained.path, *arguments)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {' '.join(arguments)}: a stage takes no arguments; edit params.yaml or use "
        "dvc exp run -S KEY=VALUE\n"
    )
    assert snapshot(trained.path) == before


# one long sleep would not end where the signal comes just before its call
SLEEP = "for _ in range(60_000): time.sleep(0.01)\n"
SLOW_IMPORT = f"""
import sys, time

class Slow:
    def find_spec(self, name, path, target=None):
        if name in ("numpy", "PIL"):
            print("importing", flush=True)
            {SLEEP}

sys.meta_path.insert(0, Slow())
"""


@pytest.mark.parametrize("script", SCRIPTS)
def test_ctrl_c_while_libraries_are_imported_is_quiet(script: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_IMPORT)
    process = subprocess.Popen(
        [sys.executable, ROOT / script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 130


def test_an_ignored_ctrl_c_stays_ignored(tmp_path: Path) -> None:
    """As in a background job of a shell, where Ctrl-C is meant for others."""
    code = "from common import stage\nstage.exit_on_interrupt()\n"
    code += "print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)\n"
    code = f"import os, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n{code}"
    with start(code, tmp_path) as process:
        assert process.communicate()[0] == "True\n"


def test_ctrl_c_during_an_import_in_mid_run_ends_it_with_status_130(tmp_path: Path) -> None:
    """Even where the library would swallow the exception."""
    library = f"import time\ntry:\n    print('on', flush=True)\n    {SLEEP}"
    (tmp_path / "library.py").write_text(f"{library}except KeyboardInterrupt:\n    pass\n")
    code = "from common import stage\ndef main():\n    with stage.importing():\n"
    code += "        import library\n    print('swallowed')\n"
    with start(f"{code}stage.run(main)", tmp_path) as process:
        assert process.stdout
        assert process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 130


def test_ctrl_c_is_handled_as_before_after_an_import_in_mid_run(tmp_path: Path) -> None:
    code = "import signal\nfrom common import stage\n"
    code += "for handler in signal.default_int_handler, signal.SIG_IGN:\n"
    code += "    signal.signal(signal.SIGINT, handler)\n    with stage.importing():\n        pass\n"
    code += "    print(signal.getsignal(signal.SIGINT) is handler)\n"
    with start(code, tmp_path) as process:
        assert process.communicate()[0] == "True\nTrue\n"


def test_ctrl_c_in_a_stage_ends_it_with_status_130(tmp_path: Path) -> None:
    code = "import time\nfrom common import stage\nstage.exit_on_interrupt()\n"
    code += f"def main():\n    try:\n        print('on', flush=True)\n        {SLEEP}"
    code += "    finally:\n        print('cleaned up')\n"
    with start(f"{code}stage.run(main)", tmp_path) as process:
        assert process.stdout
        assert process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGINT)
        output, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output == "cleaned up\n"
    assert error == ""
