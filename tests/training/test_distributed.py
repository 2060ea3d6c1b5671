"""Several processes train as one does, whoever started them; when one dies, all end."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil  # DVC needs it
import pytest
import torch

from common.params import load_params
from helpers import ROOT, refused, wait_until
from models import WHITENED, make_recipe
from project import Project
from training.distributed import ProcessGroup, check_shards
from training.launch import count_processes, find_process_group
from trainings import CHECKPOINT, Trainings, posix, ranks

TRAIN = [sys.executable, str(ROOT / "stages" / "train.py")]
TORCHRUN = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node=2",
    TRAIN[1],
]


def start_command(command: list[str], folder: Path, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def tutorial(trainings: Trainings) -> Trainings:
    """The tutorial's recipe, by two processes unless the environment says otherwise."""
    Project(trainings.path).change(train__recipe="tutorial", machine__processes=2)
    return trainings


@posix
def test_three_processes_train_as_one_and_end_in_the_same_bytes_however_disturbed(
    tutorial: Trainings,
) -> None:
    project = Project(tutorial.path)
    project.change(machine__processes=1, recipes__tutorial__epochs=1)
    assert tutorial.run() == [0]
    alone = pd.read_csv(project.reports / "history.csv")

    assert tutorial.run(ranks(3)) == [0, 0, 0]
    history = pd.read_csv(project.reports / "history.csv")
    np.testing.assert_allclose(history, alone, rtol=0, atol=1e-4)
    assert "epoch 1:" in tutorial.stdout(0)
    assert [tutorial.stdout(1), tutorial.stderr(1)] == ["", ""]  # rank 0 alone prints
    undisturbed = tutorial.outputs()
    tutorial.remove_outputs()

    assert tutorial.run_until_saved(ranks(3), 1, signal.SIGTERM) == [143, 143, 143]
    assert "run the same command again to resume" in tutorial.stderr(0)
    assert tutorial.stderr(1) == ""
    assert tutorial.run_until_saved(ranks(3), 2, signal.SIGKILL) == [1, 1, -signal.SIGKILL]
    assert "resuming after epoch 0" in tutorial.stderr(0)
    assert "error: rank 0 of 3 lost another rank (" in tutorial.stderr(0)
    assert "Traceback" not in tutorial.stderr(0) + tutorial.stderr(1)
    assert not project.model.exists()
    assert tutorial.run(ranks(3)) == [0, 0, 0]
    assert "resuming after epoch 0" in tutorial.stderr(0)
    assert tutorial.outputs() == undisturbed
    assert not (tutorial.path / CHECKPOINT).exists()


@posix
def test_slurm_s_processes_find_each_other_and_share_the_validation(
    tutorial: Trainings, tmp_path: Path
) -> None:
    """As srun starts them; and batch norm, micro-batches and early stopping, on which all agree."""
    project = Project(tutorial.path)
    project.change(
        train__recipe="accurate",
        train__validation_fraction=0.2,
        train__early_stopping=5,
        recipes__accurate__network__channels=[16, 32],
        recipes__accurate__progressive_resizing=None,
        recipes__accurate__precision="float32",
        recipes__accurate__epochs=2,
        recipes__accurate__batch_size=100,
        recipes__accurate__micro_batch=25,
        recipes__accurate__optimizer__sgd__learning_rate=3.0,
    )
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(
        '#!/bin/sh\n[ "$*" = "show hostnames node[1-2]" ] && echo localhost && echo node2\n'
    )
    scontrol.chmod(0o755)
    slurm = {
        "PATH": f"{scontrol.parent}{os.pathsep}{os.environ['PATH']}",
        "SLURM_JOB_ID": str(os.getpid()),  # the port comes from it
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NODELIST": "node[1-2]",
        "SLURM_LOCALID": "0",
    }
    statuses = tutorial.run([slurm | {"SLURM_PROCID": str(rank)} for rank in range(2)])
    assert statuses == [0, 0], tutorial.stderr(0)
    timing = pd.read_csv(project.reports / "timing.csv").iloc[0]
    trained = round(timing["seconds"] * timing["images_per_second"])
    held_out = len(np.load(project.images / "train_labels.npy")) - trained
    assert held_out > 200
    accuracy = pd.read_csv(project.reports / "history.csv")["validation_accuracy"]
    correct = accuracy / 100 * held_out  # a whole number: of all images that were held out
    np.testing.assert_allclose(correct, correct.round(), atol=1e-3)
    assert accuracy.iloc[-1] > 30  # 10 is chance


@posix
def test_ranks_with_other_images_are_refused_by_all(tutorial: Trainings, tmp_path: Path) -> None:
    other = Project(tutorial.path).copy_to(tmp_path / "other")
    labels = np.load(other.images / "train_labels.npy")
    np.save(other.images / "train_labels.npy", labels[::-1])
    other.change(train__seed=3)
    first, second = ranks(2)
    process = start_command(TRAIN, other.path, **second)
    assert tutorial.run([first]) == [1]
    line = "error: rank 1 differs from rank 0 in seed, labels; "
    assert line in tutorial.stderr()
    assert line in process.communicate(timeout=60)[1]


