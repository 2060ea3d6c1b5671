"""What every test of fetching begins with."""

from pathlib import Path

import pytest

from fetching import mirrors, request


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a fraction of the real time, so that a fault costs a second."""
    monkeypatch.setattr(mirrors, "PAUSE", 0.02)
    monkeypatch.setattr(request, "SILENCE", 0.6)
    for module in (mirrors, request):
        monkeypatch.setattr(module, "ANSWER", 1.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive.tar.gz"
