"""Published weights, from a server on this machine: fetched once, verified, loaded."""

import hashlib
import io
import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import models

from common.errors import UserError
from fetching import mirrors, request
from helpers import encode, lay_out
from misbehaving_server import serving
from model.classifier import Classifier
from models import make_description, make_recipe, needs_timm, timm, torchvision
from project import Project
from training.batches import TrainingData
from training.distributed import ProcessGroup
from training.initial_weights import about_small_images, set_initial_weights
from trainings import described

Publish = Callable[[str, bytes], Path]
NOWHERE = "http://127.0.0.1:9"  # the discard port: nobody listens


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a fraction of the real time, and twice at most."""
    monkeypatch.setattr(mirrors, "ATTEMPTS", 2)
    monkeypatch.setattr(mirrors, "PAUSE", 0.02)
    monkeypatch.setattr(request, "SILENCE", 0.3)
    for module in (mirrors, request):
        monkeypatch.setattr(module, "ANSWER", 0.5)


def build(model: str, image_size: int = 64) -> Classifier:
    """Return a classifier of three classes that begins with published weights."""
    recipe = make_recipe(network=torchvision(model, pretrained=True))
    return Classifier(make_description(recipe, image_size=image_size))


def load(classifier: Classifier) -> nn.Module:
    """Set the initial weights, for which no images are needed; return the network."""
    set_initial_weights(classifier, cast(TrainingData, None), ProcessGroup())
    return classifier.network


def fails(classifier: Classifier) -> list[str]:
    """Return the lines of the error by which the weights are refused."""
    with pytest.raises(UserError) as raised:
        load(classifier)
    return str(raised.value).split("\n")


def published(weights: dict[str, Tensor]) -> bytes:
    """Return a file as torchvision publishes it."""
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    return buffer.getvalue()


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Let torchvision say that all weights are at a URL, named by the SHA-256 of some content.

    The function returns where they are cached.
    """
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def at(url: str, content: bytes) -> Path:
        name = f"weights-{hashlib.sha256(content).hexdigest()[:8]}.pth"
        meta: dict[str, Any] = {"categories": [""] * 1000}
        sizes = SimpleNamespace(crop_size=[224])
        weights = SimpleNamespace(
            value=SimpleNamespace(url=f"{url}/{name}", meta=meta, transforms=lambda: sizes)
        )
        monkeypatch.setattr(models, "get_model_weights", lambda _: {"DEFAULT": weights})
        return tmp_path / "torch" / "hub" / "checkpoints" / name

    return at


def cache(publish: Publish, content: bytes, published: bytes | None = None) -> Path:
    """Put content into the cache, in the place of what was published, by default the same."""
    path = publish(NOWHERE, content if published is None else published)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_all_but_the_last_layer_are_the_published_ones(
    publish: Publish, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, ours = models.squeezenet1_1().state_dict(), build("squeezenet1_1")
    initial = deepcopy(ours.network.state_dict())
    with serving(published(theirs)) as server:
        path = publish(server.url, server.content)
        loaded = load(ours).state_dict()
        assert path.read_bytes() == server.content
    for name, tensor in loaded.items():
        last = name in ("classifier.1.weight", "classifier.1.bias")
        assert torch.equal(tensor, initial[name] if last else theirs[name]), name
    assert loaded["classifier.1.bias"].shape == (3,)
    *_, line, about_size = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path.name}: all but the last layer is loaded, which begins anew")
    assert line.endswith("tensor classifier.1.bias is (1000,), this network has (3,)")
    assert about_size.startswith("torchvision's squeezenet1_1 is published for images of 224 pixel")
    assert "and these have 64: with larger ones, by download.image_size" in about_size

    again = load(build("squeezenet1_1"))  # from the cache: the server is gone
    assert torch.equal(again.state_dict()["features.0.weight"], theirs["features.0.weight"])


@pytest.mark.parametrize(
    ("network", "size", "smallest"),
    [
        (torchvision("resnet18"), 224, 112),
        (torchvision("inception_v3"), 299, 150),
        pytest.param(timm("tf_efficientnet_lite1"), 240, 120, marks=needs_timm),
    ],
)
def test_images_of_less_than_half_the_published_size_are_told(
    network: dict[str, Any], size: int, smallest: int
) -> None:
    """The sizes are those that the papers of the networks give."""
    recipe = make_recipe(network=network)
    small, large = (make_description(recipe, image_size=smallest - less) for less in (1, 0))
    assert f"published for images of {size} pixels, and these have {smallest - 1}:" in (
        about_small_images(small)
    )
    assert about_small_images(large) == ""


