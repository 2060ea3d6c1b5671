"""A killed training resumes and ends in the same bytes; no other checkpoint is used."""

import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from helpers import STAGES
from project import Project
from training.checkpoint import DIGEST_SIZE, Checkpoint
from trainings import CHECKPOINT, OUTPUTS, Trainings, described, posix


@pytest.fixture
def validated(trainings: Trainings) -> Trainings:
    """A training that also keeps the best of its epochs."""
    Project(trainings.path).change(
        train__validation_fraction=0.1, train__early_stopping=50, recipes__quick__epochs=3
    )
    return trainings


def interrupt(trainings: Trainings, number: int = signal.SIGKILL) -> int:
    """Interrupt a training of 1000 epochs after its first checkpoint; return the exit status."""
    Project(trainings.path).change(recipes__quick__epochs=1000)
    return trainings.run_until_saved([{}], 0, number)[0]


@posix
def test_killed_at_a_dozen_moments_it_ends_in_the_same_bytes(validated: Trainings) -> None:
    began = time.monotonic()
    assert validated.run() == [0]
    duration = time.monotonic() - began
    undisturbed = validated.outputs()
    validated.remove_outputs()

    chance = random.Random(0)
    resumed = 0
    for _ in range(12):
        number = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
        (status,) = validated.run(seconds=chance.uniform(0.2, 0.6) * duration, number=number)
        resumed += "resuming after epoch" in validated.stderr()
        assert status in {0, -signal.SIGKILL, -signal.SIGTERM, 130, 143}, validated.stderr()
        assert "Traceback" not in validated.stderr()
        if status == 0:  # a resumed training is shorter
            assert validated.outputs() == undisturbed
            validated.remove_outputs()
    assert resumed >= 3
    (validated.path / CHECKPOINT).unlink(missing_ok=True)  # a resumed training may save none
    assert validated.run_until_saved([{}], 0, signal.SIGKILL) == [-signal.SIGKILL]
    assert validated.run() == [0]
    assert "resuming after epoch" in validated.stderr()
    assert validated.outputs() == undisturbed
    assert not (validated.path / CHECKPOINT).exists()


