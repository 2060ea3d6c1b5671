"""What was pushed to a DVC remote is all that a fresh clone needs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from clone import Clone
from project import Project


@pytest.fixture(params=["directory", "s3"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Clone], None]]:
    """An empty remote: how to connect a clone to it."""
    if request.param == "directory":
        yield lambda clone: connect(clone, str(tmp_path / "remote"))
        return
    pytest.importorskip("dvc_s3", reason="needs the extra s3")
    server = pytest.importorskip("moto.server", reason="needs the extra s3").ThreadedMotoServer(
        "127.0.0.1", port=0
    )
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        httpx.put(f"{endpoint}/bucket", trust_env=False).raise_for_status()
        yield lambda clone: connect(clone, "s3://bucket/project", endpoint)
    finally:
        server.stop()


def connect(clone: Clone, url: str, endpoint: str | None = None) -> None:
    clone.dvc("remote", "add", "--local", "--default", "storage", url)
    if endpoint is not None:
        clone.dvc("remote", "modify", "--local", "storage", "endpointurl", endpoint)
        clone.environment |= {
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "NO_PROXY": "127.0.0.1",
        }


def test_a_fresh_clone_pulls_what_was_pushed_and_has_nothing_to_do(
    clone: Clone, remote: Callable[[Clone], None], tmp_path: Path
) -> None:
    remote(clone)
    clone.dvc("push")
    (clone.path / ".dvc" / "config.local").unlink()

    clone.call("git", "clone", "-q", ".", str(tmp_path / "fresh"))
    fresh = Clone(tmp_path / "fresh", clone.environment)
    remote(fresh)
    fresh.dvc("pull")
    assert fresh.outputs() == clone.outputs()
    assert fresh.repro() == []
    assert "up to date" in fresh.printed

    for path in ["predictions.csv", "metrics.json"]:
        (fresh.path / "reports" / path).unlink()
    Project(fresh.path).call("evaluate")
    assert fresh.outputs() == clone.outputs()
