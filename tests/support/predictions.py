"""What tests of tools/predict.py need: calls, images as files, and what is expected of them."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import model.classifier
import predict
from common.arrays import Array, ImageFile
from helpers import encode
from model.file import load_classifier
from project import Project

Capture = pytest.CaptureFixture[str]
DIGITS = list("0123456789")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, arguments)])
    predict.main()


def read_json(text: str) -> Any:
    return json.loads(text, parse_constant=pytest.fail)


def pngs_of(project: Project, count: int) -> dict[str, bytes]:
    """Return the first test images as files, by names in their order."""
    images = np.load(project.images / "test_images.npy")[:count]
    return {f"{index:03}.png": as_png(image) for index, image in enumerate(images)}


def as_png(image: Array) -> bytes:
    return encode(Image.fromarray(image.transpose(1, 2, 0)))


def expected(path: Path, images: Path, count: int) -> Array:
    """Return what evaluate would find, (count, classes)."""
    classifier = load_classifier(path)
    return np.asarray(model.classifier.predict(classifier, ImageFile(images), range(count), 500))


def check(listed: Any, probabilities: Array, classes: list[str], tolerance: float = 1e-6) -> None:
    assert len(listed) == len(probabilities)
    for one, row in zip(listed, probabilities, strict=True):
        by_class = dict(zip(classes, row.tolist(), strict=True))
        highest = sorted(by_class, key=lambda name: -by_class[name])[:3]
        assert [top["class"] for top in one["predictions"]] == highest
        assert [top["probability"] for top in one["predictions"]] == pytest.approx(
            [by_class[name] for name in highest], abs=tolerance
        )
