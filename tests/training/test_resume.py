"""A killed training carries on and ends in the same bytes; a state that is not its own is not used."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from helpers import ROOT
from project import Project

from training.checkpoint import DIGEST_SIZE, load_state, save_state

OUTPUTS = ("models/classifier.safetensors", "reports/history.csv", "reports/history.png")
STATE = "models/resume.state"

needs_fork = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="needs fork, to kill many trainings in a short time"
)

# Imports once and then trains in a child for each line of standard input, "seconds signal folder". The child is sent
# the signal after that many seconds; a line comes back with its exit status.
KENNEL = """
import os, signal, sys, time
import torch._dynamo, train
from common.stage import run

def child(folder):
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open("stderr.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    try:
        run(train.main)
        os._exit(0)
    except SystemExit as error:
        print(error.code, file=sys.stderr, flush=True)
        os._exit(error.code if isinstance(error.code, int) else 1)

print("ready", flush=True)  # so that none of what follows is timed with the imports
for line in sys.stdin:
    seconds, number, folder = line.rstrip("\\n").split(maxsplit=2)
    pid = os.fork()
    if pid == 0:
        child(folder)
    deadline = time.monotonic() + float(seconds)
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(pid, int(number))
            deadline = float("inf")
        time.sleep(0.002)
    print(os.waitstatus_to_exitcode(ended[1]), flush=True)
"""


@pytest.fixture(scope="module")
def process() -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", KENNEL],
        env=os.environ | {"PYTHONPATH": str(ROOT / "stages")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


@dataclass
class Kennel:
    """Trainings of a project that are sent signals."""

    process: "subprocess.Popen[str]"
    path: Path

    def train(self, seconds: float = 1e9, number: int = signal.SIGKILL) -> tuple[int, str]:
        """Train, and send a signal after so many seconds; the exit status and what was printed on standard error."""
        assert self.process.stdin and self.process.stdout
        print(seconds, int(number), self.path, file=self.process.stdin, flush=True)
        status = int(self.process.stdout.readline())
        return status, (self.path / "stderr.txt").read_text()


@pytest.fixture
def kennel(prepared: Project, process: "subprocess.Popen[str]") -> Kennel:
    """A training that saves its state after every step and keeps the best of its epochs."""
    prepared.change(
        train__checkpoint_minutes=1e-6, train__validation_fraction=0.1, train__early_stopping=50
    )
    prepared.change(recipes__quick__epochs=5)
    return Kennel(process, prepared.path)


def outputs(project: Path) -> dict[str, bytes]:
    return {name: (project / name).read_bytes() for name in OUTPUTS}


@needs_fork
def test_killed_at_a_dozen_moments_it_ends_in_the_same_bytes(kennel: Kennel) -> None:
    began = time.monotonic()
    assert kennel.train()[0] == 0
    duration = time.monotonic() - began
    undisturbed = outputs(kennel.path)
    for name in OUTPUTS:
        (kennel.path / name).unlink()

    chance = random.Random(0)
    carried_on = 0
    for _ in range(12):
        number = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
        status, errors = kennel.train(chance.uniform(0.2, 0.8) * duration, number)
        carried_on += "carrying on after epoch" in errors
        assert status in {0, -signal.SIGKILL, -signal.SIGTERM, 130, 143}, errors
        assert "Traceback" not in errors
    assert kennel.train()[0] == 0
    assert carried_on >= 3
    assert outputs(kennel.path) == undisturbed
    assert not (kennel.path / STATE).exists()


@needs_fork
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_the_state(kennel: Kennel, number: int, expected: int) -> None:
    Project(kennel.path).change(recipes__quick__epochs=1000, train__checkpoint_minutes=1000.0)
    status, errors = 0, ""
    for seconds in (
        1.5,
        3,
        6,
        12,
        24,
    ):  # on a slow machine it takes a while until there is something to save
        status, errors = kennel.train(seconds, number)
        if (kennel.path / STATE).exists():
            break
    assert status == expected, errors
    assert not (kennel.path / OUTPUTS[0]).exists()
    assert "carrying on after epoch" in kennel.train(seconds, number)[1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[: DIGEST_SIZE + 10],
        lambda content: content[:5],
        lambda content: b"",
        lambda content: os.urandom(len(content)),
        lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
    ],
)
def test_a_damaged_state_is_not_used(
    damage: Callable[[bytes], bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "state"
    save_state({"weights": torch.arange(5.0)}, {"seed": "0"}, path)
    state = load_state({"seed": "0"}, path)
    assert state is not None
    assert torch.equal(state["weights"], torch.arange(5.0))
    assert capsys.readouterr().err == ""

    path.write_bytes(damage(path.read_bytes()))
    assert load_state({"seed": "0"}, path) is None
    assert "damaged, so training starts anew" in capsys.readouterr().err


def test_a_state_killed_while_it_is_written_is_the_previous_one(tmp_path: Path) -> None:
    """SIGKILL in the middle of writing the second state, caused for real."""
    code = """
import os, signal, sys
from pathlib import Path
import torch
from common import files
from training import checkpoint as resume
path = Path("state")
resume.save_state({"step": 1}, {}, path)
flush = files.flush_to_disk
def die(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)  # as if half of it had been written
    os.kill(os.getpid(), signal.SIGKILL)
files.flush_to_disk = die
resume.save_state({"step": 2, "weights": torch.zeros(100_000)}, {}, path)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "stages")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert load_state({}, tmp_path / "state") == {"step": 1}
    save_state({"step": 3}, {}, tmp_path / "state")
    assert load_state({}, tmp_path / "state") == {"step": 3}


