"""Several processes train as one does, whoever started them; when one ends, all end, and the next run carries on."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from common.distributed import World, count_processes, find_world
from common.params import load_params
from helpers import refused, wait_until
from project import REPOSITORY, Project
from train import check_shares

STATE = "models/resume.state"
OUTPUTS = ("models/classifier.safetensors", "reports/history.csv", "reports/history.png")
TRAIN = [sys.executable, str(REPOSITORY / "stages" / "train.py")]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", TRAIN[1]]

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX's signals and scripts")


def start(command: list[str], project: Project, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command,
        cwd=project.path,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def children(process: "subprocess.Popen[str]") -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]


def alive(pid: int) -> bool:
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(found.stdout.strip()) and not found.stdout.startswith("Z")


@pytest.fixture
def side_by_side(prepared: Project) -> Project:
    """The tutorial's recipe, by two processes that save the state after every step."""
    prepared.change(train__recipe="tutorial", train__processes=2, train__checkpoint_minutes=1e-6)
    return prepared


@posix
def test_two_processes_train_as_one_and_43_all_end_with_one_and_carry_on(side_by_side: Project) -> None:
    project = side_by_side
    project.change(train__processes=1)
    project.call("train")
    alone = pd.read_csv(project.reports / "history.csv")
    project.change(train__processes=2)
    printed = project.succeeds("train")
    together = pd.read_csv(project.reports / "history.csv")
    assert printed.count("epoch 1:") == 1  # one process speaks
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-4)
    undisturbed = {name: (project.path / name).read_bytes() for name in OUTPUTS}
    for name in OUTPUTS:
        (project.path / name).unlink()

    def disturb(command: list[str], number: int, child: bool) -> tuple[int, str]:
        """Send a signal to a training after some steps; its status and standard error once all processes have ended."""
        before = (project.path / STATE).stat().st_mtime_ns if (project.path / STATE).exists() else 0
        process = start(command, project)
        wait_until(lambda: (project.path / STATE).exists() and (project.path / STATE).stat().st_mtime_ns > before)
        processes = children(process)
        assert len(processes) == 2
        os.kill(processes[1] if child else process.pid, number)
        _, errors = process.communicate(timeout=60)
        wait_until(lambda: not any(map(alive, processes)))
        assert "Traceback" not in errors
        assert not (project.path / OUTPUTS[0]).exists()
        return process.returncode, errors

    status, errors = disturb(TRAIN, signal.SIGKILL, child=True)
    assert status == 1
    assert "error: process 1 of 2 was ended by SIGKILL, so all were; run again, and it carries on" in errors

    status, errors = disturb(TRAIN, signal.SIGKILL, child=False)  # the launcher, which can tell nobody
    assert status == -signal.SIGKILL
    assert "carrying on after epoch" in errors

    status, errors = disturb(TRAIN, signal.SIGTERM, child=False)
    assert status == 143
    assert "carrying on after epoch" in errors

    # The last ones are started by somebody else: they join the world they find, and end in the same bytes.
    finished = start(TORCHRUN, project)
    _, errors = finished.communicate(timeout=120)
    assert finished.returncode == 0, errors
    assert errors.count("carrying on after epoch") == 1
    assert {name: (project.path / name).read_bytes() for name in OUTPUTS} == undisturbed
    assert not (project.path / STATE).exists()


