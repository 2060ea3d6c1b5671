"""The page that evaluate writes: whole, by itself, true, safe, and fit for a phone."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from common.errors import printable
from common.params import Download
from evaluation.provenance import Origin, folder_of_images, url_of_image
from evaluation.report import FIGURES, report_html
from made_predictions import (
    class_names,
    make_dataset,
    make_description,
    make_findings,
    make_measurements,
)
from page import Page, check_by_itself

NAMES = ["<script>alert(1)</script>", "cats & dogs", '"quoted" > 2', "line\nbreak \x1b[31m", "=1+1"]


def made_page(
    reports: Path,
    names: list[str],
    folder: str | None = None,
    no_heat_maps: str = "",
    **validation: float,
) -> str:
    measured = make_measurements(names, 1000, **validation)
    dataset, description = make_dataset(names, 1000, names[0]), make_description(names, names[0])
    origin = Origin({"recipe": "tutorial", "<b>": "a\nb"}, make_findings(names), folder)
    return report_html(measured, description, dataset, origin, no_heat_maps, reports)


def draw_noise(path: Path, pixels: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (pixels, pixels, 3), np.uint8)
    Image.fromarray(noise).save(path)


def test_names_are_text_not_markup(tmp_path: Path) -> None:
    html = made_page(tmp_path, NAMES, "../images/")
    check_by_itself(html)
    page = Page(html)
    for name in NAMES:
        rows = [row for row in page.rows if row[0] == printable(name)]
        assert rows and rows[0][1] == f"{int(rows[0][1]):,}"
    assert not {tag for tag, _ in page.tags} & {"b", "script"}
    assert not set(page.text) & {"\x1b", "\x07"}


def test_what_is_known_about_the_data_and_the_seed_is_said(tmp_path: Path) -> None:
    text = Page(made_page(tmp_path, class_names(4))).text
    assert "12,345 training images, 1,000 test images, 4 classes" in text
    assert "This is one model, trained with seed 7; another seed gives another accuracy." in text
    assert "The class is among the three most probable: " in text
    assert "37 test images, <b>!" in text
    assert "not calibrated; with train.validation_fraction 0.1, say, train would fit" in text
    assert "on the validation images" not in text


def test_validation_numbers_are_told_if_there_are_any(tmp_path: Path) -> None:
    text = Page(made_page(tmp_path, class_names(2), val_acc=12.25, val_loss=0.5)).text
    assert "Accuracy on the validation images: 12.25 %" in text
    assert "Cross-entropy on the validation images, before the temperature: 0.5" in text
    assert "three most probable" not in text  # of two classes


def test_the_surest_100_mistakes_are_listed_by_name(tmp_path: Path) -> None:
    names = class_names(5)
    wrong = make_measurements(names).predictions.query("actual != predicted")
    surest = wrong.sort_values("confidence", ascending=False, kind="stable").head(100)
    assert len(surest) == 100
    rows = Page(made_page(tmp_path, names)).rows
    start = next(index for index, row in enumerate(rows) if row[0] == "file") + 1
    assert rows[start : start + 100] == [
        [row["file"], row["actual"], row["predicted"], f"{row['confidence']:.1%}"]
        for row in surest.to_dict("records")
    ]


def test_the_pairs_confused_most_are_listed_with_counts(tmp_path: Path) -> None:
    names = class_names(6)
    table = make_measurements(names).predictions.query("actual != predicted")
    counts = table.groupby(["actual", "predicted"]).size().sort_values(ascending=False)
    rows = Page(made_page(tmp_path, names)).rows
    start = next(index for index, row in enumerate(rows) if row[0] == "actual") + 1
    shown = rows[start : start + 15]
    assert [int(row[2]) for row in shown] == counts.head(15).tolist()
    for actual, predicted, count, share in shown:
        assert counts[actual, predicted] == int(count)
        of_class = (make_measurements(names).predictions["actual"] == actual).sum()
        assert float(share) == pytest.approx(100 * int(count) / of_class, abs=0.051)


def test_names_of_files_are_links_only_where_there_is_a_folder(tmp_path: Path) -> None:
    assert Page(made_page(tmp_path, NAMES)).links() == []
    links = Page(made_page(tmp_path, NAMES, "../images/")).links()
    assert len(links) == 100
    assert all(unquote(link).startswith("../images/") for link in links)


def test_figures_have_their_size_on_paper_and_a_text_in_their_place(tmp_path: Path) -> None:
    for name in FIGURES:
        draw_noise(tmp_path / name, 200)  # an inch
    images = [
        attributes for tag, attributes in Page(made_page(tmp_path, NAMES)).tags if tag == "img"
    ]
    assert len(images) == len(FIGURES) - 1  # without mistakes.png
    assert {(image["width"], image["height"]) for image in images} == {("96", "96")}
    shown = [text for name, text in FIGURES.items() if name != "mistakes.png"]
    assert sorted(image["alt"] for image in images) == sorted(shown)
    assert all(image["src"].startswith("data:image/png") for image in images)


def test_the_page_stays_small_whatever_is_drawn(tmp_path: Path) -> None:
    for name in FIGURES:
        draw_noise(tmp_path / name, 3000 if name == "mistakes_explained.png" else 240)
    html = made_page(tmp_path, NAMES)
    check_by_itself(html)
    assert html.count("<img ") == len(FIGURES) - 1
    assert "data:image/jpeg" in html


def test_nothing_in_the_page_needs_a_wide_screen(tmp_path: Path) -> None:
    html = made_page(tmp_path, NAMES)
    assert "width=device-width" in html
    assert "overflow-x" not in html and "min-width" not in html
    cells = [attributes for tag, attributes in Page(html).tags if tag == "td"]
    assert all("data-title" in attributes for attributes in cells)  # shown before it on a phone


def test_without_heat_maps_the_reason_is_said_and_the_plain_mistakes_are_shown(
    tmp_path: Path,
) -> None:
    for name in ("mistakes.png", "mistakes_explained.png"):
        draw_noise(tmp_path / name, 200)
    with_maps, without = (
        Page(made_page(tmp_path, NAMES, no_heat_maps=reason)) for reason in ("", "network <x> is")
    )
    assert "There are no heat maps: network <x> is." in without.text
    assert "There are no heat maps" not in with_maps.text
    for page, name in ((with_maps, "mistakes_explained.png"), (without, "mistakes.png")):
        texts = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
        assert texts == [FIGURES[name]]


def test_the_thresholds_of_confidence_are_listed_with_intervals(tmp_path: Path) -> None:
    names = class_names(10)
    page = Page(made_page(tmp_path, names))
    start = next(index for index, row in enumerate(page.rows) if row[0] == "answered if") + 1
    expected = make_measurements(names).thresholds.to_dict("records")
    assert len(expected) > 5
    assert page.rows[start : start + len(expected)] == [
        [
            f"confidence ≥ {row['confidence']:g}",
            f"{row['share']:.1f}",
            f"{row['percent']:.1f} ({row['percent_low']:.1f} to {row['percent_high']:.1f})",
        ]
        for row in expected
    ]
    assert "A threshold chosen by these numbers flatters" in page.text


# --- links


def download(source: str, dataset: str = "folder") -> Download:
    return Download.model_validate(
        {
            "dataset": dataset,
            "source": source,
            "image_size": 32,
            "fit": "squash",
            "unreadable": "stop",
            "group": None,
            "test_fraction": 0.2,
            "seed": 0,
        }
    )


NAME = 'train/Übergröße, "quoted" & <b>/1 ? #2 100%.jpg'


@pytest.mark.parametrize("source", ["my images", "./a/../my images/", "{here}/my images"])
def test_links_into_the_project_are_relative_to_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    options = download(source.replace("{here}", str(tmp_path)))
    folder = folder_of_images(options, make_dataset(["a"], 1))
    assert folder == "../my%20images/"
    url = url_of_image(folder, NAME)
    assert not set(url) & set("<>\"' ?#")
    assert (Path("reports") / unquote(url)).resolve() == tmp_path / "my images" / NAME


@pytest.mark.parametrize("source", ["../elsewhere/ö", "{elsewhere}/ö"])
def test_links_out_of_the_project_are_file_urls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    options = download(source.replace("{elsewhere}", str(tmp_path / "elsewhere")))
    folder = folder_of_images(options, make_dataset(["a"], 1))
    assert folder is not None
    url = urlsplit(url_of_image(folder, NAME))
    assert url.scheme == "file" and not url.query and not url.fragment
    assert Path(unquote(url.path)) == tmp_path / "elsewhere" / "ö" / NAME


def test_names_that_are_not_unicode_lead_to_their_bytes() -> None:
    assert url_of_image("../images/", "a/\udcff.jpg") == "../images/a/%FF.jpg"


def test_archives_and_published_data_have_no_links() -> None:
    archive = make_dataset(["a"], 1).model_copy(update={"sha256": "0" * 64})
    assert folder_of_images(download("images.zip"), archive) is None
    assert folder_of_images(download("images", "digits"), make_dataset(["a"], 1)) is None
