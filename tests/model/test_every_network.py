"""Every classification network of torchvision trains one step, is saved, loaded and predicts.

Takes half an hour on one core and up to 15 GB of memory, so it runs only when asked for:

    python -m pytest -m every_network tests/model/test_every_network.py
"""

import filecmp
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torchvision import models

from common.arrays import ImageFile
from helpers import STAGES, encode, lay_out, write_params
from model.classifier import Classifier, predict
from model.file import load_classifier, save_classifier
from project import Project

pytestmark = pytest.mark.every_network
SIZES = {"inception_v3": 96, "maxvit_t": 224, "vit_h_14": 56}  # others take 64 pixels


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of two classes to train on, and four to test on."""
    noise = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), np.uint8)
    names = [
        f"{split}/{label}/{n}.png"
        for split, count in [("train", 6), ("test", 2)]
        for label in "ab"
        for n in range(count)
    ]
    contents = [encode(Image.fromarray(pixels)) for pixels in noise]
    return lay_out(tmp_path_factory.mktemp("images"), dict(zip(names, contents, strict=True)))


def prepare(folder: Path, images: Path, model: str) -> Project:
    """Write the parameters of one step in float32, and run download."""
    recipe = {
        "network": {"name": "torchvision", "model": model, "pretrained": False},
        "optimizer": {"momentum": 0.0, "nesterov": False},
        "augment": {"max_shift": 1},
        "epochs": 1,
        "batch_size": 12,
        "precision": "float32",
        "test_time_augmentation": "none",
    }
    size = SIZES.get(model, 64)
    write_params(
        folder,
        {
            "download": {"dataset": "folder", "source": str(images), "image_size": size},
            "train": {"recipe": "transfer"},
            "recipes": {"transfer": recipe},
        },
    )
    project = Project(folder)
    project.call("download")
    return project


def train(project: Project) -> None:
    """Run the train stage in a process of its own, which gives its memory back."""
    done = subprocess.run(
        [sys.executable, STAGES / "train.py"],
        cwd=project.path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("model", models.list_models(module=models))
def test_it_trains_is_saved_loaded_and_predicts(model: str, images: Path, tmp_path: Path) -> None:
    project = prepare(tmp_path, images, model)
    train(project)
    classifier = load_classifier(project.model)
    save_classifier(classifier, tmp_path / "again")
    assert filecmp.cmp(tmp_path / "again", project.model, shallow=False)

    test = ImageFile(project.images / "test_images.npy")
    found = predict(classifier, test, range(4), 4)
    assert found.shape == (4, 2)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(4))

    other = Classifier(classifier.description)  # with initial weights, which are overwritten
    saved = safetensors.torch.load_file(project.model)
    tensors = {**dict(other.network.named_parameters()), **dict(other.network.named_buffers())}
    moved = [name for name in saved if not torch.equal(tensors[name].data, saved[name])]
    assert any(name in moved for name, _ in other.network.named_parameters())
    for name, tensor in saved.items():
        tensors[name].data.copy_(tensor)
    assert torch.equal(predict(other, test, range(4), 4), found)
    del saved  # Windows does not remove a file that is mapped
    (tmp_path / "again").unlink()  # gigabytes, which pytest would keep
    project.model.unlink()
