"""A small data set, in the working directory."""

from pathlib import Path

import pytest

from small_arrays import write_arrays


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data/arrays, with 5 training and 2 test images."""
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "data" / "arrays"
    directory.mkdir(parents=True)
    write_arrays(directory)
    return directory
