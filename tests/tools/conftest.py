"""Experiments for tools/compare.py, and the tool in this process."""

import shutil
import sys
from pathlib import Path

import pytest

import compare
from fabricated import PLAIN, Fabricated, Tool, metrics, params


@pytest.fixture(scope="session")
def run_of_head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("experiments") / "project"
    Fabricated(path).start(params(), metrics(PLAIN[0]))
    return path


@pytest.fixture
def experiments(run_of_head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fabricated:
    """A project whose HEAD is a run with seed 0; there are no experiments yet."""
    shutil.copytree(run_of_head, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return Fabricated(tmp_path / "project")


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tool:
    """Return what compare.py --experiments prints with these arguments."""

    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["compare.py", "--experiments", *arguments])
        compare.main()
        return capsys.readouterr().out

    return call