@posix
@pytest.mark.parametrize(
    ("command", "victim", "status", "line"),
    [
        (TRAIN, 1, 1, "error: rank 1 of 2 was killed by SIGKILL, so all were ended; "),
        (TORCHRUN, None, -signal.SIGKILL, ""),  # the launcher, which can tell nobody
    ],
    ids=["rank", "launcher"],
)
def test_when_one_is_killed_all_end(
    command: list[str], victim: int | None, status: int, line: str, tutorial: Trainings
) -> None:
    process = start_command(command, tutorial.path)
    wait_until(lambda: tutorial.saved > 0)
    processes = psutil.Process(process.pid).children()
    assert len(processes) == 2
    os.kill(process.pid if victim is None else processes[victim].pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert line in errors
    assert "Traceback" not in errors
    wait_until(lambda: not any(map(alive, processes)))
    assert tutorial.saved > 0
    assert not Project(tutorial.path).model.exists()


def test_the_shards_of_a_batch_are_the_batch() -> None:
    batch = torch.randperm(37)
    for size in (1, 2, 5, 37):
        shards = [ProcessGroup(rank, size).shard(batch) for rank in range(size)]
        assert torch.equal(torch.cat(shards), batch)
        assert max(map(len, shards)) - min(map(len, shards)) <= 1


PYTORCHJOB = {"WORLD_SIZE": "4", "RANK": "3", "MASTER_ADDR": "a"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WORLD_SIZE": "1", "RANK": "0"}, (0, 1, 0, False)),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, None),  # in sbatch's script, which is alone
        (PYTORCHJOB, (3, 4, 0, False)),
        (PYTORCHJOB | {"LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "x"}, (3, 4, 1, True)),
        # torchrun, which srun has started on each of two machines
        (PYTORCHJOB | {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, (3, 4, 0, False)),
    ],
)
def test_the_process_group_is_what_the_environment_says(
    environment: dict[str, str],
    expected: tuple[int, int, int, bool] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forget_ranks(monkeypatch)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    group = find_process_group()
    found = group and (group.rank, group.world_size, group.local_rank, group.launched)
    assert found == expected


def forget_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    # A copy, so that what find_process_group sets is undone.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    prefixes = ("SLURM_", "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_", "TORCHELASTIC")
    for name in list(os.environ):
        if name.startswith(prefixes):
            monkeypatch.delenv(name)


def test_slurm_without_its_scontrol_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forget_ranks(monkeypatch)
    slurm = {"STEP_NUM_TASKS": "2", "PROCID": "1", "LOCALID": "0", "JOB_ID": "7", "STEP_ID": "0"}
    for name, value in (slurm | {"STEP_NODELIST": "node[1-2]"}).items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "scontrol cannot tell the first of node[1-2] (" in refused(find_process_group)
    monkeypatch.setenv("MASTER_ADDR", "node1")
    monkeypatch.delenv("RANK")
    assert find_process_group() == ProcessGroup(rank=1, world_size=2)


def test_ranks_without_an_address_say_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_ranks(monkeypatch)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "MASTER_ADDR; set it to the machine of rank 0" in refused(find_process_group)


def machine(**changes: Any) -> Any:
    return load_params(ROOT / "params.yaml").machine.model_copy(update=changes)


@pytest.mark.parametrize(
    ("processes", "device", "gpus", "count"),
    [
        (3, "cpu", 0, 3),
        ("auto", "cpu", 8, 1),
        ("auto", "auto", 0, 1),
        ("auto", "cuda", 4, 4),
        (2, "auto", 4, 2),
    ],
)
def test_auto_is_one_process_per_gpu(
    processes: Any, device: str, gpus: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert count_processes(machine(processes=processes, device=device)) == count


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    line = refused(lambda: count_processes(machine(processes=3, device="cuda")))
    assert line == "machine.processes is 3, but this machine has 2 GPUs; choose auto"


@pytest.mark.parametrize("value", ["two", "Auto", 0, -1, 1.5, True, None])
def test_what_is_no_number_of_processes_is_one_line(value: Any, project: Project) -> None:
    project.change(machine__processes=value)
    assert f"machine.processes is {value!r}; it must be 1 to 1024, or auto" in refused(load_params)


def test_no_rank_may_be_left_without_images() -> None:
    def line(world_size: int, recipe: Any, batch: int, validation: int) -> str:
        group = ProcessGroup(0, world_size)
        return refused(lambda: check_shards(group, recipe, batch, validation))

    lenet, whitened = make_recipe(), make_recipe(network=WHITENED)
    check_shards(ProcessGroup(0, 4), lenet, batch=4, validation=0)
    assert "5 processes for a batch of 4 images; each needs 1 or more" in line(5, lenet, 4, 0)
    assert "each needs 2 or more" in line(4, whitened, 7, 0)
    assert "a validation set of 3 images" in line(4, lenet, 10, 3)
