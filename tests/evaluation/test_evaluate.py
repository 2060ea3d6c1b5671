"""What evaluation reports, against scikit-learn, formulas and the predictions themselves."""

import contextlib
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from PIL import Image
from project import Project
from sklearn import metrics as oracle
from torch import nn

from common.errors import UserError

DIGITS = list("0123456789")


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def read_json(project: Project, name: str) -> Any:
    return json.loads((project.reports / name).read_text(), parse_constant=no_constant)


def read_csv(project: Project, name: str) -> pd.DataFrame:
    return pd.read_csv(
        project.reports / name, dtype={"class": str, "actual": str, "predicted": str}
    )


@pytest.fixture(scope="module")
def evaluated(trained_once: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = trained_once.copy_to(tmp_path_factory.mktemp("evaluated"))
    for file in project.images.glob("train_*"):
        file.unlink()  # it is about the test pictures
    with (project.path / "printed").open("w") as printed, contextlib.redirect_stdout(printed):
        project.call("evaluate")
    return project


def test_predictions_are_those_of_a_plain_network_with_the_file_s_weights(
    evaluated: Project,
) -> None:
    network = nn.Sequential(
        *(
            nn.Conv2d(3, 6, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ),
        *(
            nn.Flatten(),
            nn.Linear(400, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, 10),
        ),
    )
    weights = safetensors.torch.load_file(evaluated.model).values()
    by_shape = {tensor.shape: tensor for tensor in weights}  # no two have the same
    network.load_state_dict(
        {name: by_shape[tensor.shape] for name, tensor in network.state_dict().items()}
    )
    images = torch.from_numpy(np.load(evaluated.images / "test_images.npy"))
    with torch.inference_mode():
        confidence, predicted = network((images / 255 - 0.5) / 0.5).softmax(dim=1).max(dim=1)

    table = read_csv(evaluated, "predictions.csv")
    assert table["index"].tolist() == list(range(359))
    assert table["actual"].tolist() == [
        DIGITS[label] for label in np.load(evaluated.images / "test_labels.npy")
    ]
    assert table["predicted"].tolist() == [DIGITS[label] for label in predicted]
    np.testing.assert_allclose(table["confidence"], confidence.numpy(), atol=1e-4)


def test_accuracy_is_correct_by_total(evaluated: Project) -> None:
    table, metrics = read_csv(evaluated, "predictions.csv"), read_json(evaluated, "metrics.json")
    correct = sum(
        actual == predicted
        for actual, predicted in zip(table["actual"], table["predicted"], strict=True)
    )
    assert metrics["accuracy"] == round(100 * correct / 359, 2)
    assert metrics["n"] == 359
    recall = oracle.balanced_accuracy_score(table["actual"], table["predicted"])
    assert metrics["mean_class"] == pytest.approx(100 * recall, abs=0.0051)
    assert f"{metrics['accuracy']:.2f} %" in (evaluated.path / "printed").read_text()


def test_each_class_is_measured_as_scikit_learn_and_wilson_do(evaluated: Project) -> None:
    table, rows = read_csv(evaluated, "predictions.csv"), read_csv(evaluated, "class_accuracy.csv")
    assert rows["class"].tolist() == DIGITS
    report = oracle.classification_report(
        table["actual"], table["predicted"], labels=DIGITS, output_dict=True, zero_division=0
    )
    for row in rows.to_dict("records"):
        of_class = table[table["actual"] == row["class"]]
        total, correct = len(of_class), int((of_class["predicted"] == row["class"]).sum())
        assert (row["n"], row["correct"]) == (total, correct)
        assert row["percent"] == pytest.approx(100 * correct / total, abs=0.0501)
        for ours, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert row[ours] == pytest.approx(report[row["class"]][theirs], abs=5.1e-5)
        z, share = 1.959964, correct / total
        middle = (share + z * z / (2 * total)) / (1 + z * z / total)
        half = (
            z
            / (1 + z * z / total)
            * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
        )
        assert row["percent_low"] == pytest.approx(100 * (middle - half), abs=0.0501)
        assert row["percent_high"] == pytest.approx(100 * (middle + half), abs=0.0501)


def test_class_accuracy_is_the_same_in_every_place(evaluated: Project) -> None:
    rows = read_csv(evaluated, "class_accuracy.csv")
    expected = dict(zip(rows["class"], rows["percent"], strict=True))
    assert read_json(evaluated, "class_accuracy.json") == expected
    printed = (evaluated.path / "printed").read_text()
    for name, percent in expected.items():
        assert any(
            line.split()[:3] == [name, f"{percent:.1f}", "%"] for line in printed.splitlines()
        )


@pytest.mark.parametrize("name", ["class_accuracy.png", "confusion.png"])
def test_the_charts_are_whole_pictures_of_a_readable_size(name: str, evaluated: Project) -> None:
    with Image.open(evaluated.reports / name) as image:
        image.load()
        assert 600 <= image.width <= 2000
        assert 400 <= image.height <= 2000
        assert len(set(np.asarray(image.convert("L")).ravel().tolist())) > 10


def test_the_same_model_gives_the_same_bytes(evaluated: Project, trained: Project) -> None:
    trained.change(evaluate__batch_size=100)
    trained.call("evaluate")
    for name in ("metrics.json", "class_accuracy.json", "class_accuracy.csv", "confusion.png"):
        assert (trained.reports / name).read_bytes() == (evaluated.reports / name).read_bytes()


def test_a_model_that_always_says_the_same_is_measured_without_nan(trained: Project) -> None:
    """Nine classes are never predicted: their precision is 0 by 0."""
    weights = safetensors.torch.load_file(trained.model)
    with safetensors.safe_open(trained.model, framework="pt") as file:
        metadata = file.metadata()
    weights["output.weight"].zero_()
    weights["output.bias"].copy_(torch.arange(10) == 7)
    safetensors.torch.save_file(weights, trained.model, metadata)
    trained.call("evaluate")

    labels = np.load(trained.images / "test_labels.npy")
    sevens = int((labels == 7).sum())
    metrics = read_json(trained, "metrics.json")
    assert metrics["accuracy"] == round(100 * sevens / 359, 2)
    assert metrics["mean_class"] == 10
    assert read_json(trained, "class_accuracy.json") == {
        name: 100.0 * (name == "7") for name in DIGITS
    }
    rows = read_csv(trained, "class_accuracy.csv").set_index("class")
    assert rows.columns[rows.isna().any()].tolist() == [
        "most_mistaken_for"
    ]  # of the class without mistakes
    assert rows["precision"].tolist() == [
        round(sevens / 359, 4) if name == "7" else 0 for name in DIGITS
    ]
    confidence = math.e / (math.e + 9)
    np.testing.assert_allclose(
        read_csv(trained, "predictions.csv")["confidence"], confidence, atol=5.1e-5
    )


@pytest.mark.parametrize("missing", ["dataset.json", "test_images.npy", "test_labels.npy"])
def test_without_test_pictures_it_says_what_to_run(missing: str, trained: Project) -> None:
    (trained.images / missing).unlink()
    with pytest.raises(UserError, match=f"{missing}: no such file; run the download stage"):
        trained.call("evaluate")
    assert not (trained.reports / "metrics.json").exists()
