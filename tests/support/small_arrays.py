"""A data set of seven images of 4 x 4 pixels, as download writes one."""

import json
from pathlib import Path
from typing import Any

import numpy as np

NAMES = [
    "a b.png",
    "ü/ß.jpg",
    'quote".png',
    "line\nbreak",
    "tab\t\x1b[2J",
    "\udcff not UTF-8",
    "日本",
]
LABELS = {"train": [0, 1, 1, 0, 1], "test": [1, 0]}


def write_arrays(directory: Path) -> None:
    generator = np.random.default_rng(0)
    for split, labels in LABELS.items():
        images = generator.integers(0, 256, (len(labels), 3, 4, 4), np.uint8)
        keys = generator.integers(0, 2**64, len(labels), np.uint64)
        np.save(directory / f"{split}_images.npy", images)
        np.save(directory / f"{split}_labels.npy", np.array(labels, np.int64))
        np.save(directory / f"{split}_keys.npy", keys)
        lines = [json.dumps(name) + "\n" for name in NAMES[: len(labels)]]
        (directory / f"{split}_files.jsonl").write_text("".join(lines))
    describe(directory)


def describe(directory: Path, **changes: Any) -> None:
    """Write dataset.json, with changes."""
    content = {
        "name": "x",
        "classes": ["a", "b"],
        "image_size": 4,
        "fit": "squash",
        "counts": {split: len(labels) for split, labels in LABELS.items()},
        "source": "x",
        "sha256": None,
    }
    (directory / "dataset.json").write_text(json.dumps(content | changes))
