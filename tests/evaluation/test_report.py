"""The page that evaluate writes: whole, by itself, true, and the same each time. On digits, from download to report."""

import base64
import csv
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import DIGITS, ROOT, write_params
from PIL import Image

import download
import evaluate
import train
from common.arrays import Dataset, labels_path
from common.params import load_params
from evaluation import report
from model.classifier import Description

NAMES = ["<script>alert(1)</script>", "cats & dogs", '"quoted" > 2']


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An untrained project on digits, where a few epochs are enough."""
    write_params(tmp_path, DIGITS, {"recipes": {"quick": {"epochs": 5}}})
    monkeypatch.chdir(tmp_path)
    download.main()
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


def outputs(project: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in (project / "reports").iterdir()
        if path.name != "timing.csv"
    }


def test_trained_on_digits(project: Path) -> None:
    train.main()
    evaluate.main()
    first = outputs(project)
    evaluate.main()

    assert outputs(project) == first, "the same inputs must give the same bytes"
    html = first["report.html"].decode()
    page = Page(html)
    metrics = json.loads(first["metrics.json"])
    assert metrics["accuracy"] > 80
    for key in ("accuracy", "ci_low", "ci_high", "mean_class", "top_3", "ece", "loss"):
        assert f"{metrics[key]}" in page.text
    assert "Better than chance" in page.text
    for row in csv.DictReader(io.StringIO(first["class_accuracy.csv"].decode())):
        for key in ("percent", "percent_low", "percent_high", "f1"):
            assert row[key] in page.text
    for expected in ("learning_rate", "0.05", "one_cycle", "torch", "scikit-learn"):
        assert expected in page.text
    pictures = [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]
    shown = [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in pictures]
    assert shown == [first[name] for name in report.PICTURES], "every picture, as it is"
    assert all(attributes["alt"] for tag, attributes in page.tags if tag == "img")
    check_by_itself(html)


def test_shuffled_labels_are_no_better_than_chance(project: Path) -> None:
    labels = np.load(labels_path("train"))
    np.save(labels_path("train"), np.random.default_rng(0).permutation(labels))

    train.main()
    evaluate.main()

    metrics = json.loads((project / "reports" / "metrics.json").read_text())
    # Not that 10 % is within the interval: such a model gives few of the classes, which spreads wider than a coin's.
    assert metrics["ci_low"] < 10.4
    assert 4 < metrics["accuracy"] < 16
    assert "No better than chance" in Page((project / "reports" / "report.html").read_text()).text


def check_by_itself(html: str) -> None:
    assert len(html.encode()) < 2_000_000
    assert not re.search(r"https?://|@import|url\(", html)
    for tag, attributes in Page(html).tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base")
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset"):
            assert (attributes.get(name) or "data:").startswith("data:")


def made_report(reports: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A page about classes whose names are markup."""
    recipe = load_params(ROOT / "params.yaml").recipes["tutorial"]
    about = {"classes": NAMES, "image_size": 32}
    description = Description.model_validate(
        about
        | {"dataset": NAMES[0], "recipe_name": "a<b", "recipe": recipe.model_dump(), "seed": 0}
        | {"threads": 1, "processes": 1, "torch": "2"}
    )
    dataset = Dataset.model_validate(
        about
        | {"name": NAMES[0], "counts": {"train": 9, "test": 300}, "source": "<b>", "sha256": None}
    )
    matrix = np.full((3, 3), 10) + 70 * np.eye(3, dtype=np.int64)
    labels, predicted = (axis.repeat(matrix.ravel()) for axis in np.indices((3, 3)).reshape(2, -1))
    probabilities = np.eye(3)[predicted]
    per_class = evaluate.measure_classes(probabilities, labels, matrix, NAMES)
    metrics = evaluate.measure(
        probabilities, labels, matrix, evaluate.calibrate(probabilities, labels)
    )
    monkeypatch.setattr(report, "MODEL", ROOT / "params.yaml")  # any file with a checksum
    return report.report_html(description, dataset, metrics, per_class, reports)


def test_names_are_text_not_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    html = made_report(tmp_path, monkeypatch)
    check_by_itself(html)
    page = Page(html)
    for name in NAMES:
        assert page.text.count(name) >= 1
    assert not [tag for tag, _ in page.tags if tag == "b"]


def test_small_enough_whatever_the_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = (
        np.random.default_rng(0)
        .integers(0, 256, (1500, 1500, 3), np.uint8)
        .repeat(2, axis=0)
        .repeat(2, axis=1)
    )
    for name in report.PICTURES:
        image = Image.fromarray(noise if name == "mistakes.png" else noise[:200, :200])
        image.save(tmp_path / name)
    html = made_report(tmp_path, monkeypatch)
    check_by_itself(html)
    assert html.count("<img ") == len(report.PICTURES)
    assert "data:image/jpeg" in html


@pytest.mark.parametrize(
    ("counts", "ci_low", "expected"),
    [
        ([100, 100], 49.9, "No better than chance: always answering a would give 50.0 %."),
        ([100, 100], 50.1, "Better than chance"),
        ([10, 190], 90.0, "No better than chance: always answering b would give 95.0 %."),
    ],
)
def test_chance(counts: list[int], ci_low: float, expected: str) -> None:
    per_class = pd.DataFrame({"class": ["a", "b"], "n": counts})
    assert report.chance_sentence({"ci_low": ci_low}, per_class).startswith(expected)
