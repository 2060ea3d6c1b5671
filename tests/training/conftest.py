"""Trainings in forked processes."""

import subprocess
from collections.abc import Iterator

import pytest

from project import Project
from trainings import Trainings, fork_server


@pytest.fixture(scope="session")
def server() -> Iterator["subprocess.Popen[str]"]:
    with fork_server() as process:
        yield process


@pytest.fixture
def trainings(prepared: Project, server: "subprocess.Popen[str]") -> Trainings:
    """Trainings of the digits that save a checkpoint after every step."""
    prepared.change(machine__checkpoint_minutes=1e-6)
    return Trainings(server, prepared.path)
