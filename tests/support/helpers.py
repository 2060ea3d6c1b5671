"""What several tests need: a project to run a stage in, images, and what lies in a folder."""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from common.errors import UserError
from common.yaml12 import read_yaml

ROOT = Path(__file__).parents[2]
STAGES = ROOT / "stages"
# What the tests begin with, whatever the workspace's params.yaml has there.
START: dict[str, dict[str, Any]] = {
    "download": {
        "dataset": "CIFAR10",
        "source": "data/images",
        "image_size": 32,
        "fit": "squash",
        "unreadable": "stop",
        "group": None,
        "test_fraction": 0.2,
        "seed": 0,
    },
    "preview": {"images": 10, "seed": 0},
    "train": {
        "recipe": "tutorial",
        "seed": 0,
        "validation_fraction": 0.0,
        "early_stopping": "never",
    },
    "test_sample": {"images": 10, "seed": 0},
    "evaluate": {"test_time_augmentation": "recipe"},
    "machine": {
        "device": "cpu",
        "processes": 1,
        "threads": 1,
        "checkpoint_minutes": 1.0,
        "predict_batch_size": 500,
        "mirrors": None,
    },
    "recipes": {"quick": {"epochs": 2}},
}
# As START, but for digits with the quick recipe, which need no network and a second.
DIGITS: dict[str, dict[str, Any]] = {
    "download": {"dataset": "digits"},
    "train": {"recipe": "quick"},
    "recipes": {"quick": {"learning_rate": 0.05}},  # few images need large steps
}


def write_params(directory: Path, *changes: dict[str, Any]) -> None:
    """Write the project's params.yaml with START's values and ``changes`` to ``directory``."""
    params = read_yaml(ROOT / "params.yaml")
    for each in (START, *changes):
        merge(params, each)
    (directory / "params.yaml").write_text(
        yaml.safe_dump(params, allow_unicode=True), encoding="utf-8"
    )


def merge(params: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict):
            merge(params[key], value)
        else:
            params[key] = value


def start(code: str, directory: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Run Python with the stages' modules in a process of its own, which can be killed."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(STAGES), "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def start_stage(name: str, directory: Path) -> "subprocess.Popen[str]":
    return start(f"import {name}\nfrom common.stage import run\nrun({name}.main)", directory)


def refused(action: Callable[[], object]) -> str:
    """The one line of the error that ``action`` ends with."""
    with pytest.raises(UserError) as raised:
        action()
    line = str(raised.value)
    assert "\n" not in line
    return line


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def snapshot(path: Path) -> dict[str, bytes]:
    """Every file at or below ``path`` with its bytes; folders with none."""
    if not path.is_dir():
        return {"": path.read_bytes()}
    files = {file.relative_to(path).as_posix(): file for file in path.rglob("*")}
    return {
        name: b"" if file.is_dir() else file.read_bytes() for name, file in sorted(files.items())
    }


def solid(
    color: Any, mode: str = "RGB", kind: str = "PNG", size: tuple[int, int] = (8, 8), **options: Any
) -> bytes:
    """Return an image of one colour, as a file's bytes."""
    return encode(Image.new(mode, size, color), kind, **options)


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def lay_out(directory: Path, contents: dict[str, bytes]) -> Path:
    """Write files with these names below ``directory``."""
    for name, content in contents.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


def arrays(directory: Path) -> dict[str, Any]:
    """What download wrote, read without the project's own code."""
    files = {path.stem: np.load(path, allow_pickle=False) for path in directory.glob("*.npy")}
    return {
        "dataset": json.loads((directory / "dataset.json").read_text(encoding="utf-8")),
        **files,
    }
