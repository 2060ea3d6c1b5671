"""One page for the whole evaluation: no scripts, nothing from elsewhere, fit for a phone and for paper."""

import base64
import io
import platform
from html import escape
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from PIL import Image

from common.arrays import Dataset
from common.files import MODEL, REPORTS, sha256
from model.classifier import Description

PICTURES = {  # file in reports/: what it shows
    "class_accuracy.png": "Accuracy of each class, with its 95 % interval",
    "confusion.png": "Percent of each actual class (row) taken for each class (column)",
    "mistakes.png": "The wrong answers it was surest of; look for wrong labels among them",
    "reliability.png": "Accuracy against confidence: bars below the line mean it is surer than it should be",
    "history.png": "The course of training",
    "filters.png": "What the first layer looks for",
}
METRICS = {  # in metrics.json: how it is said
    "top_3": "Top-3 accuracy {:,} %",
    "mean_class": "Mean class accuracy {:,} %",
    "loss": "Cross-entropy {:,}",
    "ece": "Expected calibration error {:,} %: how far confidence and accuracy lie apart",
    "n": "{:,} test pictures",
}
TABLE = {
    "percent_low": "low",
    "percent_high": "high",
    "percent": "%",
    "most_mistaken_for": "most mistaken for",
}
LARGEST = 200_000  # bytes of a picture that is embedded as it is; six of them stay below 2 MB
WIDEST = 1400  # pixels of one that is not

STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 60rem; margin: 0 auto;
  padding: 1rem }
h1 { font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere } h2 { font-size: 1.2rem; margin-top: 2.5rem }
.accuracy { font-size: 3rem; font-weight: 700; line-height: 1.1; margin: 0 } ul { padding-left: 1.2rem }
figure { margin: 2rem 0; overflow-x: auto; break-inside: avoid } figcaption { color: #555 }
img { max-width: 100%; height: auto }
@media screen and (max-width: 40rem) { img { min-width: 34rem } }  /* or the text in it could not be read */
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums }
th, td { padding: 0.25rem 0.6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
tr { break-inside: avoid }
th:first-child, td:first-child, th:last-child, td:last-child { text-align: left }
td:first-child, th:first-child { padding-left: 0 }
.facts td:last-child { white-space: normal; overflow-wrap: anywhere }
@media print { body { padding: 0; font-size: 10pt } table { font-size: 8pt } img { max-width: 68%; max-height: 22cm }
  .wide, figure { overflow: visible } h2 { break-after: avoid } }
"""


def report_html(
    description: Description,
    dataset: Dataset,
    metrics: dict[str, float],
    per_class: pd.DataFrame,
    reports: Path = REPORTS,
) -> str:
    """The page, with the pictures that lie in ``reports``."""
    title = escape(description.title)
    figures = "".join(
        figure(reports / file, caption)
        for file, caption in PICTURES.items()
        if (reports / file).exists()
    )
    items = "".join(
        f"<li>{text.format(metrics[key])}</li>" for key, text in METRICS.items() if key in metrics
    )
    classes = per_class.rename(columns=TABLE).to_html(index=False, border=0)
    return f"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: {metrics["accuracy"]} %</title>
<style>{STYLE}</style>
<h1>{title}</h1>
<p class="accuracy">{metrics["accuracy"]} %</p>
<p>accuracy on test pictures; the 95 % interval is {metrics["ci_low"]} to {metrics["ci_high"]} %.
{escape(chance_sentence(metrics, per_class))}</p>
<ul>{items}</ul>
<h2>Classes</h2>
<div class="wide">{classes}</div>
<h2>Pictures</h2>
{figures}
<h2>Where it comes from</h2>
<div class="facts">{facts(description, dataset).to_html(header=False, index=False, border=0)}</div>
</html>
""".replace(" %", "&nbsp;%")


def chance_sentence(metrics: dict[str, float], per_class: pd.DataFrame) -> str:
    """Whether it does better than always answering the commonest class, in words."""
    most = int(per_class["n"].to_numpy().argmax())
    chance = 100 * per_class["n"].iloc[most] / per_class["n"].sum()
    guess = f"always answering {per_class['class'].iloc[most]} would give {chance:.1f} %"
    better = metrics["ci_low"] > chance
    return f"Better than chance: {guess}." if better else f"No better than chance: {guess}."


def figure(path: Path, caption: str) -> str:
    kind, content = embeddable(path)
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return (
        f'<figure><img src="{source}" alt="{caption}"><figcaption>{caption}</figcaption></figure>\n'
    )


def embeddable(path: Path) -> tuple[str, bytes]:
    """The kind and the bytes of a picture: as it is, or, when that is too much for a page, a JPEG."""
    content = path.read_bytes()
    if len(content) <= LARGEST:
        return "png", content
    image = Image.open(io.BytesIO(content)).convert("RGB")
    image.thumbnail((WIDEST, 10 * WIDEST))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "jpeg", buffer.getvalue()


def facts(description: Description, dataset: Dataset) -> pd.DataFrame:
    """Data, model, parameters and versions, name: value."""
    rows = {
        "data": f"{dataset.name} from {dataset.source}, {dataset.counts['test']:,} test pictures",
        "SHA-256 of the data": dataset.sha256 or "not one file",
        "SHA-256 of the model": sha256(MODEL),
        "recipe": description.recipe_name,
        **description.recipe.model_dump(),
        "seed": description.seed,
        "trained with": f"torch {description.torch}, {description.threads} CPU threads",
        "evaluated with": f"Python {platform.python_version()}, "
        + ", ".join(
            f"{name} {version(name)}" for name in ("torch", "numpy", "scikit-learn", "matplotlib")
        ),
    }
    return pd.DataFrame({"what": rows.keys(), "is": map(str, rows.values())})
