"""Projects at three points of the pipeline; download and train run once, each test gets a copy."""

from pathlib import Path

import pytest
import torch

from project import Project, new_project

# The longest first, so that two workers end at nearly the same time.
LONGEST = ["test_docs.py", "test_pipeline.py", "test_resume.py", "test_distributed.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(
        key=lambda item: (
            LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST)
        )
    )


@pytest.fixture(scope="session")
def prepared_once(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = new_project(tmp_path_factory.mktemp("prepared"))
    project.succeeds("download")
    return project


@pytest.fixture(scope="session")
def trained_once(prepared_once: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = prepared_once.copy_to(tmp_path_factory.mktemp("trained"))
    project.succeeds("train")
    return project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Parameters only."""
    monkeypatch.chdir(tmp_path)
    return new_project(tmp_path)


@pytest.fixture
def prepared(prepared_once: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The digits are there."""
    monkeypatch.chdir(tmp_path)
    return prepared_once.copy_to(tmp_path)


@pytest.fixture
def trained(trained_once: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The digits and a model are there."""
    monkeypatch.chdir(tmp_path)
    return trained_once.copy_to(tmp_path)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Compute with one thread again, since a stage may have changed the number."""
    torch.set_num_threads(1)
