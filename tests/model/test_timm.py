"""Networks of timm: built, checked, trained, saved, loaded, and never fetched."""

import socket
from pathlib import Path
from typing import Any, cast

import pytest
import safetensors.torch
import torch

from common import network_options
from common.network_options import Timm
from common.params import load_params
from helpers import refused
from model.classifier import Classifier
from model.file import load_classifier, save_classifier
from model.networks import build_network, last_layer_tensors
from models import (
    make_description,
    make_recipe,
    needs_timm,
    random_images,
    rewrite,
    timm,
)
from project import Project
from train import prepare
from training.batches import TrainingData
from training.distributed import ProcessGroup
from training.features import Head, check_only_layer
from training.initial_weights import set_initial_weights
from training.loop import train_step
from training.table import check_image_sizes, layer_table

HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", connect)


def check(model: str, pretrained: bool | str = False) -> None:
    Timm(name="timm", model=model, pretrained=pretrained).check(32)


def classifier_of(model: str, size: int = 32, seed: int = 4) -> Classifier:
    recipe = make_recipe(network=timm(model))
    return Classifier(make_description(recipe, image_size=size, seed=seed))


def test_without_timm_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_options, "find_spec", lambda _: None)
    assert refused(lambda: check("resnet18")) == (
        "network.name is 'timm', which is not installed; install it by pip install -e '.[timm]', "
        "or choose torchvision"
    )


@needs_timm
@pytest.mark.parametrize("model", ["resnet18", "resnet18.a1_in1k", "vit_tiny_patch16_224"])
def test_names_with_and_without_a_tag_are_taken(model: str) -> None:
    check(model)
    check(model, "weights.pth")


@needs_timm
@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("resnet19", "did you mean 'resnet18'"),
        ("ResNet18", "did you mean 'resnet18'"),
        ("resnet18.a9_in1k", "did you mean 'resnet18."),
        ("hf-hub:timm/resnet18.a1_in1k", ""),
        ("local-dir:resnet18", ""),
        ("../resnet18", ""),
        ("", ""),
    ],
)
def test_other_names_are_refused(model: str, hint: str) -> None:
    line = refused(lambda: check(model))
    assert line.startswith(f"network.model is {model!r}, which timm does not have; {hint}")
    assert "list_models" in line


@needs_timm
def test_weights_are_not_downloaded_but_their_page_is_named() -> None:
    line = refused(lambda: check("resnet18.a1_in1k", True))
    assert (
        "download model.safetensors from https://huggingface.co/timm/resnet18.a1_in1k and" in line
    )
    assert line.endswith("set pretrained to its path, or to false")


@needs_timm
def test_the_network_is_the_one_that_timm_draws_itself() -> None:
    import timm as library

    torch.manual_seed(5)
    theirs = library.create_model("test_resnet", num_classes=4).eval()
    ours = build_network(make_recipe(network=timm("test_resnet")), 64, 4, seed=5).eval()
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(ours(images), theirs(images))


@needs_timm
def test_a_transformer_is_built_for_the_images_size() -> None:
    network = build_network(make_recipe(network=timm("vit_tiny_patch16_224")), 48, 3)
    assert network.get_parameter("pos_embed").shape == (1, 1 + 3 * 3, 192)
    assert network(torch.zeros(2, 3, 48, 48)).shape == (2, 3)


@needs_timm
def test_a_size_that_a_network_does_not_take_is_one_line() -> None:
    classifier = classifier_of("test_vit", 8)  # its patches have 16
    recipe = classifier.description.recipe
    line = refused(lambda: check_image_sizes(classifier.network, recipe, 8))
    assert line.startswith("timm's test_vit does not take images of 8 pixels (")
    assert "; it is published for 160; choose another download.image_size" in line


