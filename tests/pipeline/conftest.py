"""One clone for all tests of the pipeline; each of them gives it back as it was."""

import os
import sys
from collections.abc import Iterator

import pytest

from clone import Clone
from warm_python import warm_python


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone of the working tree, in a path with spaces and umlauts."""
    home = tmp_path_factory.mktemp("home")
    path = tmp_path_factory.mktemp("pipeline") / "mein Ordner für Bilder"
    clone = Clone.of_working_tree(path, home)
    clone.set()
    clone.start_repository()
    clone.ran = clone.repro()
    clone.commit("after the first run")
    return clone


@pytest.fixture(scope="session")
def programs() -> Iterator[str]:
    """What to put in front of PATH for a `python` that starts at once; nothing on Windows."""
    if sys.platform == "win32":
        yield ""
        return
    with warm_python() as folder:
        yield f"{folder}{os.pathsep}"


@pytest.fixture
def base(clone: Clone) -> Iterator[Clone]:
    """The clone with the first run's parameters and outputs, and back to them afterwards."""
    yield clone
    clone.restore()


@pytest.fixture
def quick(base: Clone, programs: str) -> Iterator[Clone]:
    """The same, and its stages start without the seconds of their imports."""
    path = base.environment["PATH"]
    base.environment["PATH"] = programs + path
    yield base
    base.environment["PATH"] = path
