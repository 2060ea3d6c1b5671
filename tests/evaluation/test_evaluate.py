"""What evaluation reports, against scikit-learn, formulas and the predictions themselves."""

import contextlib
import csv
import json
import math
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from PIL import Image
from sklearn import metrics as oracle
from torch import nn

from common.arrays import Array, read_file_names
from common.errors import UserError, printable
from helpers import lay_out, solid
from markdown_page import read
from model.file import load_classifier, save_classifier
from page import Page, check_by_itself
from project import Project

DIGITS = list("0123456789")
FIGURES = [
    "class_accuracy.png",
    "confusion.png",
    "coverage.png",
    "filters.png",
    "history.png",
    "mistakes.png",
    "mistakes_explained.png",
    "reliability.png",
]


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def read_json(project: Project, name: str) -> Any:
    return json.loads((project.reports / name).read_text(), parse_constant=no_constant)


def read_csv(project: Project, name: str) -> pd.DataFrame:
    return pd.read_csv(
        project.reports / name, dtype={"file": str, "class": str, "actual": str, "predicted": str}
    )


def read_labels(project: Project) -> Array:
    labels: Array = np.load(project.images / "test_labels.npy")
    return labels


def commonest_answer(labels: Array) -> str:
    counts = np.bincount(labels)
    share = 100 * counts.max() / len(labels)
    return f"always answering {counts.argmax()} gives {share:.1f} %."


@pytest.fixture(scope="module")
def evaluated(trained_once: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = trained_once.copy_to(tmp_path_factory.mktemp("evaluated"))
    (project.reports / "preview.png").write_bytes(solid((1, 2, 3)))
    project.call("test_sample")
    for file in project.images.glob("train_*"):
        file.unlink()  # evaluation is about the test images
    with (project.path / "printed").open("w") as printed, contextlib.redirect_stdout(printed):
        project.call("evaluate")
    return project


def test_predictions_are_those_of_a_plain_network_with_the_files_weights(
    evaluated: Project,
) -> None:
    network = nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.ReLU()),
        *(nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )
    weights = safetensors.torch.load_file(evaluated.model).values()
    by_shape = {tensor.shape: tensor for tensor in weights}  # no two have the same
    network.load_state_dict(
        {name: by_shape[tensor.shape] for name, tensor in network.state_dict().items()}
    )
    images = torch.from_numpy(np.load(evaluated.images / "test_images.npy"))
    labels = read_labels(evaluated)
    with torch.inference_mode():
        probabilities = network((images / 255 - 0.5) / 0.5).softmax(dim=1).numpy()

    table = read_csv(evaluated, "predictions.csv")
    with contextlib.chdir(evaluated.path):
        assert table["file"].tolist() == read_file_names("test")
    assert table["actual"].tolist() == [DIGITS[label] for label in labels]
    assert table["predicted"].tolist() == [DIGITS[top] for top in probabilities.argmax(axis=1)]
    np.testing.assert_allclose(table["confidence"], probabilities.max(axis=1), atol=1e-4)
    np.testing.assert_allclose(
        table["actual_probability"], probabilities[np.arange(len(labels)), labels], atol=1e-4
    )


def test_accuracy_is_correct_by_total(evaluated: Project) -> None:
    table, metrics = read_csv(evaluated, "predictions.csv"), read_json(evaluated, "metrics.json")
    correct = sum(
        actual == predicted
        for actual, predicted in zip(table["actual"], table["predicted"], strict=True)
    )
    assert metrics["accuracy"] == round(100 * correct / len(table), 2)
    recall = oracle.balanced_accuracy_score(table["actual"], table["predicted"])
    assert metrics["macro"] == pytest.approx(100 * recall, abs=0.0051)


def test_the_last_line_has_accuracy_interval_images_and_seed(evaluated: Project) -> None:
    metrics, labels = read_json(evaluated, "metrics.json"), read_labels(evaluated)
    assert (evaluated.path / "printed").read_text().splitlines()[-3:] == [
        f"Better than chance: {commonest_answer(labels)}",
        "This is one model, trained with seed 0; another seed gives another accuracy.",
        f"accuracy {metrics['accuracy']:.2f} % of {len(labels)} test images (95 % interval "
        f"{metrics['ci_low']:.2f} to {metrics['ci_high']:.2f}, seed 0)",
    ]


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
        variance = share * (1 - share) / total + z * z / (4 * total * total)
        half = z / (1 + z * z / total) * math.sqrt(variance)
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


@pytest.mark.parametrize("name", FIGURES)
def test_the_figures_are_whole_and_of_a_readable_size(name: str, evaluated: Project) -> None:
    with Image.open(evaluated.reports / name) as image:
        image.load()
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
        assert 1200 <= image.width <= 2200
        assert 300 <= image.height <= 2200
        assert len(set(np.asarray(image.convert("L")).ravel().tolist())) > 10


