"""Optimizers without torch's compiler take the steps of torch's own, and do not import it."""

import os
import subprocess
import sys
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from helpers import STAGES
from training import eager

OPTIONS = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "AdamW": {"lr": 0.1, "weight_decay": 0.01},
}
# Four steps, as training takes them, in a process that has not imported the compiler yet.
PROGRAM = """
import sys
import torch
from training import eager
weight = torch.nn.Parameter(torch.ones(2, 3))
optimizer = getattr(eager, sys.argv[1])([weight], lr=0.1, fused=True)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=4)
for _ in range(4):
    optimizer.zero_grad()
    weight.square().sum().backward()
    optimizer.step()
    schedule.step()
optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize(("ours", "theirs"), [("Sgd", "SGD"), ("AdamW", "AdamW")])
def test_steps_are_those_of_torch_s_optimizer_and_the_states_are_exchangeable(
    ours: str, theirs: str
) -> None:
    torch.manual_seed(0)
    networks = [nn.Linear(5, 3)]
    networks.append(deepcopy(networks[0]))
    kinds = [getattr(eager, ours), getattr(torch.optim, theirs)]
    optimizers = [
        kind(network.parameters(), **OPTIONS[theirs], fused=True)
        for kind, network in zip(kinds, networks, strict=True)
    ]
    schedules = [OneCycleLR(optimizer, 0.1, total_steps=10) for optimizer in optimizers]
    for step in range(9):
        if step == 5:  # each goes on with the state of the other
            states = [deepcopy(optimizer.state_dict()) for optimizer in optimizers]
            for optimizer, state in zip(optimizers, reversed(states), strict=True):
                optimizer.load_state_dict(state)
        images = torch.randn(7, 5)
        for network, optimizer, schedule in zip(networks, optimizers, schedules, strict=True):
            optimizer.zero_grad()
            network(images).square().mean().backward()
            optimizer.step()
            schedule.step()
        assert all(map(torch.equal, *(network.parameters() for network in networks)))


@pytest.mark.parametrize("optimizer", ["Sgd", "AdamW"])
def test_the_compiler_is_not_imported(optimizer: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, optimizer],
        cwd=STAGES,
        env=os.environ | {"PYTHONPATH": str(STAGES)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
