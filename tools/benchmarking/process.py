"""A script run in a process of its own, with its time and its memory."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from common.errors import UserError

PROGRAMS = str(Path(sys.executable).parent)  # of this environment; DVC looks for `python` on PATH
# A process's largest memory begins at that of the one that started it, so a small one starts it.
MEASURED = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdout=sys.stderr)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
sys.exit(status)
"""


@dataclass(frozen=True)
class Result:
    """What one process took."""

    seconds: float
    cpu_seconds: float  # of all its threads
    peak_mb: float  # the largest resident memory


def call(folder: Path, *command: str | Path | int) -> Result:
    """Run a Python script, or a module after ``-m``, in ``folder``.

    Raises:
        UserError: It failed.
    """
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, sys.executable, *map(str, command)],
        cwd=folder,
        env={
            **os.environ,
            "PATH": os.pathsep.join(filter(None, [PROGRAMS, os.environ.get("PATH")])),
            "DVC_NO_ANALYTICS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        raise UserError(
            f"{' '.join(map(str, command))} failed: {done.stderr.strip().splitlines()[-1]}"
        )
    cpu_seconds, peak = map(float, done.stdout.split())
    unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
    return Result(seconds, cpu_seconds, peak * unit / 1e6)


def read_timing(folder: Path) -> "pd.Series[float]":
    """Return the seconds of each epoch."""
    return pd.read_csv(folder / "reports" / "timing.csv")["seconds"]


def of_epochs(folder: Path, result: Result) -> Result:
    """Return a training's result with the seconds of its epochs alone, without imports."""
    return replace(result, seconds=float(read_timing(folder).sum()))