def test_the_report_shows_every_figure_and_number(evaluated: Project) -> None:
    html = (evaluated.reports / "report.html").read_text()
    check_by_itself(html)
    page = Page(html)
    for value in read_json(evaluated, "metrics.json").values():
        assert str(value) in page.text
    assert f"Better than chance: {commonest_answer(read_labels(evaluated))}" in page.text
    for row in read_csv(evaluated, "class_accuracy.csv").to_dict("records"):
        interval = f"({row['percent_low']:.1f} to {row['percent_high']:.1f})"
        assert [row["class"], str(row["n"]), f"{row['percent']:.1f} {interval}"] in [
            cells[:3] for cells in page.rows
        ]
    for fact in (["learning_rate", "0.05"], ["schedule", "one_cycle"], ["network.name", "lenet"]):
        assert fact in page.rows
    assert ["code and parameters", "not in a Git repository"] in page.rows
    # mistakes.png is part of mistakes_explained.png.
    assert html.count("<img ") == len([*FIGURES, "preview.png", "test_sample.png"]) - 1


def test_the_same_inputs_give_the_same_bytes(evaluated: Project, trained: Project) -> None:
    trained.change(machine__predict_batch_size=100)
    (trained.reports / "preview.png").write_bytes(solid((1, 2, 3)))
    for name in ("test_sample", "evaluate"):
        trained.call(name)
    names = [path.name for path in evaluated.reports.iterdir() if path.name != "timing.csv"]
    files = {"metrics.json", "predictions.csv", "report.html", "model_card.md"}
    assert set(FIGURES) | files <= set(names)
    for name in names:
        assert (trained.reports / name).read_bytes() == (evaluated.reports / name).read_bytes()


def change_output(project: Project, bias: torch.Tensor) -> None:
    """Let the model's probabilities follow from ``bias`` alone."""
    with contextlib.chdir(project.path):
        classifier = load_classifier()
        layer = classifier.network.get_submodule("output")
        assert isinstance(layer, nn.Linear)
        with torch.no_grad():
            layer.weight.zero_()
            layer.bias.copy_(bias)
        save_classifier(classifier)


