"""Muon against torch's Muon and a double-precision SVD; its other part against torch's SGD."""

import copy

import pytest
import torch
from torch import Tensor, nn

from common.recipes import Recipe
from model.networks import build_network
from models import LENET, WHITENED, make_recipe
from training.optimizers import Muon, build_optimizer, orthogonalize


def muon_recipe(
    nesterov: bool = True, weight_decay: float = 0.0, precision: str = "float32", **changes: object
) -> Recipe:
    rest = {"learning_rate": 0.2, "momentum": 0.85, "weight_decay": weight_decay}
    muon = {"name": "muon", "momentum": 0.6, "nesterov": nesterov, "sgd": rest}
    return make_recipe(optimizer=muon, learning_rate=0.1, precision=precision, **changes)


def random_matrix(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(8, 8), (16, 60), (60, 16)])
def test_orthogonalize_keeps_the_directions_and_evens_out_the_sizes(shape: tuple[int, int]) -> None:
    matrix = random_matrix(*shape)
    left, _, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    inner = left.T @ orthogonalize(matrix, steps=5).double() @ right.T
    sizes = inner.diagonal()
    assert sizes.min() > 0.5
    assert sizes.max() < 1.4
    assert (inner - sizes.diag()).abs().max() < 1e-5


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_a_step_has_the_precision_of_the_recipe(precision: str, tolerance: float) -> None:
    gradient = random_matrix(16, 45)
    left, sizes, right = torch.linalg.svd(gradient.double(), full_matrices=False)
    sizes = sizes / sizes.norm()
    for _ in range(3):
        sizes = 3.4445 * sizes - 4.7750 * sizes**3 + 2.0315 * sizes**5
    weight = nn.Parameter(torch.eye(16, 45))  # of the norm it is brought to
    weight.grad = gradient.clone()
    Muon(muon_recipe(precision=precision, nesterov=False), {"conv.weight": weight}).step()
    error = (weight.detach() - (torch.eye(16, 45) - 0.1 * (left * sizes) @ right)).abs().max() / 0.1
    assert error < tolerance
    assert precision == "float32" or error > 1e-4


@pytest.mark.parametrize("nesterov", [True, False])
def test_filters_step_as_with_torchs_muon(nesterov: bool) -> None:
    ours, theirs = (nn.Parameter(random_matrix(16, 5, 3, 3)) for _ in range(2))
    matrix = nn.Parameter(theirs.detach().flatten(1).clone())
    optimizer = Muon(muon_recipe(nesterov=nesterov, precision="bfloat16"), {"conv.weight": ours})
    reference = torch.optim.Muon(
        [matrix],
        lr=0.1,
        weight_decay=0,
        momentum=0.6,
        nesterov=nesterov,
        ns_steps=3,
        adjust_lr_fn="original",
    )
    for step in range(1, 5):
        gradient = random_matrix(16, 5, 3, 3, seed=step)
        ours.grad, matrix.grad = gradient.clone(), gradient.flatten(1)
        with torch.no_grad():
            matrix.mul_(4 / matrix.norm())
        optimizer.step()
        reference.step()  # type: ignore[no-untyped-call]
        assert torch.allclose(ours.flatten(1), matrix, atol=5e-3)  # bfloat16


@pytest.mark.parametrize("nesterov", [True, False])
def test_the_rest_steps_as_with_torchs_sgd(nesterov: bool) -> None:
    ours, theirs = (nn.Parameter(random_matrix(10)) for _ in range(2))
    optimizer = Muon(muon_recipe(nesterov=nesterov, weight_decay=0.01), {"conv.bias": ours})
    reference = torch.optim.SGD(
        [theirs], lr=0.2, momentum=0.85, nesterov=nesterov, weight_decay=0.01
    )
    for step in range(1, 5):
        ours.grad, theirs.grad = (random_matrix(10, seed=step) for _ in range(2))
        optimizer.step()
        reference.step()
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_several_parameters_step_as_each_would_alone() -> None:
    """Two matrices have the same shape, and are orthogonalized in one batch."""
    shapes = [(16, 5, 3, 3), (60, 16), (16, 5, 3, 3), (16,)]
    together, apart = (
        {
            f"{n}.weight": nn.Parameter(random_matrix(*shape, seed=n))
            for n, shape in enumerate(shapes)
        }
        for _ in range(2)
    )
    optimizers = [
        Muon(muon_recipe(), together),
        *(Muon(muon_recipe(), {name: weight}) for name, weight in apart.items()),
    ]
    for step in range(3):
        for n, weight in enumerate([*together.values(), *apart.values()]):
            weight.grad = random_matrix(*weight.shape, seed=10 * step + n % len(shapes))
        for optimizer in optimizers:
            optimizer.step()
    for name in together:
        assert torch.allclose(together[name], apart[name], atol=1e-6), name


def test_muon_steps_filters_and_hidden_matrices_but_not_the_last_layer() -> None:
    recipe = muon_recipe()
    network = build_network(recipe, 32, 10)
    names = {weight: name for name, weight in network.named_parameters()}
    groups = Muon(recipe, dict(network.named_parameters())).param_groups
    matrices, rest = ([names[weight] for weight in group["params"]] for group in groups)
    assert matrices == ["conv1.weight", "conv2.weight", "linear1.weight", "linear2.weight"]
    assert rest == [
        "conv1.bias",
        "conv2.bias",
        "linear1.bias",
        "linear2.bias",
        "output.weight",
        "output.bias",
    ]


@pytest.mark.parametrize("kind", ["sgd", "adamw", "muon"])
@pytest.mark.parametrize("network", [LENET, WHITENED], ids=["lenet", "whitened"])
def test_a_resumed_optimizer_steps_as_if_it_had_not_been_interrupted(
    kind: str, network: dict[str, object]
) -> None:
    optimizers = {
        "sgd": {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.0005},
        "adamw": {"name": "adamw", "momentum": 0.9, "weight_decay": 0.0005},
        "muon": muon_recipe().optimizer.model_dump(),
    }
    chosen = make_recipe(network=network, optimizer=optimizers[kind], learning_rate=0.01)

    def steps(network: nn.Module, optimizer: torch.optim.Optimizer, seeds: range) -> None:
        for seed in seeds:
            optimizer.zero_grad()
            network(random_matrix(4, 3, 32, 32, seed=seed)).square().sum().backward()
            optimizer.step()

    undisturbed = build_network(chosen, 32, 10)
    first = build_optimizer(chosen, undisturbed)
    steps(undisturbed, first, range(2))
    weights = {name: tensor.clone() for name, tensor in undisturbed.state_dict().items()}
    resumed = build_network(chosen, 32, 10, seed=1)
    resumed.load_state_dict(weights)
    second = build_optimizer(chosen, resumed)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    steps(undisturbed, first, range(2, 4))
    steps(resumed, second, range(2, 4))
    for name, tensor in undisturbed.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
