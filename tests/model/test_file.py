"""The model file holds all that is needed to use it, runs nothing, and a wrong one is refused."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from helpers import refused
from model.classifier import Classifier
from model.file import METADATA_KEY, load_classifier, save_classifier
from models import (
    CLASSES,
    load_elsewhere,
    make_description,
    make_recipe,
    random_images,
    rewrite,
    sign,
    torchvision,
)
from project import Project


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good model file."""
    path = tmp_path / "classifier.safetensors"
    save_classifier(Classifier(make_description()), path)
    return path


def refusal(path: Path) -> str:
    """Return the one line with which a model file is refused; it names the file and the way out."""
    message = refused(lambda: load_classifier(path))
    assert message.startswith(f"{path}: ")
    assert "train" in message
    return message


def logits(classifier: Classifier) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = classifier.eval()(torch.from_numpy(random_images(20)))
    return result


def test_a_saved_and_loaded_classifier_gives_the_same_logits_to_the_bit(path: Path) -> None:
    original, loaded = Classifier(make_description()), load_classifier(path)
    assert loaded.description == original.description
    assert torch.equal(logits(loaded), logits(original))


def test_the_weights_are_those_of_the_file_and_not_the_initial_ones_of_its_seed(path: Path) -> None:
    rewrite(path, lambda weights, _: weights["output.bias"].copy_(torch.tensor([1.0, 2.0, 3.0])))
    assert load_classifier(path).network.state_dict()["output.bias"].tolist() == [1, 2, 3]


def test_safetensors_alone_reads_the_description_and_hashlib_the_checksum(path: Path) -> None:
    with safe_open(path, framework="np") as file:
        text = file.metadata()[METADATA_KEY]
        shapes = {name: file.get_tensor(name).shape for name in file.keys()}  # noqa: SIM118 - not a mapping
    description = json.loads(text)
    assert description["classes"] == CLASSES
    assert (description["image_size"], description["fit"]) == (16, "squash")
    assert description["recipe_name"] == "quick"
    assert description["recipe"]["normalize"]["mean"] == [0.5, 0.5, 0.5]
    assert description["recipe"]["network"]["channels"] == [6, 16]
    assert shapes["conv1.weight"] == (6, 3, 5, 5)
    assert shapes["output.weight"] == (3, 84)
    unsigned = text.replace(description["sha256"], "")
    assert description["sha256"] == sign(unsigned, safetensors.torch.load_file(path))


def test_the_bytes_are_the_same_each_time_it_is_saved(path: Path, tmp_path: Path) -> None:
    save_classifier(Classifier(make_description()), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    save_classifier(load_classifier(path), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_the_bytes_are_the_same_in_another_process(trained: Project, tmp_path: Path) -> None:
    """Another process has other hashes of strings, and with them another order of sets."""
    save_classifier(load_classifier(trained.model), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == trained.model.read_bytes()


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def zip_of(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return buffer.getvalue()


@pytest.mark.parametrize("wrap", [bytes, zip_of])
def test_a_pickle_is_refused_and_not_run(
    wrap: Callable[[bytes], bytes], path: Path, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    content = pickle.dumps(Bomb(ran))
    path.write_bytes(wrap(content))
    assert "not a safetensors file" in refusal(path)
    assert not ran.exists()
    pickle.loads(content)  # it would have
    assert ran.exists()


def test_torch_s_own_file_is_refused(path: Path) -> None:
    torch.save(Classifier(make_description()).state_dict(), path)
    assert "not a safetensors file" in refusal(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00", bytes(8), bytes(100), b"not a model", np.random.default_rng(0).bytes(10_000)],
    ids=["empty", "one byte", "zeros", "more zeros", "text", "random"],
)
def test_other_bytes_are_refused(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    assert "not a safetensors file" in refusal(path)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(share: float, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "not a safetensors file" in refusal(path)


def test_no_file_says_what_to_run(path: Path) -> None:
    path.unlink()
    assert "no such file; run the train stage" in refusal(path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes among files")
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """In a process of its own, which can be killed if it waits."""
    os.mkfifo(tmp_path / "pipe")
    paths = [str(tmp_path / "pipe"), str(tmp_path), "/dev/zero"]
    for path, (_, line) in zip(paths, load_elsewhere(paths), strict=True):
        assert line.startswith(f"{path}: a folder, pipe or device, not a file")


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"format": "pt"}, *({METADATA_KEY: text} for text in ("", "{", "[]", "{}", "null"))],
)
def test_a_file_without_our_description_is_refused(
    metadata: dict[str, str] | None, path: Path
) -> None:
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file(weights, path, metadata)
    assert "does not describe a classifier" in refusal(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": "abc"}, "classes is 'abc'"),
        ({"classes": None}, "classes is None"),
        ({"classes": []}, "classes is []"),
        ({"image_size": "16"}, "image_size is '16'"),
        ({"image_size": 10**9}, "image_size is 1000000000"),
        ({"fit": "squeeze"}, "fit is 'squeeze'; choose from squash, crop, pad"),
        ({"recipe": {}}, "recipe.network: missing"),
        ({"an_unknown_key": 1}, "an_unknown_key: unknown key"),
        ({"seed": True}, "seed is True"),
    ],
)
def test_a_description_of_another_form_is_refused(
    change: dict[str, Any], said: str, path: Path
) -> None:
    rewrite(path, lambda _, description: description.update(change))
    assert f"does not describe a classifier ({said}" in refusal(path)


def test_a_file_without_checksum_is_refused(path: Path) -> None:
    rewrite(path, lambda _, description: description.pop("sha256"))
    assert "does not describe a classifier (sha256: missing" in refusal(path)


def test_a_model_of_an_earlier_version_is_named_as_such(path: Path) -> None:
    """Recipes were flat once."""
    flat = {"network": "lenet", "channels": [6, 16], "kernel_size": 5, "mean": [0.5, 0.5, 0.5]}
    rewrite(path, lambda _, description: description.update(recipe=flat))
    assert refusal(path) == (
        f"{path}: trained by an earlier version of this project; run the train stage again"
    )


@pytest.mark.parametrize("model", ["mnasnet0_5", "regnet_x_400mf"])
def test_networks_of_torchvision_with_ways_of_their_own_can_be_loaded(
    model: str, path: Path
) -> None:
    # mnasnet reads a version in the metadata of state_dict; regnet computes when it is built.
    original = Classifier(make_description(make_recipe(network=torchvision(model))))
    save_classifier(original, path)
    assert torch.equal(logits(load_classifier(path)), logits(original))


def test_another_test_time_augmentation_can_be_asked_for(path: Path) -> None:
    assert load_classifier(path).test_time_augmentation == "none"
    assert load_classifier(path, "mirror").test_time_augmentation == "mirror"
    save_classifier(
        Classifier(make_description(make_recipe(test_time_augmentation="mirror"))), path
    )
    assert load_classifier(path).test_time_augmentation == "mirror"
    assert load_classifier(path, "none").test_time_augmentation == "none"


def test_images_of_one_pixel_cannot_be_shifted(path: Path) -> None:
    recipe = make_recipe(network=torchvision("shufflenet_v2_x0_5"))
    save_classifier(Classifier(make_description(recipe, image_size=1)), path)
    line = refused(lambda: load_classifier(path, "mirror_shift"))
    assert "'mirror_shift', which needs images of 2 or more pixels; choose mirror" in line
    load_classifier(path, "mirror")
