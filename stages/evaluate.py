"""Measure the classifier on the test pictures: accuracy, overall and per class, and what it takes for what.

Reads models/classifier.safetensors, data/images (test pictures and labels) and params evaluate; writes
reports/metrics.json, class_accuracy.json, .csv and .png, predictions.csv and confusion.png. The tutorial's network
judges 10,000 pictures in half a second; importing the libraries takes longer.
"""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from torch import Tensor

from common.classifier import check_fits, load_classifier, predict, select_device
from common.figures import BLUE, GREY, STYLE, heading, save_figure
from common.files import REPORTS, write_json, write_text
from common.images import Array, load_images
from common.params import load_params
from common.stage import run


def main() -> None:
    params = load_params()
    test = load_images("test")
    classifier = load_classifier().to(select_device(params.evaluate.device))
    check_fits(classifier, test.dataset)

    probabilities = predict(classifier, test.images, range(len(test.images)), params.evaluate.batch_size)
    classes = test.dataset.classes
    predictions = tabulate_predictions(probabilities, test.labels, classes)
    per_class = measure_classes(predictions, classes)
    metrics = measure(predictions, per_class)

    write_json(REPORTS / "metrics.json", metrics)
    write_json(REPORTS / "class_accuracy.json", dict(zip(per_class["class"], per_class["percent"], strict=True)))
    write_table(per_class, "class_accuracy.csv")
    write_table(predictions, "predictions.csv")
    title = classifier.description.title
    save_figure(draw_class_accuracy(per_class, title), REPORTS / "class_accuracy.png")
    save_figure(draw_confusion(predictions, classes, title), REPORTS / "confusion.png")
    print_accuracy(per_class, metrics)


def tabulate_predictions(probabilities: Tensor, labels: Array, classes: list[str]) -> pd.DataFrame:
    """A row per test picture. probabilities: (N, classes); labels: int64 (N,)."""
    confidence, predicted = probabilities.max(dim=1)
    names = np.array(classes)
    return pd.DataFrame(
        {
            "index": range(len(labels)),
            "actual": names[labels],
            "predicted": names[predicted.numpy()],
            "confidence": confidence.double().numpy().round(4),
        }
    )


def measure_classes(predictions: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Per class, in label order: accuracy in percent with its 95 % interval (Wilson), precision, recall and F1."""
    actual, predicted = predictions["actual"], predictions["predicted"]
    matrix = confusion_matrix(actual, predicted, labels=classes)
    correct, totals = matrix.diagonal(), matrix.sum(axis=1)
    intervals = [
        binomtest(k, n).proportion_ci(method="wilson") for k, n in zip(correct.tolist(), totals.tolist(), strict=True)
    ]
    precision, recall, f1, _ = precision_recall_fscore_support(actual, predicted, labels=classes, zero_division=0)
    return pd.DataFrame(
        {
            "class": classes,
            "n": totals,
            "correct": correct,
            "percent": (100 * correct / totals).round(1),
            "percent_low": [round(100 * interval.low, 1) for interval in intervals],
            "percent_high": [round(100 * interval.high, 1) for interval in intervals],
            "precision": precision.round(4),
            "recall": recall.round(4),
            "f1": f1.round(4),
        }
    )


def measure(predictions: pd.DataFrame, per_class: pd.DataFrame) -> dict[str, float]:
    """The headline numbers, accuracies in percent."""
    correct = int((predictions["actual"] == predictions["predicted"]).sum())
    return {
        "accuracy": round(100 * correct / len(predictions), 2),
        "mean_class_accuracy": round(100 * float((per_class["correct"] / per_class["n"]).mean()), 2),
        "test_pictures": len(predictions),
    }


def write_table(table: pd.DataFrame, name: str) -> None:
    write_text(REPORTS / name, table.to_csv(index=False, lineterminator="\n"))


def draw_class_accuracy(per_class: pd.DataFrame, subtitle: str) -> Figure:
    """Horizontal bars, best on top, each with its interval; chance level marked."""
    rows = per_class.sort_values("percent", kind="stable")
    errors = [rows["percent"] - rows["percent_low"], rows["percent_high"] - rows["percent"]]
    chance = 100 / len(rows)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 1.7 + 0.36 * len(rows)))
        axes = figure.subplots()
        axes.barh(rows["class"], rows["percent"], xerr=np.clip(errors, 0, None), color=BLUE, ecolor="black", capsize=3)
        for position, (percent, high) in enumerate(zip(rows["percent"], rows["percent_high"], strict=True)):
            axes.text(high + 1.2, position, f"{percent:.1f}", va="center", fontsize=12)
        axes.axvline(chance, color=GREY, linestyle="--", linewidth=1.5, label=f"chance, {chance:g} %")
        axes.set(xlim=(0, 108), xlabel="accuracy on test pictures, %, with 95 % interval", xticks=range(0, 101, 20))
        axes.grid(axis="y", visible=False)
        axes.margins(y=0.02)
        axes.legend(loc="lower right", framealpha=1)
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.75 / figure.get_figheight()))
        heading(figure, "Accuracy of Each Class", subtitle)
    return figure


def draw_confusion(predictions: pd.DataFrame, classes: list[str], subtitle: str) -> Figure:
    """How many percent of each actual class (row) were taken for each class (column)."""
    matrix = 100 * confusion_matrix(predictions["actual"], predictions["predicted"], labels=classes, normalize="true")
    with_numbers = len(classes) <= 20
    side = min(12.0, 4.0 + 0.52 * len(classes))
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(side + 1, side))
        axes = figure.subplots()
        image = axes.imshow(matrix, cmap="Blues", vmin=0, vmax=100)
        figure.colorbar(image, ax=axes, label="% of the row", fraction=0.046, pad=0.03)
        ticks, font = range(len(classes)), 12 if with_numbers else 6
        axes.set_xticks(ticks, classes, rotation=90 if len(classes) > 20 else 45, ha="right", fontsize=font)
        axes.set_yticks(ticks, classes, fontsize=font)
        axes.set(xlabel="predicted", ylabel="actual")
        if with_numbers:
            for (row, column), percent in np.ndenumerate(matrix):
                color = "white" if percent > 50 else "black"
                axes.text(column, row, f"{percent:.0f}", ha="center", va="center", color=color, fontsize=11)
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.75 / side))
        heading(figure, "What It Takes for What", subtitle)
    return figure


def print_accuracy(per_class: pd.DataFrame, metrics: dict[str, float]) -> None:
    width = max(map(len, per_class["class"]))
    for row in per_class.itertuples():
        print(
            f"{row[1]:{width}}  {row.percent:5.1f} %   (95 % interval {row.percent_low:.1f} to {row.percent_high:.1f})"
        )
    print(f"accuracy {metrics['accuracy']:.2f} % of {metrics['test_pictures']:,} test pictures")


if __name__ == "__main__":
    run(main)
