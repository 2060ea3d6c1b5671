"""Training of the last layer alone: the rest stays as it is, and scikit-learn ends at the same."""

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch import Tensor, nn

from common.arrays import load_images
from common.params import load_params
from helpers import refused
from model.classifier import Classifier
from model.file import load_classifier
from models import make_description, make_recipe, random_images, torchvision
from project import Project
from training import features
from training.augment import augment_epoch
from training.batches import split_data
from training.distributed import ProcessGroup
from training.features import Head, compute_features, freeze, last_layer
from trainings import Trainings, described, posix, ranks

DECAY = 0.01


@pytest.fixture
def head(prepared: Project) -> Project:
    """The digits, whose last layer is trained for long, by whole batches."""
    prepared.change(
        train__validation_fraction=0.25,
        recipes__quick__trainable="head",
        recipes__quick__optimizer={
            "name": "sgd",
            "momentum": 0.9,
            "nesterov": True,
            "weight_decay": DECAY,
        },
        recipes__quick__learning_rate=2.0,
        recipes__quick__epochs=400,
        recipes__quick__batch_size=5000,
    )
    return prepared


def features_by_hand(classifier: Classifier, indices: Tensor, flip: bool = False) -> Tensor:
    """Return what all layers but the last compute, by a network that lacks the last."""
    images = torch.from_numpy(load_images("train").images.read(indices.tolist()))
    layers = nn.Sequential(*list(classifier.network.children())[:-1])
    with torch.inference_mode():
        found: Tensor = layers(classifier.normalize(images.flip(3) if flip else images))
    return found


def test_the_last_layer_is_what_logistic_regression_finds(head: Project) -> None:
    """Its C is the inverse of the weight decay per image; it does not penalise the bias, so that
    the losses differ a little.
    """
    head.call("train")
    data = split_data(load_images("train"), load_params().train)
    classifier = load_classifier(head.model).eval()
    x, y = features_by_hand(classifier, data.train), data.labels[data.train].numpy()
    regression = LogisticRegression(C=1 / (DECAY * len(y)), max_iter=5000, tol=1e-6).fit(x, y)
    row = pd.read_csv(head.reports / "history.csv").iloc[-1]
    expected = log_loss(y, regression.predict_proba(x))
    assert row["train_loss"] == pytest.approx(expected, abs=1e-2)
    assert row["train_accuracy"] == pytest.approx(100 * regression.score(x, y), abs=1)
    held_out = features_by_hand(classifier, data.validation)
    truth = data.labels[data.validation].numpy()
    assert row["validation_accuracy"] == pytest.approx(
        100 * regression.score(held_out, truth), abs=1.5
    )


def test_all_other_weights_are_the_initial_ones_and_the_file_is_whole(head: Project) -> None:
    head.change(recipes__quick__epochs=50)
    for stage in ("preview", "train", "test_sample", "evaluate"):
        head.call(stage)
    trained = safetensors.torch.load_file(head.model)
    initial = Classifier(load_classifier(head.model).description).network.state_dict()
    changed = {name for name in initial if not torch.equal(trained[name], initial[name])}
    assert changed == {"output.weight", "output.bias"}
    assert described(head.model)["recipe"]["trainable"] == "head"
    assert described(head.model)["temperature"] != 1.0