@posix
def test_slurm_s_processes_find_each_other_and_share_the_validation(side_by_side: Project, tmp_path: Path) -> None:
    """As srun starts them; and batch norm, pieces of batches and early stopping, which all must agree on."""
    project = side_by_side
    project.change(
        train__recipe="accurate",
        train__validation_fraction=0.2,
        train__early_stopping=5,
        recipes__accurate__channels=[16, 32],
        recipes__accurate__train_sizes=None,
        recipes__accurate__epochs=2,
        recipes__accurate__batch_size=100,
        recipes__accurate__micro_batch=25,
        recipes__accurate__sgd_learning_rate=3.0,
    )
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames node[1-2]" ] && echo localhost && echo node2\n')
    scontrol.chmod(0o755)
    slurm = {
        "PATH": f"{scontrol.parent}{os.pathsep}{os.environ['PATH']}",
        "SLURM_JOB_ID": str(os.getpid()),  # the port comes from it
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NODELIST": "node[1-2]",
        "SLURM_LOCALID": "0",
    }
    processes = [start(TRAIN, project, **slurm, SLURM_PROCID=str(rank)) for rank in range(2)]
    printed, errors = zip(*(process.communicate(timeout=120) for process in processes), strict=True)
    assert [process.returncode for process in processes] == [0, 0], errors
    assert printed[1] == ""
    accuracy = pd.read_csv(project.reports / "history.csv")["validation_accuracy"]
    apart = sum(round(0.2 * count) for count in np.bincount(np.load(project.images / "train_labels.npy")))
    correct = accuracy / 100 * apart
    np.testing.assert_allclose(correct, correct.round(), atol=1e-3)  # of all pictures that were set apart
    assert accuracy.iloc[-1] > 30  # 10 is chance


def test_the_shares_of_a_batch_are_the_batch() -> None:
    batch = torch.randperm(37)
    for size in (1, 2, 5, 37):
        shares = [World(rank, size).share(batch) for rank in range(size)]
        assert torch.equal(torch.cat(shares), batch)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WORLD_SIZE": "1", "RANK": "0"}, None),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, None),  # in sbatch's own script, which nobody else joins
        ({"WORLD_SIZE": "4", "RANK": "3", "MASTER_ADDR": "a"}, (3, 4, 0, False)),  # PyTorchJob
        (
            {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "x"},
            (3, 4, 1, True),
        ),
    ],
)
def test_the_world_is_what_the_environment_says(
    environment: dict[str, str], expected: tuple[int, int, int, bool] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC")):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    world = find_world()
    assert (world and (world.rank, world.size, world.local_rank, world.launched)) == expected


def test_slurm_without_its_scontrol_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slurm = {"STEP_NUM_TASKS": "2", "PROCID": "1", "LOCALID": "0", "JOB_ID": "7", "STEP_NODELIST": "node[1-2]"}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")  # so that what is set is taken back
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "scontrol cannot tell the first of node[1-2]" in refused(find_world)


def options(**changes: Any) -> Any:
    return load_params(REPOSITORY / "params.yaml").train.model_copy(update=changes)


@pytest.mark.parametrize(
    ("processes", "device", "gpus", "count"),
    [(3, "cpu", 0, 3), ("auto", "cpu", 8, 1), ("auto", "auto", 0, 1), ("auto", "cuda", 4, 4), (2, "auto", 4, 2)],
)
def test_auto_is_a_process_a_gpu(
    processes: Any, device: str, gpus: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert count_processes(options(processes=processes, device=device)) == count


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    line = refused(lambda: count_processes(options(processes=3, device="cuda")))
    assert line == "train.processes is 3, but this machine has 2 GPUs; choose auto"


@pytest.mark.parametrize("value", ["two", "Auto", 0, -1, 1.5, True, None])
def test_what_is_no_number_of_processes_is_one_line(value: Any, project: Project) -> None:
    project.change(train__processes=value)
    assert refused(load_params) == f"params.yaml: train.processes is {value!r}; it must be 1 or more, or auto"


def test_no_process_may_be_left_without_pictures() -> None:
    recipes = load_params(REPOSITORY / "params.yaml").recipes
    check_shares(World(0, 4), recipes["tutorial"], batch=4, validation=0)
    line = refused(lambda: check_shares(World(0, 5), recipes["tutorial"], batch=4, validation=0))
    assert "5 processes for a batch of 4 pictures; each needs 1 or more" in line
    assert "each needs 2 or more" in refused(lambda: check_shares(World(0, 4), recipes["accurate"], 7, 0))
    assert "validating on 3 pictures" in refused(lambda: check_shares(World(0, 4), recipes["tutorial"], 10, 3))
