"""A checkout of the working tree, apart from it, from the user's settings and from DVC's cache."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from graph import GRAPH, outputs
from helpers import ROOT, write_params

OUTPUTS = {path: options for stage in GRAPH["stages"] for path, options in outputs(stage).items()}


@dataclass
class Checkout:
    """A directory with the project in it, and how to call commands there."""

    path: Path
    environment: dict[str, str]
    errors: str = ""

    @classmethod
    def of_working_tree(cls, path: Path, home: Path) -> Self:
        """Copy what Git tracks or would, but for what the stages make."""
        files = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\0")
        for name in files:
            if name and name != "dvc.lock" and name not in OUTPUTS and (ROOT / name).is_file():
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, path / name)
        write_params(path)
        environment = {
            **os.environ,
            # The python of dvc.yaml's commands.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "DVC_GLOBAL_CONFIG_DIR": str(home),
            "DVC_SYSTEM_CONFIG_DIR": str(home),
            "DVC_SITE_CACHE_DIR": str(home / "site"),
            "PYTHONIOENCODING": "utf-8",
            # On a busy machine, threads that wait for each other take many times as long.
            "OMP_NUM_THREADS": "1",
        }
        return cls(path, environment)

    def call(self, *command: str, status: int | None = 0) -> str:
        """What a command prints; ``status`` None for any but 0."""
        done = subprocess.run(
            command,
            cwd=self.path,
            env=self.environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        self.errors = done.stderr
        assert done.returncode == status if status is not None else done.returncode, (
            done.stdout + done.stderr
        )
        return done.stdout if status == 0 else done.stdout + done.stderr

    def dvc(self, *arguments: str, status: int | None = 0) -> str:
        return self.call(sys.executable, "-m", "dvc", *arguments, status=status)

    def start_repository(self) -> None:
        """Make it a repository with one commit."""
        self.call("git", "init", "-q", "-b", "main")
        self.call("git", "config", "user.email", "test@localhost")
        self.call("git", "config", "user.name", "test")
        self.commit("before")

    def commit(self, message: str) -> None:
        self.call("git", "add", ".")
        self.call("git", "commit", "-qm", message)
