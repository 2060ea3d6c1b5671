"""What every test of fetching begins with."""

from pathlib import Path

import certifi
import pytest

from fetching import mirrors, request


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a fraction of the real time, and twice at most, so that a fault costs a second."""
    monkeypatch.setattr(mirrors, "ATTEMPTS", 2)
    monkeypatch.setattr(mirrors, "PAUSE", 0.02)
    monkeypatch.setattr(request, "SILENCE", 0.6)
    for module in (mirrors, request):
        monkeypatch.setattr(module, "ANSWER", 1.0)


@pytest.fixture(scope="session")
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a file with one certificate, which is read in a fraction of the time of all."""
    path = tmp_path_factory.mktemp("tls") / "authority.pem"
    end = "-----END CERTIFICATE-----\n"
    path.write_text(Path(certifi.where()).read_text(encoding="utf-8").split(end)[0] + end)
    return str(path)


@pytest.fixture(autouse=True)
def few_authorities(one_authority: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", one_authority)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive.tar.gz"
