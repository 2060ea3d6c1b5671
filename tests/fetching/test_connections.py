"""Certificates, redirects, proxies, and URLs that are none."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from misbehaving_server import serving
from published import CONTENT, DEAD, arrives, fails


@pytest.fixture
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a self-signed certificate with its key, for 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate, and is not installed")
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=local"
    command += f" -addext subjectAltName=IP:127.0.0.1 -keyout {file} -out {file}"
    subprocess.run(command.split(), check=True, capture_output=True)
    return file


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_certificate_that_is_not_trusted_is_an_error(path: Path, tls: ssl.SSLContext) -> None:
    with serving(CONTENT, tls) as server:
        assert "CERTIFICATE_VERIFY_FAILED" in fails(path, server)
        assert not server.requests


def test_certificates_come_from_the_environment(
    path: Path, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(CONTENT, tls) as server:
        arrives(path, server)


def test_certificates_that_cannot_be_read_are_a_reason(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    assert "the environment's proxy or certificates cannot be used" in fails(path, DEAD)


def test_slow_headers_behind_tls_are_given_up(
    path: Path, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(CONTENT, tls, well=1, header_rate=2) as server:
        assert "no answer within 1 s" in fails(path, server)


def test_a_redirect_from_https_to_http_is_refused(
    path: Path, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(CONTENT) as plain, serving(CONTENT, tls, redirect=plain.url) as server:
        assert f"redirects from https to {plain.url}, which is refused" in fails(path, server)
        assert not plain.requests


def test_other_redirects_are_followed(path: Path) -> None:
    with serving(CONTENT) as server, serving(b"", redirect=server.url) as first:
        arrives(path, first)


def test_proxies_come_from_the_environment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(CONTENT) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/file"))
        arrives(path, "http://nowhere.invalid/archive.tar.gz")


def test_a_slow_proxy_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(CONTENT, well=1, header_rate=2) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/file"))
        assert "no answer within 1 s" in fails(path, "http://nowhere.invalid/archive.tar.gz")


def test_what_is_no_url_is_a_reason(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    urls = ["file.tar.gz", "ftp://local/file", "http://a..b/", "http://127.0.0.1:99999/"]
    line = fails(path, DEAD, *urls, "http://\x1b[31m/")
    assert "no answer" not in line
    assert "Traceback" not in capfd.readouterr().err