@posix
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_the_state_and_says_how_to_resume(
    trainings: Trainings, number: signal.Signals, status: int
) -> None:
    assert interrupt(trainings, number) == status
    last = trainings.stderr().splitlines()[-1]
    assert last.startswith(f"stopped by {number.name} in epoch ")
    assert last.endswith(f"saved in {CHECKPOINT}: run the same command again to resume")
    assert not (trainings.path / OUTPUTS[0]).exists()
    epoch, step = (last.split(word)[1].split()[0].strip(",;") for word in ("epoch ", "step "))

    assert trainings.run_until_saved([{}], 0, number) == [status]
    expected = f"resuming after epoch {int(epoch) - 1}, step {step}\n"
    assert expected in trainings.stderr()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return Checkpoint({"seed": "0"}, path=tmp_path / "state")


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
    ids=["last byte", "cut short", "within the digest", "empty", "random", "one bit"],
)
def test_a_damaged_checkpoint_is_not_used(
    damage: Callable[[bytes], bytes], checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint.save({"weights": torch.arange(5.0)})
    state = checkpoint.load()
    assert state is not None
    assert torch.equal(state["weights"], torch.arange(5.0))
    assert capsys.readouterr().err == ""

    checkpoint.path.write_bytes(damage(checkpoint.path.read_bytes()))
    assert checkpoint.load() is None
    assert "damaged, so training starts anew" in capsys.readouterr().err


def with_digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest() + content


def saved_by_torch(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"cos\nsystem\n(S'touch executed'\ntR.",
        saved_by_torch([1, 2]),
        saved_by_torch({"state": {}}),
        saved_by_torch({"fingerprint": "seed", "state": {}}),
        saved_by_torch({"fingerprint": {"seed": "0"}, "state": 5}),
    ],
    ids=["nothing", "text", "a pickle", "a list", "no fingerprint", "a word", "a number"],
)
def test_a_right_digest_over_something_else_is_not_used(
    content: bytes, checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint.path.write_bytes(with_digest(content))
    assert checkpoint.load() is None
    assert "not a checkpoint (" in capsys.readouterr().err
    assert not Path("executed").exists()


# What is done to the state of a real checkpoint, by the reason that the training gives.
UNFITTING: dict[str, Callable[[dict[str, Any]], object]] = {
    "sums.step is -1": lambda state: state["sums"].update(step=-1),
    "sums.step is 24": lambda state: state["sums"].update(step=24),
    "schedule is not at step": lambda state: state["sums"].update(step=state["sums"]["step"] - 1),
    "state.sums.step is of type str": lambda state: state["sums"].update(step="1"),
    "state.sums.losses is torch.float32 (5,)": lambda state: state["sums"].update(
        losses=torch.zeros(5)
    ),
    "state.network has other keys": lambda state: state["network"].popitem(),
    "state.network.output.bias is torch.float64 (10,)": lambda state: state["network"].update(
        {"output.bias": torch.zeros(10, dtype=torch.float64)}
    ),
    "optimizer.state.0.momentum_buffer is (3,)": lambda state: state["optimizer"]["state"].update(
        {0: {"momentum_buffer": torch.zeros(3)}}
    ),
    "state.optimizer.param_groups has 0 elements": lambda state: state["optimizer"].update(
        param_groups=[]
    ),
    "state.schedule has other keys": lambda state: state["schedule"].clear(),
    "something else than numbers": lambda state: state["history"]["epochs"].append({"epoch": "1"}),
    "state has other keys": lambda state: state.pop("history"),
}


@posix
def test_a_state_that_does_not_fit_is_not_used_and_changes_nothing(trainings: Trainings) -> None:
    assert trainings.run() == [0]
    undisturbed = trainings.outputs()
    assert trainings.run(seconds=1e-3) != [0]  # too early for a checkpoint
    assert trainings.run_until_saved([{}], 0, signal.SIGKILL) == [-signal.SIGKILL]
    saved = (trainings.path / CHECKPOINT).read_bytes()[DIGEST_SIZE:]
    Project(trainings.path).change(machine__checkpoint_minutes=60.0)
    for reason, change in UNFITTING.items():
        content = torch.load(io.BytesIO(saved), weights_only=True)
        change(content["state"])
        (trainings.path / CHECKPOINT).write_bytes(with_digest(saved_by_torch(content)))
        trainings.remove_outputs()
        assert trainings.run() == [0], trainings.stderr()
        line = trainings.stderr().splitlines()[0]
        assert line.startswith(f"{CHECKPOINT}: not a state of this training (")
        assert line.endswith("), so training starts anew")
        assert reason in line
        assert trainings.outputs() == undisturbed, reason


@posix
@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
def test_what_is_no_file_in_the_checkpoint_s_place_is_named_and_not_waited_for(
    trainings: Trainings, kind: str
) -> None:
    path = trainings.path / CHECKPOINT
    path.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    assert trainings.run(seconds=30) == [1]
    assert trainings.stderr().endswith(f"error: {CHECKPOINT}: not a file; remove it\n")
    assert "epoch 1" not in trainings.stdout()


def test_a_process_killed_while_it_writes_leaves_the_previous_checkpoint(tmp_path: Path) -> None:
    """SIGKILL in the middle of writing the second checkpoint, caused for real."""
    code = """
import os, signal
from pathlib import Path
import torch
from common import files
from training.checkpoint import Checkpoint
checkpoint = Checkpoint({}, path=Path("state"))
checkpoint.save({"step": 1})
def die(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)  # as if half of it had been written
    os.kill(os.getpid(), signal.SIGKILL)
files.flush_to_disk = die
checkpoint.save({"step": 2, "weights": torch.zeros(100_000)})
"""
    environment = os.environ | {"PYTHONPATH": str(STAGES)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, timeout=120)
    assert done.returncode == -signal.SIGKILL
    checkpoint = Checkpoint({}, path=tmp_path / "state")
    assert checkpoint.load() == {"step": 1}
    checkpoint.save({"step": 3})
    assert checkpoint.load() == {"step": 3}


def test_a_checkpoint_of_something_else_is_not_used_and_says_what_differs(
    checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint.fingerprint = {"recipe": "a", "images": "b", "code": "c"}
    checkpoint.save({"step": 1})
    checkpoint.fingerprint = {"recipe": "a", "images": "x", "code": "y"}
    assert checkpoint.load() is None
    assert "other images, code, so" in capsys.readouterr().err


@posix
def test_other_params_or_data_start_anew(trainings: Trainings) -> None:
    project = Project(trainings.path)
    assert interrupt(trainings) == -signal.SIGKILL
    project.change(recipes__quick__epochs=1)
    assert trainings.run() == [0]
    assert "other recipe, so training starts anew" in trainings.stderr()
    for name in ("labels", "keys"):
        interrupt(trainings)
        path = project.images / f"train_{name}.npy"
        np.save(path, np.load(path)[::-1])
        interrupt(trainings)
        assert f"other {name}, so training starts anew" in trainings.stderr()


@posix
def test_dropout_is_the_same_after_a_kill(validated: Trainings) -> None:
    project = Project(validated.path)
    network = {"name": "torchvision", "model": "squeezenet1_1", "pretrained": False}
    project.change(
        train__recipe="transfer",
        recipes__transfer__network=network,
        recipes__transfer__epochs=1,
        recipes__transfer__batch_size=50,
        recipes__transfer__augment__max_shift=2,
        recipes__transfer__precision="float32",
    )
    assert validated.run() == [0]
    undisturbed = validated.outputs()
    validated.remove_outputs()
    assert validated.run_until_saved([{}], 0, signal.SIGKILL) == [-signal.SIGKILL]
    assert validated.run() == [0]
    assert "resuming after epoch 0, step " in validated.stderr()
    assert validated.outputs() == undisturbed


@posix
def test_early_stopping_keeps_the_best_epoch(validated: Trainings) -> None:
    project = Project(validated.path)
    project.change(
        train__early_stopping=2,
        recipes__quick__epochs=40,
        recipes__quick__learning_rate=0.2,  # unsteady
        recipes__quick__schedule="constant",
    )
    assert validated.run() == [0]
    rows = [row.split(",") for row in (validated.path / OUTPUTS[1]).read_text().split()]
    losses = [float(row[rows[0].index("validation_loss")]) for row in rows[1:]]
    best = losses.index(min(losses))
    assert len(losses) in {best + 3, 40}
    assert described(project.model)["best_epoch"] == best + 1

    # Trained for exactly that long, without stopping, it has the same weights.
    model = safetensors.torch.load_file(project.model)
    project.change(train__early_stopping="never", recipes__quick__epochs=best + 1)
    assert validated.run() == [0]
    assert described(project.model)["best_epoch"] is None
    for name, weights in safetensors.torch.load_file(project.model).items():
        assert torch.equal(weights, model[name])