def test_a_model_that_always_says_the_same_is_measured_without_nan(
    trained: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nine classes are never predicted: their precision is 0 by 0."""
    change_output(trained, torch.arange(10) == 7)
    trained.call("evaluate")

    labels = read_labels(trained)
    sevens = int((labels == 7).sum())
    metrics = read_json(trained, "metrics.json")
    assert metrics["accuracy"] == round(100 * sevens / len(labels), 2)
    assert metrics["macro"] == 10
    accuracies = {name: 100.0 * (name == "7") for name in DIGITS}
    assert read_json(trained, "class_accuracy.json") == accuracies
    rows = read_csv(trained, "class_accuracy.csv").set_index("class")
    empty = rows.columns[rows.isna().any()].tolist()
    assert empty == ["most_mistaken_for"]  # of the class without mistakes
    assert rows["precision"].tolist() == [
        round(sevens / len(labels), 4) if name == "7" else 0 for name in DIGITS
    ]
    confidence = read_csv(trained, "predictions.csv")["confidence"]
    np.testing.assert_allclose(confidence, math.e / (math.e + 9), atol=5.1e-5)
    said = capsys.readouterr().out + Page((trained.reports / "report.html").read_text()).text
    for sentence in (
        f"No better than chance: {commonest_answer(labels)}",
        "Never predicted: 0, 1, 2, 3, 4, 5, 6, 8, 9.",
        "No better than chance on the images of: 7.",
    ):
        assert said.count(sentence) == 2


def test_chance_is_the_same_in_the_table_the_report_the_card_and_what_is_printed(
    trained: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three classes are never predicted, and 1 and 2 are taken for one another."""
    with contextlib.chdir(trained.path):
        classifier = load_classifier()
        layer = classifier.network.get_submodule("output")
        assert isinstance(layer, nn.Linear)
        with torch.no_grad():
            for tensor in (layer.weight, layer.bias):
                tensor[[1, 2]] = tensor[[2, 1]].clone()
            layer.bias[[3, 5, 8]] = -1e3
        save_classifier(classifier)
    trained.call("evaluate")

    table = read_csv(trained, "predictions.csv")
    rows = read_csv(trained, "class_accuracy.csv").set_index("class")
    random = np.random.default_rng(0)
    handed_out = [random.permutation(table["predicted"]) for _ in range(300)]
    for name, row in rows.iterrows():
        share = 100 * (table["predicted"] == name).mean()
        assert row["chance"] == pytest.approx(share, abs=0.051)
        right = [(answers[table["actual"] == name] == name).mean() for answers in handed_out]
        assert 100 * np.mean(right) == pytest.approx(share, abs=1.5)
        assert row["better_than_chance"] == (row["percent_low"] > share)
    never = [name for name in DIGITS if name not in set(table["predicted"])]
    no_better = rows.index[~rows["better_than_chance"] & ~rows.index.isin(never)].tolist()
    assert never == ["3", "5", "8"] and {"1", "2"} <= set(no_better)
    html, card = ((trained.reports / name).read_text() for name in ("report.html", "model_card.md"))
    for text in (Page(html).text, read(card).text, capsys.readouterr().out):
        assert f"Never predicted: {', '.join(never)}." in text
        assert f"No better than chance on the images of: {', '.join(no_better)}." in text
    for cells in (Page(html).rows, read(card).rows):
        start = next(number for number, row in enumerate(cells) if row[0] == "class")
        column = cells[start].index("chance, %")
        shown = {row[0]: row[column] for row in cells[start + 1 : start + 11]}
        assert shown == {name: f"{chance:.1f}" for name, chance in rows["chance"].items()}


def test_with_validation_images_the_metrics_have_their_accuracy_and_loss(
    prepared: Project,
) -> None:
    prepared.change(train__validation_fraction=0.2, train__early_stopping=2)
    prepared.change(recipes__quick__epochs=6, recipes__quick__learning_rate=0.1)
    prepared.call("train")
    prepared.call("evaluate")
    history = read_csv(prepared, "history.csv")
    kept = history["validation_loss"].to_numpy().argmin()
    metrics = read_json(prepared, "metrics.json")
    assert metrics["val_acc"] == pytest.approx(history["validation_accuracy"][kept], abs=0.0051)
    assert metrics["val_loss"] == pytest.approx(history["validation_loss"][kept], abs=5.1e-5)


def test_names_survive_every_output_and_lead_to_the_files(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = ["=1+1", "Übergröße, <b>&", 'say "x"', "line\nbreak", "@at"]
    files = ["1 ö.png", '"2", <i>.png', "-3\n.png", "=4.png", "5#?%20.png", "6.png"]
    contents = {
        f"{name}/{file}": solid((50 * index, 40 * number, 7))
        for index, name in enumerate(classes)
        for number, file in enumerate(files)
    }
    lay_out(project.path / "my images", contents)
    project.change(
        download__dataset="folder",
        download__source="my images",
        download__test_fraction=0.5,
        recipes__quick__epochs=1,
        recipes__quick__batch_size=5,
    )
    for stage in ("download", "train"):
        project.call(stage)
    change_output(project, torch.tensor([0, 0, 0, 0.5, 1]))  # the other classes are mistaken
    for stage in ("test_sample", "evaluate"):
        project.call(stage)

    names = read_file_names("test")
    assert set(names) < set(contents)
    with (project.reports / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"].lstrip("'") for row in rows] == [printable(name) for name in names]
    assert not [cell for row in rows for cell in row.values() if cell[0] in "=@+-"]
    assert {row["actual"] for row in rows} >= {"'=1+1", 'say "x"', "line\\nbreak"}
    html = (project.reports / "report.html").read_text()
    check_by_itself(html)
    links = [unquote(link, errors="surrogateescape") for link in Page(html).links()]
    wrong = [
        name for name, row in zip(names, rows, strict=True) if row["actual"] != row["predicted"]
    ]
    assert wrong
    assert sorted(links) == sorted(f"../my images/{name}" for name in wrong)
    assert all((project.reports / link).is_file() for link in links)
    card = read((project.reports / "model_card.md").read_text())
    assert {printable(name) for name in classes} <= {row[0] for row in card.rows}
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("data/arrays/dataset.json", "download"),
        ("data/arrays/test_images.npy", "download"),
        ("data/arrays/test_labels.npy", "download"),
        ("data/arrays/test_files.jsonl", "download"),
        ("models/classifier.safetensors", "train"),
        ("reports/history.csv", "train"),
    ],
)
def test_without_an_input_the_line_names_the_stage_to_run_and_nothing_is_written(
    file: str, stage: str, trained: Project
) -> None:
    (trained.path / file).unlink()
    before = sorted(trained.reports.iterdir())
    message = f"{Path(file).name}: no such file; run the {stage} stage"
    with pytest.raises(UserError, match=message):
        trained.call("evaluate")
    assert sorted(trained.reports.iterdir()) == before


def test_a_damaged_history_is_one_line_and_nothing_is_written(trained: Project) -> None:
    (trained.reports / "history.csv").write_text("epoch,train_loss\n1,2\n")
    before = sorted(trained.reports.iterdir())
    with pytest.raises(UserError, match=r"history\.csv: damaged \(its columns are not epoch"):
        trained.call("evaluate")
    assert sorted(trained.reports.iterdir()) == before


def test_names_of_other_images_are_refused(trained: Project) -> None:
    path = trained.images / "test_files.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    count = len(read_labels(trained))
    message = f"{count - 1} names of {count} test images; run the download stage"
    with pytest.raises(UserError, match=message):
        trained.call("evaluate")


def test_shuffled_labels_are_no_better_than_chance(prepared: Project) -> None:
    labels = np.load(prepared.images / "train_labels.npy")
    np.save(prepared.images / "train_labels.npy", np.random.default_rng(0).permutation(labels))
    prepared.call("train")
    prepared.call("evaluate")
    metrics = read_json(prepared, "metrics.json")
    # Not that 10 % is within the interval: such a model gives few of the classes, which spreads
    # wider than a coin's.
    assert metrics["ci_low"] < 10.4
    assert 4 < metrics["accuracy"] < 16
    text = Page((prepared.reports / "report.html").read_text()).text
    assert "No better than chance: always answering" in text
