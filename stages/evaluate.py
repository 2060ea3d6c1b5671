"""Measure the classifier on the test images: accuracy, what goes wrong, and how far to trust it.

Reads models/classifier.safetensors, the test images of data/arrays with their labels and names,
reports/history.csv, what preview and test-sample wrote about the data, and params evaluate,
download.dataset and download.source. Writes into reports/:

metrics.json          headline numbers, in percent but the losses: accuracy; its 95 % interval,
                      ci_low to ci_high (Wilson); macro, the mean of the classes' accuracies; ece,
                      the expected calibration error; loss, the cross-entropy in nats, both with the
                      temperature that train fitted on the validation images; and, where there are
                      such images, val_acc and val_loss, accuracy and loss on them of the weights
                      that were kept, before the temperature. Each name is a column of
                      `dvc metrics show`, which stays within 100 columns.
class_accuracy.json   percent by class; class_accuracy.csv: one row per class, with intervals
predictions.csv       one row per test image: file, actual, predicted, confidence, and the
                      probability of the actual class
*.png, report.html    charts, and one page with all of it, which names the last commit of the code
                      and no time, so that the same inputs give the same bytes
model_card.md         one page to give away with the model: what it is for, data, recipe, accuracy,
                      confidence, limits, versions

The tutorial's network predicts 10,000 images in half a second; importing the libraries and drawing
take five seconds.
"""

from common.stage import exit_on_interrupt, run

if __name__ == "__main__":
    exit_on_interrupt()  # importing what follows takes seconds

from common.arrays import ImageFile, load_images, read_file_names
from common.errors import UserError, printable
from common.files import ARRAYS, REPORTS, write_json, write_text
from common.params import load_params
from common.tables import write_csv
from evaluation.charts import (
    draw_class_accuracy,
    draw_confusion,
    draw_coverage,
    draw_reliability,
)
from evaluation.curves import draw_history
from evaluation.explained import Explained, draw_explained, explain_mistakes
from evaluation.galleries import draw_filters, draw_mistakes
from evaluation.history import Row, read_history, validation_metrics
from evaluation.metrics import Measurements, measure, records
from evaluation.model_card import model_card
from evaluation.provenance import trace
from evaluation.report import report_html
from evaluation.verdict import about_the_seed, verdicts
from figures.style import save_figure
from model.classifier import Classifier, predict
from model.device import select_device
from model.file import check_fits, load_classifier
from model.memory import keep_freed_memory


def main() -> None:
    params = load_params()
    test = load_images("test", params.download)
    files = read_file_names("test")
    if len(files) != len(test.labels):
        raise UserError(
            f"{ARRAYS}: {len(files)} names of {len(test.labels)} test images; "
            "run the download stage again"
        )
    history = read_history()
    classifier = load_classifier(augmentation=params.evaluate.test_time_augmentation)
    classifier.to(select_device(params.machine.device))
    check_fits(classifier, test.dataset)
    description = classifier.description
    origin = trace(classifier, test.dataset, params.download)

    keep_freed_memory()
    probabilities = predict(
        classifier, test.images, range(len(test.images)), params.machine.predict_batch_size
    ).numpy()
    validation = validation_metrics(history, description.best_epoch)
    measured = measure(probabilities, test.labels, description.classes, files, validation)
    explained = explain_mistakes(classifier, test.images, measured.predictions)

    write_tables(measured)
    draw_figures(measured, explained, classifier, test.images, history)
    page = report_html(measured, description, test.dataset, origin, explained.missing)
    write_text(REPORTS / "report.html", page)
    card = model_card(measured, classifier, test.dataset, origin, len(history))
    write_text(REPORTS / "model_card.md", card)
    print_results(measured, description.seed)


def write_tables(measured: Measurements) -> None:
    per_class = measured.per_class
    write_json(REPORTS / "metrics.json", measured.headline)
    write_json(
        REPORTS / "class_accuracy.json",
        dict(zip(per_class["class"], per_class["percent"], strict=True)),
    )
    write_csv(REPORTS / "class_accuracy.csv", records(per_class))
    write_csv(REPORTS / "predictions.csv", records(measured.predictions))


def draw_figures(
    measured: Measurements,
    explained: Explained,
    classifier: Classifier,
    images: ImageFile,
    history: list[Row],
) -> None:
    title, classes = classifier.description.title, classifier.description.classes
    for name, figure in [
        ("class_accuracy", draw_class_accuracy(measured.per_class, title)),
        ("confusion", draw_confusion(measured.matrix, classes, title)),
        ("reliability", draw_reliability(measured.bins, title)),
        ("coverage", draw_coverage(measured.curve, measured.thresholds, title)),
        ("mistakes", draw_mistakes(images, measured.predictions, title)),
        ("mistakes_explained", draw_explained(explained, title)),
        ("history", draw_history(history, title)),
        ("filters", draw_filters(classifier.network, title)),
    ]:
        save_figure(figure, REPORTS / f"{name}.png")


def print_results(measured: Measurements, seed: int) -> None:
    """Print one line per class, what to think of the accuracy, and the accuracy."""
    headline, per_class = measured.headline, measured.per_class
    names = list(map(printable, per_class["class"]))
    width = max(map(len, names))
    for name, row in zip(names, records(per_class), strict=True):
        interval = f"95 % interval {row['percent_low']:.1f} to {row['percent_high']:.1f}"
        print(f"{name:{width}}  {row['percent']:5.1f} %   ({interval})")
    for sentence in [*verdicts(headline, per_class), about_the_seed(seed)]:
        print(sentence)
    interval = f"95 % interval {headline['ci_low']:.2f} to {headline['ci_high']:.2f}"
    print(
        f"accuracy {headline['accuracy']:.2f} % of {len(measured.predictions):,} test images "
        f"({interval}, seed {seed})"
    )


if __name__ == "__main__":
    run(main)
