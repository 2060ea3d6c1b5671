"""What a recipe's precision and test-time augmentation do to a classifier."""

import numpy as np
import pytest
import scipy.special
import torch
from torch.nn.functional import cross_entropy

from common.recipes import Recipe
from model.classifier import Classifier
from model.device import settle_precision
from model.views import views
from models import make_description, make_recipe

IMAGES = torch.randint(
    0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def build(**changes: object) -> Classifier:
    network = {"name": "whitened", "channels": [24, 32], "kernel_size": 3}
    recipe = Recipe.model_validate({**make_recipe().model_dump(), "network": network, **changes})
    return Classifier(make_description(recipe))


@pytest.mark.parametrize(("kind", "count"), [("none", 1), ("mirror", 2), ("mirror_shift", 6)])
def test_average_of_images_in_doubt_is_the_mean_over_the_views(kind: str, count: int) -> None:
    classifier = build(test_time_augmentation=kind).eval()
    seen = list(views(IMAGES, classifier.test_time_augmentation))
    assert len(seen) == count
    wanted = sum(classifier(view).double() for view in seen) / count
    assert torch.allclose(classifier.average(IMAGES).double(), torch.as_tensor(wanted), atol=1e-6)


def test_images_that_leave_no_doubt_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = build(test_time_augmentation="mirror_shift").eval()
    plain = classifier(IMAGES)
    highest = np.sort(scipy.special.softmax(plain.detach().double().numpy(), axis=1))
    margins = highest[:, -1] - highest[:, -2]
    limit = float(np.median(margins))
    monkeypatch.setattr("model.classifier.DOUBT", limit)
    seen: list[int] = []
    classifier.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    found = classifier.average(IMAGES).double()
    assert seen == [6, 3, 3, 3, 3, 3]
    every = sum(classifier(view).double() for view in views(IMAGES, "mirror_shift")) / 6
    doubtful = torch.from_numpy(margins < limit)
    expected = torch.where(doubtful[:, None], every, plain.double())
    assert torch.allclose(found, expected, atol=1e-6)
    assert not torch.allclose(found, torch.as_tensor(every), atol=1e-4)


def test_without_doubt_no_further_view_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.classifier.DOUBT", 0.0)
    classifier = build(test_time_augmentation="mirror").eval()
    expected = classifier(IMAGES)
    seen: list[int] = []
    classifier.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    assert torch.equal(classifier.average(IMAGES), expected)
    assert seen == [len(IMAGES)]


def test_bfloat16_is_near_float32_and_not_the_same() -> None:
    exact, rough = (
        build(precision=precision).eval()(IMAGES) for precision in ("float32", "bfloat16")
    )
    assert exact.dtype == rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    assert torch.allclose(exact, rough, atol=0.05 * float(exact.detach().abs().max()))


def test_bfloat16_trains_float32_weights() -> None:
    classifier = build(precision="bfloat16")
    loss = cross_entropy(classifier(IMAGES), torch.tensor([0, 1, 2, 0, 1, 2]), label_smoothing=0.2)
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
    auto = make_recipe(precision="auto")
    assert settle_precision(auto, torch.device(device)).precision == expected
    for chosen in ("float32", "bfloat16"):
        recipe = make_recipe(precision=chosen)
        assert settle_precision(recipe, torch.device(device)).precision == chosen
