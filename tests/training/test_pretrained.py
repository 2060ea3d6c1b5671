"""Published weights, here of a server on this machine: fetched once, verified, and given to all but the last layer."""

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
from helpers import ROOT, encode, lay_out, refused
from PIL import Image
from project import Project
from safetensors import safe_open
from misbehaving_server import serving
from torch import Tensor, nn
from torchvision import models

from common.params import load_params
from common.recipes import Recipe
from model.networks import build_network
from training import pretrained
from training.pretrained import load_pretrained


def recipe(network: str) -> Recipe:
    return (
        load_params(ROOT / "params.yaml")
        .recipes["transfer"]
        .model_copy(update={"network": network})
    )


def published(weights: dict[str, Tensor]) -> bytes:
    """A file as torchvision publishes it."""
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    return buffer.getvalue()


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, bytes], Path]:
    """Say that the weights of every network are at a URL, below a name with the SHA-256 of some content."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def at(url: str, content: bytes) -> Path:
        name = f"weights-{hashlib.sha256(content).hexdigest()[:8]}.pth"
        meta: dict[str, Any] = {"categories": [""] * 1000}
        weights = SimpleNamespace(value=SimpleNamespace(url=f"{url}/{name}", meta=meta))
        monkeypatch.setattr(models, "get_model_weights", lambda _: {"DEFAULT": weights})
        return tmp_path / "torch" / "hub" / "checkpoints" / name

    return at


def test_all_but_the_last_layer_are_the_published_ones(
    publish: Callable[[str, bytes], Path],
) -> None:
    theirs = models.squeezenet1_1()
    ours = build_network(recipe("squeezenet1_1"), 64, 3)
    first = deepcopy(ours.state_dict())
    with serving(published(theirs.state_dict())) as server:
        path = publish(server.url, server.content)
        load_pretrained(ours, "squeezenet1_1")
        assert path.read_bytes() == server.content
        assert len(server.requests) == 1
    for name, tensor in ours.state_dict().items():
        last = name in ("classifier.1.weight", "classifier.1.bias")
        assert torch.equal(tensor, first[name] if last else theirs.state_dict()[name]), name
    assert ours.state_dict()["classifier.1.bias"].shape == (3,)

    again = build_network(recipe("squeezenet1_1"), 64, 3)
    load_pretrained(again, "squeezenet1_1")  # from the cache: the server is gone
    assert torch.equal(
        again.state_dict()["features.0.weight"], theirs.state_dict()["features.0.weight"]
    )


def test_own_pictures_of_224_pixels_go_through_every_stage(
    publish: Callable[[str, bytes], Path], project: Project
) -> None:
    """The recipe transfer as it stands, but for one epoch: a class of dark pictures and one of light ones."""
    rng = np.random.default_rng(0)
    shades = {
        f"{name}/{number}.png": shade
        for name, shade in (("dark", 40), ("light", 180))
        for number in range(16)
    }
    pictures = {
        name: encode(Image.fromarray(rng.integers(shade, shade + 40, (100, 300, 3), np.uint8)))
        for name, shade in shades.items()
    }
    lay_out(project.path / "pictures", pictures)
    project.change(
        download__dataset="folder", download__source="pictures", download__image_size=224
    )
    project.change(
        train__recipe="transfer", recipes__transfer__epochs=1, recipes__transfer__batch_size=4
    )
    torch.manual_seed(0)
    with serving(published(models.resnet18().state_dict())) as server:
        publish(server.url, server.content)
        for stage in ("download", "preview", "train", "test_sample", "evaluate"):
            project.call(stage)
    with safe_open(project.model, framework="pt") as file:
        recipe = json.loads(next(iter(file.metadata().values())))["recipe"]
    assert recipe["precision"] in ("float32", "bfloat16")  # what was meant by auto here
    metrics = json.loads((project.reports / "metrics.json").read_text())
    assert (metrics["n"], metrics["accuracy"]) == (6, 100)
    assert Image.open(project.reports / "filters.png").size > (640, 640)


def test_old_files_are_understood(publish: Callable[[str, bytes], Path]) -> None:
    theirs = models.densenet121()
    content = published(
        {
            name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): tensor
            for name, tensor in theirs.state_dict().items()
            if not name.endswith("num_batches_tracked")
        }
    )
    path = publish("http://127.0.0.1:9", content)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    ours = build_network(recipe("densenet121"), 32, 5)
    load_pretrained(ours, "densenet121")
    for name, tensor in ours.state_dict().items():
        assert name.startswith("classifier.") or torch.equal(tensor, theirs.state_dict()[name]), (
            name
        )


def test_weights_for_another_size_of_picture_are_refused(
    publish: Callable[[str, bytes], Path],
) -> None:
    theirs, ours = (models.VisionTransformer(size, 32, 1, 1, 8, 8) for size in (224, 64))
    content = published(theirs.state_dict())
    path = publish("http://127.0.0.1:9", content)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    line = refused(lambda: load_pretrained(ours, "vit_b_32"))
    assert "tensor encoder.pos_embedding is (1, 50, 8), this network has (1, 5, 8)" in line
    assert "image_size" in line


def test_without_network_and_copy_one_line_says_what_to_do(
    publish: Callable[[str, bytes], Path],
) -> None:
    path = publish("http://127.0.0.1:9", b"")
    line = refused(lambda: load_pretrained(nn.Linear(1, 1), "resnet18"))
    assert line.startswith("cannot fetch the pretrained weights from http://127.0.0.1:9/weights-")
    assert str(path) in line
    assert "set pretrained to false" in line


@pytest.mark.parametrize(
    "misbehaviour", [{"mute": True}, {"stall": 50}, {"html": True}, {"statuses": [404]}]
)
def test_a_server_that_misbehaves_leaves_nothing(
    publish: Callable[[str, bytes], Path],
    misbehaviour: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pretrained, "SILENCE", 0.3)
    with serving(bytes(100), **misbehaviour) as server:
        path = publish(server.url, server.content)
        assert "cannot fetch the pretrained weights" in refused(
            lambda: load_pretrained(nn.Linear(1, 1), "resnet18")
        )
    assert [file.name for file in path.parent.iterdir() if file.suffix != ".lock"] == []


def test_a_damaged_copy_is_named_and_never_unpickled(publish: Callable[[str, bytes], Path]) -> None:
    path = publish("http://127.0.0.1:9", b"good")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
    line = refused(lambda: load_pretrained(nn.Linear(1, 1), "resnet18"))
    assert line.startswith(f"{path}: its SHA-256 does not begin with ")
    assert "remove it" in line