def test_own_images_of_128_pixels_go_through_every_stage(
    publish: Publish, project: Project
) -> None:
    """The recipe transfer for four epochs in float32: one class of dark images and one of light.

    In bfloat16, which ``auto`` means on some processors, so few steps are not enough.
    """
    rng = np.random.default_rng(0)
    shades = {
        f"{name}/{number}.png": shade
        for name, shade in (("dark", 40), ("light", 180))
        for number in range(16)
    }
    images = {
        name: encode(Image.fromarray(rng.integers(shade, shade + 40, (100, 300, 3), np.uint8)))
        for name, shade in shades.items()
    }
    lay_out(project.path / "images", images)
    project.change(download__dataset="folder", download__source="images", download__image_size=128)
    project.change(
        train__recipe="transfer",
        recipes__transfer__epochs=4,
        recipes__transfer__batch_size=4,
        recipes__transfer__precision="float32",
    )
    torch.manual_seed(0)
    with serving(published(models.resnet18().state_dict())) as server:
        publish(server.url, server.content)
        for stage in ("download", "preview", "train", "test_sample", "evaluate"):
            project.call(stage)
    assert described(project.model)["recipe"]["precision"] == "float32"
    assert json.loads((project.reports / "metrics.json").read_text())["accuracy"] == 100
    assert Image.open(project.reports / "filters.png").size > (640, 640)


def test_old_files_are_understood(publish: Publish) -> None:
    """DenseNet's were published when layers had other names, and batch norm no counter."""
    theirs = models.densenet121().state_dict()
    old = {
        name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): tensor
        for name, tensor in theirs.items()
        if not name.endswith("num_batches_tracked")
    }
    cache(publish, published(old))
    for name, tensor in load(build("densenet121", 32)).state_dict().items():
        assert name.startswith("classifier.") or torch.equal(tensor, theirs[name]), name


def test_auxiliary_classifiers_are_left_out(publish: Publish) -> None:
    theirs = models.googlenet(init_weights=False).state_dict()
    assert any(name.startswith("aux1.") for name in theirs)
    cache(publish, published(theirs))
    for name, tensor in load(build("googlenet")).state_dict().items():
        assert name.startswith("fc.") or torch.equal(tensor, theirs[name]), name


def test_a_network_that_depends_on_the_metadata_of_its_weights_gets_them(publish: Publish) -> None:
    """Without their version, mnasnet takes them for those of an older one, and refuses."""
    theirs = models.mnasnet0_5().state_dict()
    cache(publish, published(theirs))
    for name, tensor in load(build("mnasnet0_5", 32)).state_dict().items():
        assert name.startswith("classifier.") or torch.equal(tensor, theirs[name]), name


def test_without_network_and_copy_the_error_says_what_to_do(publish: Publish) -> None:
    path = publish(NOWHERE, b"")
    title, reason, way_out = fails(build("squeezenet1_1"))
    assert title == f"cannot fetch {path.name}"
    assert reason.startswith(f"  {NOWHERE}/{path.name}: ")
    assert way_out == f"  try again, or put the file at {path}, or set pretrained to false"


@pytest.mark.parametrize("misbehaviour", [{"mute": True}, {"html": True}, {"statuses": [404]}])
def test_a_server_that_misbehaves_leaves_nothing(
    publish: Publish, misbehaviour: dict[str, Any]
) -> None:
    with serving(bytes(100), **misbehaviour) as server:
        path = publish(server.url, server.content)
        assert fails(build("squeezenet1_1"))[0] == f"cannot fetch {path.name}"
    assert [file.name for file in path.parent.iterdir() if file.suffix != ".lock"] == []


def test_a_download_that_was_cut_is_resumed(publish: Publish) -> None:
    theirs = models.squeezenet1_1().state_dict()
    content = published(theirs)
    with serving(content, cut=len(content) // 2, ranges=True) as server:
        path = publish(server.url, content)
        fails(build("squeezenet1_1"))
    part = path.with_name(path.name + ".part")
    kept = part.stat().st_size
    assert 0 < kept <= len(content) // 2
    with serving(content) as server:
        publish(server.url, content)
        load(build("squeezenet1_1"))
        assert server.sent < len(content) - kept + 100_000  # samples and headers
    assert path.read_bytes() == content
    assert not part.exists()


def test_other_bytes_than_the_published_ones_are_refused(publish: Publish) -> None:
    """They are code that would leave a file behind if they were unpickled."""
    with serving(b"cos\nsystem\n(S'touch executed'\ntR.") as server:
        path = publish(server.url, b"good")
        assert "wrong bytes: its SHA-256 is " in fails(build("squeezenet1_1"))[1]
    assert not path.exists()
    assert not Path("executed").exists()


def test_a_damaged_copy_is_fetched_again(publish: Publish) -> None:
    content = published(models.squeezenet1_1().state_dict())
    with serving(content) as server:
        path = publish(server.url, content)
        path.parent.mkdir(parents=True)
        path.write_bytes(content[:-1])
        load(build("squeezenet1_1"))
    assert path.read_bytes() == content
