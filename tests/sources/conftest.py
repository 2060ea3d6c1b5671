"""What several tests of sources begin with."""

from pathlib import Path

import pytest


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty project, in which the stage runs."""
    directory = tmp_path / "project"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def mine(tmp_path: Path, project: Path) -> Path:
    """Return a place for images, outside of the project in which the stage runs."""
    return tmp_path / "mine"
