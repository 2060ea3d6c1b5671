"""Measure the classifier on the test pictures: accuracy, overall and per class, what goes wrong, how sure it is.

Reads models/classifier.safetensors, data/images (test pictures and labels), reports/history.csv and params evaluate;
writes reports/metrics.json, class_accuracy.json and .csv, predictions.csv, five pictures, and all of it in report.html.
The tutorial's network judges 10,000 pictures in half a second; importing the libraries and drawing take longer.

metrics.json, all in percent but loss and n: accuracy; its 95 % interval, ci_low to ci_high (Wilson); mean_class, the
mean of the classes' accuracies; top_3, when there are more than 3 classes; ece, the expected calibration error; loss,
the cross-entropy in nats; n, the number of test pictures. The names are short because each is a column of
`dvc metrics show`.
"""

from common.stage import exit_on_interrupt, run

if __name__ == "__main__":
    exit_on_interrupt()  # importing what follows takes seconds

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.metrics import (
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from common.arrays import Array, load_images
from common.files import REPORTS, write_json, write_text
from common.params import load_params
from evaluation.charts import draw_all
from evaluation.report import chance_sentence, report_html
from model.classifier import predict
from model.device import select_device
from model.file import check_fits, load_classifier

BINS = 15  # of confidence; as many as where calibration of networks was first measured so (arXiv 1706.04599)


def main() -> None:
    params = load_params()
    test = load_images("test")
    classifier = load_classifier(augmentation=params.evaluate.test_time_augmentation)
    classifier.to(select_device(params.machine.device))
    check_fits(classifier, test.dataset)

    probabilities = predict(
        classifier, test.images, range(len(test.images)), params.machine.predict_batch_size
    ).numpy()
    classes, labels = test.dataset.classes, test.labels
    predictions = tabulate_predictions(probabilities, labels, classes)
    matrix = confusion_matrix(labels, probabilities.argmax(axis=1), labels=range(len(classes)))
    per_class = measure_classes(probabilities, labels, matrix, classes)
    bins = calibrate(probabilities, labels)
    metrics = measure(probabilities, labels, matrix, bins)

    write_json(REPORTS / "metrics.json", metrics)
    write_json(
        REPORTS / "class_accuracy.json",
        dict(zip(per_class["class"], per_class["percent"], strict=True)),
    )
    write_text(REPORTS / "class_accuracy.csv", per_class.to_csv(index=False, lineterminator="\n"))
    write_text(REPORTS / "predictions.csv", predictions.to_csv(index=False, lineterminator="\n"))
    draw_all(
        test, predictions, per_class, matrix, bins, classifier.network, classifier.description.title
    )
    write_text(
        REPORTS / "report.html",
        report_html(classifier.description, test.dataset, metrics, per_class),
    )
    print_accuracy(per_class, metrics)


def tabulate_predictions(probabilities: Array, labels: Array, classes: list[str]) -> pd.DataFrame:
    """A row per test picture. probabilities: (N, classes); labels: int64 (N,)."""
    names = np.array(classes)
    return pd.DataFrame(
        {
            "index": range(len(labels)),
            "actual": names[labels],
            "predicted": names[probabilities.argmax(axis=1)],
            "confidence": probabilities.max(axis=1).astype(np.float64).round(4),
        }
    )


def measure_classes(
    probabilities: Array, labels: Array, matrix: Array, classes: list[str]
) -> pd.DataFrame:
    """Per class, in label order. matrix: counts, a row an actual class, a column a predicted one."""
    correct, totals = matrix.diagonal(), matrix.sum(axis=1)
    intervals = [wilson(k, n) for k, n in zip(correct.tolist(), totals.tolist(), strict=True)]
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, probabilities.argmax(axis=1), labels=range(len(classes)), zero_division=0
    )
    mistakes = matrix - np.diag(correct)
    return pd.DataFrame(
        {
            "class": classes,
            "n": totals,
            "correct": correct,
            "percent": (100 * correct / totals).round(1),
            "percent_low": [round(low, 1) for low, _ in intervals],
            "percent_high": [round(high, 1) for _, high in intervals],
            "precision": precision.round(4),
            "recall": recall.round(4),
            "f1": f1.round(4),
            "most_mistaken_for": np.where(
                mistakes.any(axis=1), np.array(classes)[mistakes.argmax(axis=1)], ""
            ),
        }
    )


def wilson(correct: int, total: int) -> tuple[float, float]:
    """The 95 % interval of an accuracy, in percent."""
    interval = binomtest(correct, total).proportion_ci(method="wilson")
    return 100 * float(interval.low), 100 * float(interval.high)


def calibrate(probabilities: Array, labels: Array) -> pd.DataFrame:
    """Per bin of confidence, low < confidence <= high: number of pictures, their mean confidence and accuracy, 0..1."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    number = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    counts = np.bincount(number, minlength=BINS)
    sums = [
        np.bincount(number, weights, minlength=BINS)
        for weights in (confidence, probabilities.argmax(axis=1) == labels)
    ]
    edges = np.linspace(0, 1, BINS + 1)
    means = [total / counts.clip(1) for total in sums]
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "n": counts,
            "confidence": means[0],
            "accuracy": means[1],
        }
    )


def measure(
    probabilities: Array, labels: Array, matrix: Array, bins: pd.DataFrame
) -> dict[str, float]:
    """The headline numbers, as the module's docstring says."""
    every, correct, total = range(len(matrix)), int(matrix.trace()), int(matrix.sum())
    low, high = wilson(correct, total)
    gaps = (bins["n"] * (bins["confidence"] - bins["accuracy"]).abs()).sum() / total
    metrics = {
        "accuracy": round(100 * correct / total, 2),
        "ci_low": round(low, 2),
        "ci_high": round(high, 2),
        "mean_class": round(100 * float((matrix.diagonal() / matrix.sum(axis=1)).mean()), 2),
        "ece": round(100 * float(gaps), 2),
        "loss": round(float(log_loss(labels, probabilities, labels=every)), 4),
        "n": total,
    }
    if len(every) > 3:
        metrics["top_3"] = round(
            100 * float(top_k_accuracy_score(labels, probabilities, k=3, labels=every)), 2
        )
    return metrics


def print_accuracy(per_class: pd.DataFrame, metrics: dict[str, float]) -> None:
    width = max(map(len, per_class["class"]))
    for row in per_class.itertuples():
        print(
            f"{row[1]:{width}}  {row.percent:5.1f} %   (95 % interval {row.percent_low:.1f} to {row.percent_high:.1f})"
        )
    interval = f"95 % interval {metrics['ci_low']:.2f} to {metrics['ci_high']:.2f}"
    print(f"accuracy {metrics['accuracy']:.2f} % of {metrics['n']:,} test pictures ({interval})")
    print(chance_sentence(metrics, per_class))


if __name__ == "__main__":
    run(main)