def test_a_state_of_something_else_is_not_used_and_says_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "state"
    save_state({"step": 1}, {"params": "a", "pictures": "b", "code": "c"}, path)
    assert load_state({"params": "a", "pictures": "x", "code": "y"}, path) is None
    assert "other pictures, code, so" in capsys.readouterr().err


@needs_fork
def test_other_params_or_data_start_anew(kennel: Kennel) -> None:
    project = Project(kennel.path)
    project.change(recipes__quick__epochs=1000)
    for seconds in (2, 4, 8, 16):
        kennel.train(seconds)
        if (kennel.path / STATE).exists():
            break
    project.change(recipes__quick__epochs=1)
    status, errors = kennel.train()
    assert status == 0
    assert "other recipe, so training starts anew" in errors

    project.change(recipes__quick__epochs=1000)
    kennel.train(seconds)
    labels = np.load(project.images / "train_labels.npy")
    np.save(project.images / "train_labels.npy", labels[::-1])
    _, errors = kennel.train(seconds)
    assert "other labels, so training starts anew" in errors


@needs_fork
def test_dropout_is_the_same_after_a_kill(kennel: Kennel) -> None:
    project = Project(kennel.path)
    project.change(
        train__recipe="transfer",
        recipes__transfer__network="squeezenet1_1",
        recipes__transfer__pretrained=False,
    )
    project.change(
        recipes__transfer__epochs=1,
        recipes__transfer__batch_size=50,
        recipes__transfer__crop_padding=2,
    )
    assert kennel.train()[0] == 0
    undisturbed = outputs(kennel.path)
    for name in OUTPUTS:
        (kennel.path / name).unlink()
    seconds = 1.0
    while not (kennel.path / STATE).exists():
        kennel.train(seconds)
        seconds += 0.5
    status, errors = kennel.train()
    assert status == 0
    assert 1 <= int(errors.split("carrying on after epoch 0, step ")[1].split()[0]) < 26
    assert outputs(kennel.path) == undisturbed


@needs_fork
def test_early_stopping_keeps_the_best_epoch(kennel: Kennel) -> None:
    project = Project(kennel.path)
    project.change(train__early_stopping=2, recipes__quick__epochs=40)
    project.change(
        recipes__quick__learning_rate=0.2, recipes__quick__schedule="constant"
    )  # unsteady
    assert kennel.train()[0] == 0
    rows = [row.split(",") for row in (kennel.path / OUTPUTS[1]).read_text().split()]
    losses = [float(row[rows[0].index("validation_loss")]) for row in rows[1:]]
    best = losses.index(min(losses))
    assert len(losses) in {best + 3, 40}

    # Trained for exactly that long, without stopping, it has the same weights.
    model = safetensors.torch.load_file(project.model)
    project.change(train__early_stopping=None, recipes__quick__epochs=best + 1)
    assert kennel.train()[0] == 0
    for name, weights in safetensors.torch.load_file(project.model).items():
        assert torch.equal(weights, model[name])
