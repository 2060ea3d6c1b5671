"""Several processes train as one does, whoever started them; when one ends, all end, and the next run carries on."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil  # DVC needs it
import pytest
import torch
from helpers import ROOT, refused, wait_until
from project import Project

from common.params import load_params
from train import check_shares
from training.distributed import World, count_processes, find_world

STATE = "models/resume.state"
OUTPUTS = ("models/classifier.safetensors", "reports/history.csv", "reports/history.png")
TRAIN = [sys.executable, str(ROOT / "stages" / "train.py")]
TORCHRUN = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node=2",
    TRAIN[1],
]

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX's signals and fork")

# Imports once and then, for each line of standard input, trains in a process for each environment of the list in it.
# A line comes back with their process ids, and one with their exit statuses.
FORKS = """
import json, os, sys
import torch._dynamo, torch.nn.parallel, train
from common.stage import run

def child(environment):
    os.environ.update(environment)
    rank = environment.get("SLURM_PROCID", environment.get("RANK"))
    for number in (1, 2):
        os.dup2(os.open(f"printed{number}.{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    try:
        run(train.main)
        os._exit(0)
    except SystemExit as error:
        print(error.code, file=sys.stderr, flush=True)
        os._exit(error.code if isinstance(error.code, int) else 1)

for line in sys.stdin:
    children = []
    for environment in json.loads(line):
        if (pid := os.fork()) == 0:
            child(environment)
        children.append(pid)
    print(json.dumps(children), flush=True)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]), flush=True)
"""


class Forks:
    """Trainings by several processes, without a launcher above them."""

    def __init__(self, project: Project) -> None:
        self.path = project.path
        self.process = start(
            [sys.executable, "-c", FORKS], project, PYTHONPATH=str(ROOT / "stages")
        )

    def train(
        self, environments: list[dict[str, str]], rank: int = 0, number: int = 0
    ) -> list[int]:
        """Train, and send one of them a signal after some steps; their exit statuses."""
        assert self.process.stdin and self.process.stdout
        before = saved(self.path)
        print(json.dumps(environments), file=self.process.stdin, flush=True)
        children = json.loads(self.process.stdout.readline())
        if number:
            wait_until(lambda: saved(self.path) > before)
            os.kill(children[rank], number)
        statuses: list[int] = json.loads(self.process.stdout.readline())
        return statuses

    def errors(self, rank: int) -> str:
        return (self.path / f"printed2.{rank}").read_text()


def start(command: list[str], project: Project, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command,
        cwd=project.path,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def saved(path: Path) -> int:
    """When the state was saved last."""
    return (path / STATE).stat().st_mtime_ns if (path / STATE).exists() else 0


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def side_by_side(prepared: Project) -> Project:
    """The tutorial's recipe, by two processes that save the state after every step."""
    prepared.change(train__recipe="tutorial", train__processes=2, train__checkpoint_minutes=1e-6)
    return prepared


@pytest.fixture
def forks(side_by_side: Project) -> Iterator[Forks]:
    forks = Forks(side_by_side)
    yield forks
    forks.process.kill()
    forks.process.communicate()


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


@posix
def test_three_processes_train_as_one_and_end_in_the_same_bytes_however_disturbed(
    forks: Forks,
) -> None:
    project = Project(forks.path)
    project.change(train__processes=1, recipes__tutorial__epochs=1)
    project.call("train")
    alone = pd.read_csv(project.reports / "history.csv")

    def world() -> list[dict[str, str]]:
        ranks = [
            {"RANK": str(rank), "WORLD_SIZE": "3", "LOCAL_RANK": str(rank)} for rank in range(3)
        ]
        return [rank | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} for rank in ranks]

    port = free_port()
    assert forks.train(world()) == [0, 0, 0]
    np.testing.assert_allclose(
        pd.read_csv(project.reports / "history.csv"), alone, rtol=0, atol=1e-4
    )
    assert "epoch 1:" in (forks.path / "printed1.0").read_text()
    assert [(forks.path / f"printed{number}.1").read_text() for number in (1, 2)] == [
        "",
        "",
    ]  # one process speaks
    undisturbed = {name: (forks.path / name).read_bytes() for name in OUTPUTS}
    for name in OUTPUTS:
        (forks.path / name).unlink()

    assert forks.train(world(), 1, signal.SIGTERM) == [143, 143, 143]
    assert forks.train(world(), 2, signal.SIGKILL) == [1, 1, -signal.SIGKILL]
    assert "carrying on after epoch 0" in forks.errors(0)
    assert "error: process 0 of 3 has lost another (" in forks.errors(0)
    assert "Traceback" not in forks.errors(0) + forks.errors(1)
    assert not (forks.path / OUTPUTS[0]).exists()
    assert forks.train(world()) == [0, 0, 0]
    assert "carrying on after epoch 0" in forks.errors(0)
    assert {name: (forks.path / name).read_bytes() for name in OUTPUTS} == undisturbed
    assert not (forks.path / STATE).exists()


