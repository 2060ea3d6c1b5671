"""What a recipe's choices do to a classifier, and which do not go together."""

import re
from pathlib import Path

import pytest
import torch
from helpers import ROOT, write_params
from torch.nn.functional import cross_entropy

from common.errors import UserError
from common.params import load_params
from common.recipes import Recipe
from model.classifier import Classifier, Description
from model.device import settle_precision
from model.views import views

RECIPES = load_params(ROOT / "params.yaml").recipes


def build(recipe: Recipe) -> Classifier:
    return Classifier(
        Description(
            dataset="none",
            classes=list("abcd"),
            image_size=16,
            recipe_name="some",
            recipe=recipe,
            seed=0,
            processes=1,
            threads=1,
            torch="",
        )
    )


def small(**changes: object) -> Recipe:
    return RECIPES["accurate"].model_copy(
        update={"channels": [24, 32], "train_sizes": None, **changes}
    )


IMAGES = torch.randint(
    0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


@pytest.mark.parametrize(("kind", "count"), [("none", 1), ("mirror", 2), ("mirror_shift", 6)])
def test_average_is_the_mean_over_the_views(kind: str, count: int) -> None:
    classifier = build(small(test_time_averaging=kind, precision="float32")).eval()
    seen = views(IMAGES, kind)
    assert len(seen) == count
    wanted = sum(classifier(view).double() for view in seen) / count
    assert torch.allclose(classifier.average(IMAGES).double(), torch.as_tensor(wanted), atol=1e-6)


def test_bfloat16_is_near_float32_and_not_the_same() -> None:
    exact, rough = (
        build(small(precision=precision)).eval()(IMAGES) for precision in ("float32", "bfloat16")
    )
    assert exact.dtype == rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    assert torch.allclose(exact, rough, atol=0.05 * float(exact.detach().abs().max()))


def test_bfloat16_trains_float32_weights() -> None:
    classifier = build(small(precision="bfloat16"))
    loss = cross_entropy(classifier(IMAGES), torch.tensor([0, 1, 2, 3, 0, 1]), label_smoothing=0.2)
    loss.backward()  # type: ignore[no-untyped-call]
    for name, weight in classifier.network.named_parameters():
        assert weight.dtype == torch.float32
        assert not weight.requires_grad or (
            weight.grad is not None and weight.grad.isfinite().all()
        ), name


@pytest.mark.parametrize(
    ("has", "device", "expected"),
    [
        ("avx512_bf16", "cpu", "bfloat16"),
        ("amx_tile", "cpu", "bfloat16"),
        ("avx2", "cpu", "float32"),
        ("", "mps", "float32"),
    ],
)
def test_auto_is_bfloat16_where_the_processor_computes_in_it(
    has: str, device: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for feature in ("avx512_bf16", "amx_tile"):
        monkeypatch.setattr(
            torch.cpu, f"_is_{feature}_supported", lambda feature=feature: feature == has
        )
    assert settle_precision(small(precision="auto"), torch.device(device)).precision == expected
    for chosen in ("float32", "bfloat16"):
        assert settle_precision(small(precision=chosen), torch.device(device)).precision == chosen


WHITENED = "accurate"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("quick", {"kernel_size": 20}, "leave nothing of"),
        (
            "quick",
            {"train_sizes": [16, 32]},
            "'lenet' takes one size of picture only: make it null",
        ),
        (
            "quick",
            {"crop_padding": 32},
            "crop_padding is 32; it must be less than download.image_size, 32",
        ),
        ("quick", {"momentum": 0.0}, "nesterov is true with optimizer sgd and momentum 0.0"),
        ("quick", {"optimizer": "adamw"}, "nesterov is true with optimizer adamw"),
        (
            "quick",
            {"optimizer": "muon"},
            "sgd_learning_rate is None and sgd_momentum None with optimizer muon",
        ),
        (
            "quick",
            {"sgd_momentum": 0.5},
            "sgd_momentum 0.5 with optimizer sgd; only muon has them: make them null",
        ),
        (WHITENED, {"kernel_size": 4}, "kernel_size is 4; the network 'whitened' needs an odd one"),
        (
            WHITENED,
            {"hidden": [10]},
            "hidden is [10]; the network 'whitened' has no linear layers but the last",
        ),
        (
            WHITENED,
            {"batch_size": 2},
            "batch_size or micro_batch is 2; batch norm in the network 'whitened' needs 3",
        ),
        (WHITENED, {"micro_batch": 1}, "batch_size or micro_batch is 1"),
        (
            WHITENED,
            {"channels": [8] * 6},
            "choose fewer channels ([8, 8, 8, 8, 8, 8] makes 6 groups)",
        ),
        (WHITENED, {"train_sizes": [8, 32]}, "of 8 pixels"),
        (WHITENED, {"train_sizes": [16, 40]}, "it must not go beyond download.image_size, 32"),
        (WHITENED, {"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        (
            WHITENED,
            {"flip": "alternating"},
            "did you mean 'alternate'? choose from none, random, alternate",
        ),
        (WHITENED, {"precision": "float16"}, "did you mean 'bfloat16'?"),
        (WHITENED, {"micro_batch": 0}, "micro_batch is 0"),
        (
            WHITENED,
            {"pretrained": True},
            "for the network 'whitened' there are no such weights: make it false",
        ),
        (
            WHITENED,
            {"channels": []},
            "channels is [], kernel_size 3; the network 'whitened' needs both",
        ),
        ("quick", {"kernel_size": None}, "kernel_size None; the network 'lenet' needs both"),
        (
            "transfer",
            {"optimizer": "muon"},
            "which is for lenet and whitened; for resnet18 choose sgd",
        ),
        (
            "quick",
            {"network": "resnet18"},
            "torchvision's resnet18 has its own: make them [], null and []",
        ),
        (
            "transfer",
            {"network": "resnet19"},
            "network is 'resnet19'; did you mean 'resnet18'? choose from lenet",
        ),
        (
            "transfer",
            {"network": "fasterrcnn_resnet50_fpn"},
            "network is 'fasterrcnn_resnet50_fpn'",
        ),  # detects
    ],
)
def test_a_combination_that_cannot_work_is_one_line(
    tmp_path: Path, name: str, changes: dict[str, object], message: str
) -> None:
    write_params(tmp_path, {"train": {"recipe": name}, "recipes": {name: changes}})
    with pytest.raises(UserError, match=re.escape(message)) as error:
        load_params(tmp_path / "params.yaml")
    assert f"recipes.{name}" in str(error.value)
    assert "\n" not in str(error.value)
