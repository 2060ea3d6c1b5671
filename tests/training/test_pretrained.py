"""Published weights, from a server on this machine: fetched once, verified, loaded."""

import hashlib
import io
import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import models

from helpers import encode, lay_out, refused
from misbehaving_server import serving
from model.networks import build_network
from models import make_recipe, torchvision
from project import Project
from training import pretrained
from training.pretrained import load_pretrained
from trainings import described

Publish = Callable[[str, bytes], Path]
NOWHERE = "http://127.0.0.1:9"  # the discard port: nobody listens


def build(model: str, image_size: int, classes: int) -> nn.Module:
    return build_network(make_recipe(network=torchvision(model)), image_size, classes)


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
        weights = SimpleNamespace(value=SimpleNamespace(url=f"{url}/{name}", meta=meta))
        monkeypatch.setattr(models, "get_model_weights", lambda _: {"DEFAULT": weights})
        return tmp_path / "torch" / "hub" / "checkpoints" / name

    return at


def cache(publish: Publish, content: bytes, published: bytes | None = None) -> Path:
    """Put content into the cache, in the place of what was published, by default the same."""
    path = publish(NOWHERE, content if published is None else published)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_all_but_the_last_layer_are_the_published_ones(publish: Publish) -> None:
    theirs = models.squeezenet1_1().state_dict()
    ours = build("squeezenet1_1", 64, 3)
    initial = deepcopy(ours.state_dict())
    with serving(published(theirs)) as server:
        path = publish(server.url, server.content)
        load_pretrained(ours, "squeezenet1_1")
        assert path.read_bytes() == server.content
        assert len(server.requests) == 1
    for name, tensor in ours.state_dict().items():
        last = name in ("classifier.1.weight", "classifier.1.bias")
        assert torch.equal(tensor, initial[name] if last else theirs[name]), name
    assert ours.state_dict()["classifier.1.bias"].shape == (3,)

    again = build("squeezenet1_1", 64, 3)
    load_pretrained(again, "squeezenet1_1")  # from the cache: the server is gone
    assert torch.equal(again.state_dict()["features.0.weight"], theirs["features.0.weight"])


def test_own_images_of_224_pixels_go_through_every_stage(
    publish: Publish, project: Project
) -> None:
    """The recipe transfer but for one epoch, in float32: one class of dark images and one of light.

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
    project.change(download__dataset="folder", download__source="images", download__image_size=224)
    project.change(
        train__recipe="transfer",
        recipes__transfer__epochs=1,
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
    ours = build("densenet121", 32, 5)
    load_pretrained(ours, "densenet121")
    for name, tensor in ours.state_dict().items():
        assert name.startswith("classifier.") or torch.equal(tensor, theirs[name]), name


def test_a_network_that_depends_on_the_metadata_of_its_weights_gets_them(publish: Publish) -> None:
    """Without their version, mnasnet takes them for those of an older one, and refuses."""
    theirs = models.mnasnet0_5().state_dict()
    cache(publish, published(theirs))
    ours = build("mnasnet0_5", 32, 5)
    load_pretrained(ours, "mnasnet0_5")
    for name, tensor in ours.state_dict().items():
        assert name.startswith("classifier.") or torch.equal(tensor, theirs[name]), name


def test_weights_for_another_image_size_are_refused(publish: Publish) -> None:
    theirs, ours = (models.VisionTransformer(size, 32, 1, 1, 8, 8) for size in (224, 64))
    cache(publish, published(theirs.state_dict()))
    line = refused(lambda: load_pretrained(ours, "vit_b_32"))
    assert "tensor encoder.pos_embedding is (1, 50, 8), this network has (1, 5, 8)" in line
    assert "image_size" in line


def test_without_network_and_copy_one_line_says_what_to_do(publish: Publish) -> None:
    path = publish(NOWHERE, b"")
    line = refused(lambda: load_pretrained(nn.Linear(1, 1), "resnet18"))
    assert line.startswith(f"cannot fetch the pretrained weights from {NOWHERE}/weights-")
    assert str(path) in line
    assert "set pretrained to false" in line


@pytest.mark.parametrize(
    "misbehaviour", [{"mute": True}, {"stall": 50}, {"html": True}, {"statuses": [404]}]
)
def test_a_server_that_misbehaves_leaves_nothing(
    publish: Publish, misbehaviour: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "TIMEOUT", 0.3)
    with serving(bytes(100), **misbehaviour) as server:
        path = publish(server.url, server.content)
        line = refused(lambda: load_pretrained(nn.Linear(1, 1), "resnet18"))
        assert "cannot fetch the pretrained weights" in line
    assert [file.name for file in path.parent.iterdir() if file.suffix != ".lock"] == []


def test_a_damaged_copy_is_named_and_never_unpickled(publish: Publish) -> None:
    path = cache(publish, b"cos\nsystem\n(S'touch executed'\ntR.", published=b"good")
    line = refused(lambda: load_pretrained(nn.Linear(1, 1), "resnet18"))
    assert line.startswith(f"{path}: its SHA-256 does not begin with ")
    assert "remove it" in line
    assert not Path("executed").exists()