@needs_timm
@pytest.mark.parametrize(
    ("model", "last"),
    [
        ("test_efficientnet", "classifier"),
        ("test_resnet", "fc"),
        ("test_vit", "head"),
        ("test_convnext", "head.fc"),
        ("test_byobnet", "head.fc"),
    ],
)
def test_a_network_of_each_family_is_trained_saved_loaded_and_predicts(
    model: str, last: str, tmp_path: Path
) -> None:
    classifier = classifier_of(model)
    images = torch.from_numpy(random_images(4, 32))
    before = classifier.eval()(images)
    classifier.train()(images)[:, 1].sum().backward()
    torch.optim.SGD(classifier.parameters(), 0.1).step()
    save_classifier(classifier, tmp_path / "model.safetensors")
    loaded = load_classifier(tmp_path / "model.safetensors").eval()
    logits = classifier.eval()(images)
    assert torch.equal(loaded(images), logits)
    assert not torch.equal(logits, before)

    description = classifier.description
    found = last_layer_tensors(description.recipe, 32, 3)
    assert found == {f"{last}.weight", f"{last}.bias"}
    head = Head(classifier)
    check_only_layer(head)
    assert head.network is classifier.network.get_submodule(last)
    assert last.partition(".")[0] in layer_table(classifier.network, 32)


@needs_timm
@pytest.mark.parametrize(("model", "size"), [("coat_lite_tiny", 32), ("pit_ti_224", 64)])
def test_networks_with_ways_of_their_own_can_be_loaded(
    model: str, size: int, tmp_path: Path
) -> None:
    """Layers of coat share tensors, and those of pit return several."""
    classifier = classifier_of(model, size).eval()
    images = torch.from_numpy(random_images(1, size))
    assert "total" in layer_table(classifier.network, size)
    save_classifier(classifier, tmp_path / "model.safetensors")
    loaded = load_classifier(tmp_path / "model.safetensors").eval()
    assert torch.equal(loaded(images), classifier(images))


@needs_timm
def test_the_mean_of_two_heads_is_no_head_to_train() -> None:
    head = Head(classifier_of("levit_128s", 64))
    line = refused(lambda: check_only_layer(head))
    assert "with tensors head.linear.bias, head.linear.weight, head_dist.linear.bias, " in line


@needs_timm
@pytest.mark.parametrize(("model", "right"), [("test_vit", HALF), ("test_efficientnet", IMAGENET)])
def test_weights_from_a_file_need_the_normalisation_that_they_are_for(
    model: str, right: dict[str, list[float]], tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    theirs = classifier_of(model, seed=9).network.state_dict()
    theirs = {name: tensor.contiguous() for name, tensor in theirs.items()}
    safetensors.torch.save_file(theirs, path)
    for normalize in (HALF, IMAGENET):
        recipe = make_recipe(network=timm(model, str(path)), normalize=normalize)
        classifier = Classifier(make_description(recipe, image_size=32))

        def load(classifier: Classifier = classifier) -> None:
            set_initial_weights(classifier, cast(TrainingData, None), ProcessGroup())

        if normalize == right:
            load()
            found = classifier.network.state_dict()
            assert all(torch.equal(found[name], theirs[name]) for name in theirs)
        else:
            assert refused(load) == (
                f"normalize has mean {normalize['mean']} and std {normalize['std']}, but timm's "
                f"{model} was trained with {right['mean']} and {right['std']}; set normalize: "
                f"{{mean: {right['mean']}, std: {right['std']}}}"
            )


@needs_timm
@pytest.mark.parametrize("name", ["hf-hub:timm/resnet18", "local-dir:.", "test_resnet.", "os"])
def test_a_model_file_names_networks_of_timm_alone(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_classifier(classifier_of("test_resnet"), path)
    rewrite(path, lambda _, description: description["recipe"].update(network=timm(name)))
    line = refused(lambda: load_classifier(path))
    assert line.startswith(
        f"{path}: its recipe is not valid: network.model is {name!r}, which timm"
    )


@needs_timm
def test_the_train_stage_takes_it(prepared: Project) -> None:
    prepared.change(recipes__quick__network=timm("test_efficientnet"), recipes__quick__epochs=1)
    prepared.call("train")
    assert load_classifier(prepared.model).description.recipe.network.name == "timm"


@needs_timm
def test_dropout_depends_on_seed_and_step_alone(prepared: Project) -> None:
    """So that a resumed training drops what an undisturbed one does."""
    prepared.change(recipes__quick__network=timm("ghostnet_050"))
    losses = []
    for noise in (0, 1):
        setup, state, _ = prepare(load_params(), ProcessGroup(), torch.device("cpu"))
        setup.trained.train()
        torch.manual_seed(noise)
        train_step(setup, state, torch.arange(8), cast(Any, lambda images, _: images))
        losses.append(state.sums.losses[0].item())
    assert losses[0] == losses[1]
