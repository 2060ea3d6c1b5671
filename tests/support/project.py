"""A directory that the stages can run in."""

import contextlib
import importlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from helpers import DIGITS, ROOT, write_params


@dataclass(frozen=True)
class Project:
    """The repository's parameters, with changes, and what the stages make of them."""

    path: Path

    @property
    def model(self) -> Path:
        return self.path / "models" / "classifier.safetensors"

    @property
    def images(self) -> Path:
        return self.path / "data" / "arrays"

    @property
    def reports(self) -> Path:
        return self.path / "reports"

    def read_params(self) -> Any:
        return YAML(typ="safe").load(self.path / "params.yaml")

    def change(self, **changes: Any) -> None:
        """Set keys of params.yaml by their full path with double underscores: train__seed=1."""
        params = self.read_params()
        for name, value in changes.items():
            *sections, key = name.split("__")
            section = params
            for part in sections:
                section = section[part]
            section[key] = value
        YAML(typ="safe").dump(params, self.path / "params.yaml")

    def run(self, stage: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a stage as DVC does."""
        return subprocess.run(
            [sys.executable, ROOT / "stages" / f"{stage}.py"],
            cwd=self.path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def succeeds(self, stage: str, **environment: str) -> str:
        """Run a stage and return what it printed."""
        done = self.run(stage, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fails(self, stage: str, **environment: str) -> str:
        """Run a stage that a user's mistake must stop, and return the line of the error."""
        done = self.run(stage, **environment)
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        line = done.stderr.rstrip("\n").splitlines()[-1]
        assert line.startswith("error: ")
        return line

    def call(self, stage: str) -> None:
        """Run a stage in this process, where torch is imported already."""
        with contextlib.chdir(self.path):
            importlib.import_module(stage).main()

    def copy_to(self, path: Path) -> "Project":
        shutil.copytree(self.path, path, dirs_exist_ok=True)
        return Project(path)


def new_project(path: Path) -> Project:
    write_params(path, DIGITS)
    return Project(path)
