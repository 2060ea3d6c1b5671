"""Groups that are frozen in mid-run keep their weights, whoever trains and however disturbed."""

import os
import signal
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from common.params import load_params
from helpers import refused, wait_until
from model.networks import build_network
from models import WHITENED, make_recipe
from project import Project
from training import loop
from training.freezing import freeze_groups
from trainings import Trainings, posix, ranks

SMALL: dict[str, Any] = {
    "train__recipe": "accurate",
    "recipes__accurate__network__channels": [16, 32],
    "recipes__accurate__progressive_resizing": None,
    "recipes__accurate__precision": "float32",
    "recipes__accurate__batch_size": 100,
    "recipes__accurate__micro_batch": 25,
    "recipes__accurate__optimizer__sgd__learning_rate": 3.0,
    "recipes__accurate__epochs": 3,
    "recipes__accurate__freeze": [0.3, 0.6],
}


def test_a_group_learns_until_its_share_of_the_epochs_is_over(
    prepared: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: list[dict[str, Tensor]] = []
    finish = loop.finish_epoch

    def note_weights(setup: loop.Setup, state: Any) -> None:
        finish(setup, state)
        weights.append({k: v.clone() for k, v in state.network.state_dict().items()})

    monkeypatch.setattr(loop, "finish_epoch", note_weights)
    prepared.change(**SMALL)
    prepared.call("train")
    learnt = {name for name in weights[0] if name.endswith((".weight", ".bias"))}
    learnt -= {"whiten.weight", *(name for name in learnt if "norm" in name and "weight" in name)}
    for group, last in (("1", 1), ("2", 2), ("output", 3)):
        names = {name for name in learnt if group in name.split(".")[0]}
        assert len(names) == (1 if group == "output" else 4)
        for epoch in (2, 3):
            before, after = weights[epoch - 2], weights[epoch - 1]
            for name in names:
                assert torch.equal(before[name], after[name]) == (epoch > last), (name, epoch)
    # Batch norm still follows the images, which progressive resizing may enlarge.
    assert not torch.equal(weights[1]["norm1a.running_mean"], weights[2]["norm1a.running_mean"])


@posix
@pytest.mark.parametrize("processes", [1, 2])
def test_a_frozen_training_resumes_in_the_same_bytes(trainings: Trainings, processes: int) -> None:
    """It is killed in each epoch: when nothing, the first group, and both groups are frozen."""

    def environments() -> list[dict[str, str]]:
        return ranks(2) if processes == 2 else [{}]

    Project(trainings.path).change(**SMALL)
    assert trainings.run(environments()) == [0] * processes, trainings.stderr(0)
    undisturbed = trainings.outputs()
    trainings.remove_outputs()
    assert trainings.run_until_saved(environments(), 0, signal.SIGKILL)[0] == -signal.SIGKILL
    for epoch in (1, 2):
        (trainings.path / "stdout.0").unlink()
        running = trainings.start(environments())
        wait_until(partial(has_ended, trainings, epoch))
        wait_until(partial(has_saved_after, trainings, trainings.saved))
        os.kill(running[0], signal.SIGKILL)
        assert trainings.wait()[0] == -signal.SIGKILL
    assert trainings.run(environments()) == [0] * processes
    assert "resuming after epoch 2, step " in trainings.stderr(0)
    assert trainings.outputs() == undisturbed
    assert [trainings.stdout(rank) for rank in range(1, processes)] == [""] * (processes - 1)
    assert [trainings.stderr(rank) for rank in range(1, processes)] == [""] * (processes - 1)


def has_ended(trainings: Trainings, epoch: int) -> bool:
    path = trainings.path / "stdout.0"
    return path.exists() and f"epoch {epoch}: " in path.read_text()


def has_saved_after(trainings: Trainings, moment: int) -> bool:
    return trainings.saved > moment


@pytest.mark.parametrize(
    ("share", "epochs", "first"),
    [(0.5, 10, 6), (0.29, 100, 30), (1.0, 3, 4), (0.3, 3, 2), (0.1, 2, 2)],
)
def test_a_share_is_in_whole_epochs(share: float, epochs: int, first: int) -> None:
    """0.29 of 100 is less than 29 in binary fractions."""
    recipe = make_recipe(network=WHITENED, epochs=epochs, freeze=[share])
    built = build_network(recipe, 16, 3)
    frozen = []
    for epoch in range(1, epochs + 2):
        freeze_groups(built, recipe, epoch)
        frozen.append(not built.get_parameter("conv1b.weight").requires_grad)
    assert frozen.index(True) + 1 == first
    assert built.get_parameter("conv2a.weight").requires_grad


@pytest.mark.parametrize(
    ("recipe", "shares", "words"),
    [
        ("accurate", [0.5] * 4, "one share per group of convolutions, but network whitened has 3"),
        ("quick", [0.5], "one share per group of convolutions, but network lenet has 0"),
        ("accurate", [0.8, 0.5], "sort the shares"),
        ("accurate", [0.0], "greater than 0"),
        ("frozen", [0.5], "freeze is not possible with trainable 'head'"),
    ],
)
def test_what_cannot_be_frozen_is_refused(
    project: Project, recipe: str, shares: list[float], words: str
) -> None:
    project.change(**{"train__recipe": recipe, f"recipes__{recipe}__freeze": shares})
    line = refused(load_params)
    assert "freeze" in line
    assert words in line