@posix
def test_slurm_s_processes_find_each_other_and_share_the_validation(
    forks: Forks, tmp_path: Path
) -> None:
    """As srun starts them; and batch norm, pieces of batches and early stopping, which all must agree on."""
    project = Project(forks.path)
    project.change(
        train__recipe="accurate",
        train__validation_fraction=0.2,
        train__early_stopping=5,
        recipes__accurate__channels=[16, 32],
        recipes__accurate__train_sizes=None,
        recipes__accurate__precision="float32",
        recipes__accurate__epochs=2,
        recipes__accurate__batch_size=100,
        recipes__accurate__micro_batch=25,
        recipes__accurate__sgd_learning_rate=3.0,
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
    assert forks.train([slurm | {"SLURM_PROCID": str(rank)} for rank in range(2)]) == [0, 0], (
        forks.errors(0)
    )
    accuracy = pd.read_csv(project.reports / "history.csv")["validation_accuracy"]
    apart = sum(
        round(0.2 * count) for count in np.bincount(np.load(project.images / "train_labels.npy"))
    )
    correct = accuracy / 100 * apart
    np.testing.assert_allclose(
        correct, correct.round(), atol=1e-3
    )  # of all pictures that were set apart
    assert accuracy.iloc[-1] > 30  # 10 is chance


@posix
def test_processes_with_other_pictures_are_refused_by_all(forks: Forks, tmp_path: Path) -> None:
    other = Project(forks.path).copy_to(tmp_path / "other")
    labels = np.load(other.images / "train_labels.npy")
    np.save(other.images / "train_labels.npy", labels[::-1])
    other.change(train__seed=3)
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    second = start(TRAIN, other, RANK="1", **world)
    assert forks.train([world | {"RANK": "0"}]) == [1]
    line = "error: process 1 has other seed, labels than process 0; give all machines the same"
    assert line in forks.errors(0)
    assert line in second.communicate(timeout=60)[1]


@posix
@pytest.mark.parametrize(
    ("command", "victim", "status", "line"),
    [
        (
            TRAIN,
            1,
            1,
            "error: process 1 of 2 was ended by SIGKILL, so all were; run again, and it carries on",
        ),
        (TORCHRUN, None, -signal.SIGKILL, ""),  # the launcher, which can tell nobody
    ],
    ids=["process", "launcher"],
)
def test_43_all_end_with_one(
    command: list[str], victim: int | None, status: int, line: str, side_by_side: Project
) -> None:
    process = start(command, side_by_side)
    wait_until(lambda: saved(side_by_side.path) > 0)
    processes = psutil.Process(process.pid).children()
    assert len(processes) == 2
    os.kill(process.pid if victim is None else processes[victim].pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert line in errors
    assert "Traceback" not in errors
    wait_until(lambda: not any(map(alive, processes)))
    assert saved(side_by_side.path) > 0
    assert not (side_by_side.path / OUTPUTS[0]).exists()


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
        ({"WORLD_SIZE": "1", "RANK": "0"}, (0, 1, 0, False)),
        (
            {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"},
            None,
        ),  # in sbatch's own script, which nobody else joins
        ({"WORLD_SIZE": "4", "RANK": "3", "MASTER_ADDR": "a"}, (3, 4, 0, False)),  # PyTorchJob
        (
            {
                "WORLD_SIZE": "4",
                "RANK": "3",
                "LOCAL_RANK": "1",
                "MASTER_ADDR": "a",
                "TORCHELASTIC_RUN_ID": "x",
            },
            (3, 4, 1, True),
        ),
        (  # torchrun, which srun has started on each of two machines
            {
                "SLURM_STEP_NUM_TASKS": "2",
                "SLURM_PROCID": "1",
                "WORLD_SIZE": "4",
                "RANK": "3",
                "MASTER_ADDR": "a",
            },
            (3, 4, 0, False),
        ),
    ],
)
def test_the_world_is_what_the_environment_says(
    environment: dict[str, str],
    expected: tuple[int, int, int, bool] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forget_world(monkeypatch)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    world = find_world()
    assert (world and (world.rank, world.size, world.local_rank, world.launched)) == expected


def forget_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())  # what find_world sets is taken back
    for name in list(os.environ):
        if name.startswith(
            ("SLURM_", "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_", "TORCHELASTIC")
        ):
            monkeypatch.delenv(name)


def test_slurm_without_its_scontrol_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forget_world(monkeypatch)
    slurm = {"STEP_NUM_TASKS": "2", "PROCID": "1", "LOCALID": "0", "JOB_ID": "7", "STEP_ID": "0"}
    for name, value in (slurm | {"STEP_NODELIST": "node[1-2]"}).items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "scontrol cannot tell the first of node[1-2] (" in refused(find_world)
    monkeypatch.setenv("MASTER_ADDR", "node1")
    monkeypatch.delenv("RANK")
    assert find_world() == World(rank=1, size=2)


def test_a_world_without_an_address_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_world(monkeypatch)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "MASTER_ADDR; set it to the machine of process 0" in refused(find_world)


def options(**changes: Any) -> Any:
    return load_params(ROOT / "params.yaml").train.model_copy(update=changes)


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
    assert (
        refused(load_params)
        == f"params.yaml: train.processes is {value!r}; it must be 1 or more, or auto"
    )


def test_no_process_may_be_left_without_pictures() -> None:
    recipes = load_params(ROOT / "params.yaml").recipes
    check_shares(World(0, 4), recipes["tutorial"], batch=4, validation=0)
    line = refused(lambda: check_shares(World(0, 5), recipes["tutorial"], batch=4, validation=0))
    assert "5 processes for a batch of 4 pictures; each needs 1 or more" in line
    assert "each needs 2 or more" in refused(
        lambda: check_shares(World(0, 4), recipes["accurate"], 7, 0)
    )
    assert "validating on 3 pictures" in refused(
        lambda: check_shares(World(0, 4), recipes["tutorial"], 10, 3)
    )
