"""Images that look like photographs to a duplicate search, and a data set of any images."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Pixels = np.ndarray[Any, Any]


def photographs(count: int, size: int, seed: int = 0) -> Pixels:
    """Return uint8 (count, 3, size, size), each unlike the others.

    Noise whose amplitude falls with the frequency as in photographs: as 1 / f.
    """
    noise = np.random.default_rng(seed).normal(size=(count, 3, size, size))
    noise[:, 1:] = 0.7 * noise[:, :1] + 0.5 * noise[:, 1:]  # colours go together
    frequency = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(size)], indexing="ij"))
    falling = 1 / np.maximum(frequency, 1 / size)
    smooth = np.fft.ifft2(np.fft.fft2(noise) * falling).real
    smooth -= smooth.mean(axis=(1, 2, 3), keepdims=True)
    smooth /= smooth.std(axis=(1, 2, 3), keepdims=True)
    return (120 + 45 * smooth).clip(0, 255).astype(np.uint8)


def write_arrays(
    directory: Path,
    classes: Sequence[str],
    train: tuple[Pixels, Sequence[int] | Pixels],
    test: tuple[Pixels, Sequence[int] | Pixels],
) -> None:
    """Write images and labels of both splits as download does, without the project's own code."""
    arrays = directory / "data" / "arrays"
    arrays.mkdir(parents=True, exist_ok=True)
    (directory / "reports").mkdir(exist_ok=True)
    (directory / "reports" / "skipped.csv").write_text("file,reason\n")
    for split, (images, labels) in (("train", train), ("test", test)):
        np.save(arrays / f"{split}_images.npy", images)
        np.save(arrays / f"{split}_labels.npy", np.array(labels, np.int64))
        names = [json.dumps(f"{split}/{number}.png") for number in range(len(images))]
        (arrays / f"{split}_files.jsonl").write_text("".join(f"{name}\n" for name in names))
    dataset = {
        "name": "made-up",
        "classes": list(classes),
        "image_size": train[0].shape[-1],
        "fit": "squash",
        "counts": {"train": len(train[0]), "test": len(test[0])},
        "source": "here",
        "sha256": None,
        "source_sizes": {"smallest": [8, 9], "median": [64, 48], "largest": [4000, 3000]},
    }
    (arrays / "dataset.json").write_text(json.dumps(dataset))
