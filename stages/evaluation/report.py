"""One page with the whole evaluation: no scripts, nothing from elsewhere."""

from pathlib import Path

from common.arrays import Dataset
from common.files import REPORTS
from evaluation.html import Html, figure, paragraphs, section, table, text
from evaluation.metrics import Measurements, confused_pairs, records, surest_mistakes
from evaluation.provenance import Origin, url_of_image
from evaluation.verdict import (
    ABOUT_COVERAGE,
    CHANCE,
    about_calibration,
    about_heat_maps,
    about_the_seed,
    verdicts,
)
from model.classifier import Description

SUREST = 100  # mistakes in the table
MOST_CONFUSED = 15  # pairs of classes
FIGURES = {  # in reports/, with what each shows
    "preview.png": "Training images with their labels",
    "class_counts.png": "Images per class",
    "duplicates.png": "Images that are there more than once",
    "class_accuracy.png": "Accuracy of each class with its 95 % interval. Orange marks: chance",
    "confusion.png": "Percent of each actual class (row) predicted as each class (column)",
    "mistakes.png": "The mistakes of highest confidence. Look for wrong labels among them",
    "mistakes_explained.png": "The mistakes of highest confidence, each as it is and with the "
    "parts that speak for the predicted and for the actual class. Look for wrong labels among them",
    "test_sample.png": "Random test images with their predictions",
    "reliability.png": "Accuracy against confidence. Bars below the line: too confident",
    "coverage.png": "Accuracy if images below a confidence stay unanswered, for any confidence",
    "history.png": "Training curves",
    "filters.png": "Filters of the first convolution",
}
METRICS = {  # in metrics.json, with what each means
    "macro": "Mean of the classes' accuracies: {} %",
    "loss": "Cross-entropy: {}",
    "ece": "Expected calibration error: {} %, the mean distance of confidence and accuracy",
    "val_acc": "Accuracy on the validation images: {} %",
    "val_loss": "Cross-entropy on the validation images, before the temperature: {}",
}
# The columns of the tables, as evaluation.html.table takes them.
CLASSES = {
    "class": ("text", "{class}"),
    "images": ("number", "{n:,}"),
    "accuracy, %": ("number", "{percent:.1f} ({percent_low:.1f} to {percent_high:.1f})"),
    "chance, %": ("number", "{chance:.1f}"),
    "precision": ("number", "{precision:.3f}"),
    "F1": ("number", "{f1:.3f}"),
    "most mistaken for": ("text", "{most_mistaken_for}"),
}
PREDICTION = {"actual": ("text", "{actual}"), "predicted": ("text", "{predicted}")}
PAIRS = {
    **PREDICTION,
    "images": ("number", "{n:,}"),
    "% of the class": ("number", "{percent:.1f}"),
}
MISTAKES = {
    "file": ("text", "{file}"),
    **PREDICTION,
    "confidence": ("number", "{confidence:.1%}"),
}
THRESHOLDS = {
    "answered if": ("text", "confidence ≥ {confidence:g}"),
    "images answered, %": ("number", "{share:.1f}"),
    "accuracy of these, %": (
        "number",
        "{percent:.1f} ({percent_low:.1f} to {percent_high:.1f})",
    ),
}
FACTS = {"fact": ("text", "{fact}"), "": ("text", "{value}")}
STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 60rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.5rem; line-height: 1.25 } h2 { font-size: 1.2rem; margin-top: 2.5rem }
.accuracy { font-size: 3rem; font-weight: 700; line-height: 1.1; margin: 0 }
ul { padding-left: 1.2rem }
figure { margin: 2rem 0; break-inside: avoid } figcaption { color: #555 }
img { max-width: 100%; height: auto }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums }
tr { break-inside: avoid }
th, td { padding: 0.25rem 0.6rem; border-bottom: 1px solid #ddd; vertical-align: top }
th:first-child, td:first-child { padding-left: 0 }
th { overflow-wrap: normal } .text { text-align: left }
.number { text-align: right; white-space: nowrap }
@media screen and (max-width: 40rem) { /* a row becomes a paragraph */
  thead { display: none } table, tbody { display: block }
  tr { display: block; padding: 0.4rem 0; border-bottom: 1px solid #ddd }
  td { display: inline-block; max-width: 100%; padding: 0 0.6rem 0 0; border: 0 }
  td:first-child { display: block; font-weight: 600 } td:empty { display: none }
  td + td::before { content: attr(data-title) " "; color: #666 } }
@media print { body { padding: 0; font-size: 10pt } table { font-size: 8pt }
  img { max-width: 68%; max-height: 22cm } h2 { break-after: avoid } }
"""


def report_html(
    measured: Measurements,
    description: Description,
    dataset: Dataset,
    origin: Origin,
    no_heat_maps: str = "",
    reports: Path = REPORTS,
) -> str:
    """Return the page, with the figures that lie in ``reports``.

    Args:
        measured: everything that is said about the test images.
        description: of the classifier.
        dataset: that it was tested on.
        origin: where both come from.
        no_heat_maps: why the mistakes are not explained; empty if they are.
        reports: the folder of the figures.
    """
    headline, per_class = measured.headline, measured.per_class

    def figures(*names: str) -> Html:
        return Html("".join(figure(reports / name, FIGURES[name]) for name in names))

    classes = table(CLASSES, records(per_class))
    pairs = confused_pairs(measured.matrix, per_class["class"].tolist(), MOST_CONFUSED)
    mistakes = records(surest_mistakes(measured.predictions, SUREST))
    folder = origin.folder
    url = None if folder is None else lambda row: url_of_image(folder, row["file"])
    calibration = about_calibration(description)
    facts = [{"fact": fact, "value": value} for fact, value in origin.facts.items()]
    parts = [
        summary(measured, description, dataset),
        section(
            "Data",
            paragraphs(origin.findings.attention if origin.findings else []),
            figures("preview.png", "class_counts.png", "duplicates.png"),
        ),
        section("Classes", paragraphs([CHANCE]), figures("class_accuracy.png"), classes),
        section("Confused classes", figures("confusion.png"), table(PAIRS, records(pairs))),
        section(
            "Surest mistakes",
            paragraphs([about_heat_maps(no_heat_maps)]),
            figures("mistakes.png" if no_heat_maps else "mistakes_explained.png"),
            table(MISTAKES, mistakes, url),
        ),
        section("Random test images", figures("test_sample.png")),
        section("Confidence", paragraphs([calibration]), figures("reliability.png")),
        section(
            "Answering only when sure",
            paragraphs(ABOUT_COVERAGE),
            figures("coverage.png"),
            table(THRESHOLDS, records(measured.thresholds)),
        ),
        section("Training", figures("history.png", "filters.png")),
        section("Where it comes from", table(FACTS, facts)),
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(description.title)}: {headline["accuracy"]} %</title>
<style>{STYLE}</style>
{"".join(parts)}</html>
"""


def summary(measured: Measurements, description: Description, dataset: Dataset) -> Html:
    """Return the top of the page: the accuracy, what to think of it, and the other numbers."""
    headline = measured.headline
    items = [
        f"{dataset.counts['train']:,} training images, {dataset.counts['test']:,} test images, "
        f"{len(dataset.classes):,} classes",
        *(words.format(headline[key]) for key, words in METRICS.items() if key in headline),
    ]
    if measured.top_3 is not None:
        items.append(f"The class is among the three most probable: {measured.top_3} %")
    interval = f"the 95 % interval is {headline['ci_low']} to {headline['ci_high']} %"
    sentences = [
        f"accuracy on the test images; {interval}. {about_the_seed(description.seed)}",
        *verdicts(headline, measured.per_class),
    ]
    return Html(
        f"<h1>{text(description.title)}</h1>\n"
        f'<p class="accuracy">{headline["accuracy"]}&nbsp;%</p>\n{paragraphs(sentences)}'
        f"<ul>{''.join(f'<li>{text(item)}</li>' for item in items)}</ul>\n"
    )
