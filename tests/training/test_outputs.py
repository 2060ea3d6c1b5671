"""What keeps the outputs of a training safe: from the disk, and from a second training."""

import os
import shutil
import signal
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import start, wait_until
from project import Project
from trainings import CHECKPOINT, OUTPUTS, Trainings, posix, ranks

LOCKED = "models/train.lock: locked by another training in this folder; waiting for its end\n"


@pytest.fixture
def longer(trainings: Trainings) -> Trainings:
    """A training that does not end before a second one has begun."""
    Project(trainings.path).change(recipes__quick__epochs=5)
    return trainings


@posix
def test_two_trainings_in_one_folder_take_turns(longer: Trainings) -> None:
    assert longer.run() == [0]
    undisturbed = longer.outputs()
    longer.remove_outputs()
    assert longer.run([{}, {}]) == [0, 0]
    errors = [longer.stderr(0), longer.stderr(1)]
    assert sorted(LOCKED in each for each in errors) == [False, True]
    assert "Traceback" not in "".join(errors)
    assert longer.outputs() == undisturbed


@posix
def test_the_second_training_resumes_if_the_first_one_is_killed(longer: Trainings) -> None:
    assert longer.run() == [0]
    undisturbed = longer.outputs()
    longer.remove_outputs()

    def waiting() -> list[bool]:
        return [LOCKED in longer.stderr(index) for index in range(2)]

    processes = longer.start([{}, {}])
    wait_until(lambda: longer.saved > 0 and any(waiting()))
    first = waiting().index(False)
    os.kill(processes[first], signal.SIGKILL)
    statuses = longer.wait()
    assert statuses[first] == -signal.SIGKILL
    assert statuses[1 - first] == 0
    assert "resuming after epoch" in longer.stderr(1 - first)
    assert longer.outputs() == undisturbed


@posix
def test_several_processes_wait_together_for_another_training(longer: Trainings) -> None:
    environments = [*ranks(2), *ranks(2)]
    assert longer.run(environments) == [0, 0, 0, 0]
    errors = [longer.stderr(index) for index in range(4)]
    assert sorted(LOCKED in each for each in errors) == [False, False, False, True]


@pytest.mark.parametrize("folder", ["models", "reports"])
def test_a_file_in_a_folder_s_place_is_noticed_before_the_first_epoch(
    folder: str, prepared: Project
) -> None:
    shutil.rmtree(prepared.path / folder, ignore_errors=True)
    (prepared.path / folder).write_text("mine")
    done = prepared.run("train")
    assert done.returncode == 1
    assert f"error: {folder}: cannot write there (" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert (prepared.path / folder).read_text() == "mine"


@posix
@pytest.mark.parametrize("folder", ["models", "reports"])
def test_a_read_only_folder_is_noticed_before_the_first_epoch(
    folder: str, prepared: Project
) -> None:
    for name in ("models", "reports"):
        (prepared.path / name).mkdir(exist_ok=True)
        (prepared.path / name).chmod(0o555 if name == folder else 0o777)
    prepared.path.chmod(0o755)
    code = """
        import os, train
        from common.stage import run
        if os.geteuid() == 0:
            os.seteuid(65534)  # root may write anywhere
        run(train.main)
    """
    printed, errors = start(textwrap.dedent(code), prepared.path).communicate()
    assert f"error: {folder}: cannot write there (Permission denied)" in errors
    assert errors.count("\n") == 1
    assert printed == ""


@pytest.fixture
def small_disk(prepared: Project) -> Iterator[Path]:
    """A file system of 100 kB at models/, which no checkpoint fits into."""
    models = prepared.path / "models"
    models.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=100k", "none", str(models)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"only root on Linux may mount a small file system ({error})")
    yield models
    subprocess.run(["umount", str(models)], check=True)


def test_a_full_disk_is_one_line_that_names_the_file(small_disk: Path, prepared: Project) -> None:
    line = prepared.fails("train")
    assert line.startswith(f"error: {CHECKPOINT}")
    assert "No space left on device; make room" in line
    assert {path.name for path in small_disk.iterdir()} <= {"train.lock"}


@posix
def test_a_limit_on_file_sizes_is_one_line_that_names_the_file(prepared: Project) -> None:
    code = """
        import resource, train
        from common.stage import run
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        run(train.main)
    """
    process = start(textwrap.dedent(code), prepared.path)
    errors = process.communicate()[1]
    assert process.returncode == 1
    line = errors.splitlines()[-1]
    assert line.startswith(f"error: {CHECKPOINT}")
    assert "File too large; make room" in line
    assert not (prepared.path / OUTPUTS[0]).exists()
    assert not list(prepared.path.rglob("*.part"))
