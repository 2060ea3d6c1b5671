"""The `python` that the tests of the pipeline start their stages with."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from warm_python import warm_python


@pytest.mark.skipif(sys.platform == "win32", reason="there, Python itself starts the stages")
def test_an_interpreter_in_a_path_with_a_space_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "with a space" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    (tmp_path / "script.py").write_text("import sys\nprint(sys.argv)\nsys.exit(3)\n")
    with warm_python() as folder:
        for arguments in ["script.py", "x y"], ["-c", "import sys; print(sys.argv); sys.exit(3)"]:
            done = subprocess.run(
                [folder / "python", *arguments],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.stderr == ""
            assert done.stdout == f"{arguments if 'x y' in arguments else ['-c']}\n"
            assert done.returncode == 3