def test_features_are_of_both_mirror_images(head: Project) -> None:
    data = split_data(load_images("train"), load_params().train)
    recipe = make_recipe(
        trainable="head",
        views=2,
        augment={"max_shift": 0, "flip": "alternate"},
        test_time_augmentation="mirror",
    )
    classes = load_images("train").dataset.classes
    classifier = Classifier(make_description(recipe, classes=classes, image_size=32))
    found = torch.from_numpy(
        compute_features(classifier, data, ProcessGroup()).read(range(len(data.labels)))
    )
    assert found.shape == (len(data.labels), 2, 84)
    by_flip = torch.stack(
        [features_by_hand(classifier, data.train, flip) for flip in (False, True)], dim=1
    )
    # Half of the images begin with their mirror images.
    swapped = (found[data.train] - by_flip).abs().amax(dim=(1, 2)) > 1e-4
    assert 0.4 < swapped.float().mean() < 0.6
    expected = torch.where(swapped[:, None, None], by_flip.flip(1), by_flip)
    torch.testing.assert_close(found[data.train], expected, rtol=0, atol=1e-5)
    both = [features_by_hand(classifier, data.validation, flip) for flip in (False, True)]
    torch.testing.assert_close(found[data.validation], torch.stack(both, dim=1), rtol=0, atol=1e-5)
    images = torch.from_numpy(data.images.read(data.validation.tolist()))
    with torch.inference_mode():
        expected = classifier.eval().average(images)
        assert not torch.allclose(classifier(images), expected, atol=1e-4)
        validated = Head(classifier).average(found[data.validation])
    torch.testing.assert_close(validated, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", ["resnet18", "mobilenet_v3_small", "efficientnet_b0"])
def test_batch_norm_keeps_its_statistics_and_the_head_gives_the_logits(model: str) -> None:
    network = torchvision(model)
    classifier = Classifier(make_description(make_recipe(network=network), image_size=32)).train()
    layer, head = last_layer(classifier), Head(classifier)
    images = torch.from_numpy(random_images(3, 32))
    classifier.eval()
    with features.recorded_inputs(layer) as inputs, torch.inference_mode():
        logits = classifier(images)
        torch.testing.assert_close(head(inputs[0]), logits)
    assert inputs[0].shape == (3, layer.in_features)


def test_a_network_without_a_linear_last_layer_is_refused() -> None:
    network = torchvision("squeezenet1_1")
    classifier = Classifier(make_description(make_recipe(network=network), image_size=64))
    assert "has no linear last layer; choose trainable: all" in refused(lambda: Head(classifier))


def test_features_that_are_large_are_in_a_file_and_give_the_same_bytes(
    head: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    head.change(
        recipes__quick__epochs=3,
        recipes__quick__views=2,
        recipes__quick__augment={"max_shift": 2, "flip": "random", "rotation": 10.0},
    )
    head.call("train")
    in_memory, files = head.model.read_bytes(), set(head.model.parent.iterdir())
    monkeypatch.setattr(features, "MOST_BYTES", 1000)
    assert isinstance(features.allocate((3, 2, 84)), np.memmap)
    head.call("train")
    assert head.model.read_bytes() == in_memory
    assert set(head.model.parent.iterdir()) == files


def test_epochs_take_the_augmented_views_in_turn(head: Project) -> None:
    data = split_data(load_images("train"), load_params().train)
    recipe = make_recipe(
        trainable="head", views=3, augment={"max_shift": 3, "flip": "none", "brightness": 0.5}
    )
    classes = load_images("train").dataset.classes
    classifier = Classifier(make_description(recipe, classes=classes, image_size=32))
    found = torch.from_numpy(
        compute_features(classifier, data, ProcessGroup()).read(range(len(data.labels)))
    )
    everything = recipe.model_copy(update={"trainable": "all", "views": 1})
    seed = classifier.description.seed
    batch, layers = data.train[:7], nn.Sequential(*list(classifier.network.children())[:-1])
    images = torch.from_numpy(data.images.read(batch.tolist()))
    for epoch in range(1, 8):
        first = (epoch - 1) % 3 + 1  # epoch, in which trainable all augments in this way
        augment = augment_epoch(everything, len(data.labels), seed, first)
        expected = layers(classifier.normalize(augment(images, batch)))
        chosen = augment_epoch(recipe, len(data.labels), seed, epoch)(found[batch], batch)
        torch.testing.assert_close(chosen, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"views": 2}, "no augmentation; remove it"),
        ({"views": 2, "trainable": "all"}, "and this recipe has trainable 'all'"),
        (
            {
                "optimizer": {
                    "name": "muon",
                    "momentum": 0.6,
                    "nesterov": True,
                    "sgd": {"learning_rate": 1.0, "momentum": 0.9, "weight_decay": 0.0},
                }
            },
            "optimizer.name muon is not possible with trainable 'head'",
        ),
    ],
)
def test_what_cannot_be_done_to_features_is_refused(
    head: Project, change: dict[str, object], words: str
) -> None:
    head.change(**{f"recipes__quick__{key}": value for key, value in change.items()})
    assert words in refused(load_params)


def test_with_trainable_all_nothing_is_replaced(prepared: Project) -> None:
    data = split_data(load_images("train"), load_params().train)
    classifier = Classifier(make_description())
    assert freeze(classifier, data, ProcessGroup()) == (classifier, data)


@posix
@pytest.mark.parametrize("world_size", [1, 2])
def test_a_killed_training_resumes_and_ends_in_the_same_bytes(
    trainings: Trainings, world_size: int
) -> None:
    Project(trainings.path).change(
        train__validation_fraction=0.1,
        recipes__quick__trainable="head",
        recipes__quick__views=3,
        recipes__quick__augment={"max_shift": 1, "flip": "random", "crop": 0.5},
        recipes__quick__epochs=20,
    )
    assert trainings.run(ranks(world_size)) == [0] * world_size
    undisturbed = trainings.outputs()
    trainings.remove_outputs()
    trainings.run_until_saved(ranks(world_size), 0, 15)
    assert trainings.run(ranks(world_size)) == [0] * world_size
    assert "resuming after epoch" in trainings.stderr()
    assert trainings.outputs() == undisturbed
    assert np.isfinite(pd.read_csv(trainings.path / "reports/history.csv")).all(axis=None)
