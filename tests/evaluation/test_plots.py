"""DVC's page of plots shows what the PNGs show, and nothing that does not exist."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from common.arrays import Array
from common.tables import write_csv
from evaluation.charts import draw_confusion
from evaluation.history import COLUMNS
from evaluation.metrics import Measurements, records
from helpers import ROOT
from made_predictions import class_names, make_measurements

Spec = dict[str, Any]


def write_history(path: Path, validation: str) -> None:
    rows = [f"{epoch},0.1,{2 / epoch},50,{validation},{validation}" for epoch in range(1, 4)]
    path.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")


@pytest.fixture(scope="module")
def measured() -> Measurements:
    """Classes whose alphabetical order is that of their labels, of different sizes."""
    return make_measurements(class_names(10), n=700)


@pytest.fixture(scope="module")
def repository(measured: Measurements, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as DVC sees it, with the CSV files of its plots."""
    path = tmp_path_factory.mktemp("repository")
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=path, check=True)
    shutil.copytree(ROOT / ".dvc" / "plots", path / ".dvc" / "plots")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, path)
    reports = path / "reports"
    reports.mkdir()
    write_csv(reports / "predictions.csv", records(measured.predictions))
    write_csv(reports / "class_accuracy.csv", records(measured.per_class))
    write_history(reports / "history.csv", "nan")
    (reports / "timing.csv").write_text(
        "epoch,seconds,images_per_second\n1,2,5000\n2,2,5100\n3,2,4900\n"
    )
    return path


def show(repository: Path) -> dict[str, Spec]:
    """Return the Vega-Lite specifications that DVC fills with the data, by plot."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "plots", "show", "--json"],
        cwd=repository,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    data = json.loads(done.stdout)["data"]
    return {name: plots[0]["content"] for name, plots in data.items() if plots}


@pytest.fixture(scope="module")
def shown(repository: Path) -> dict[str, Spec]:
    return show(repository)


def transformed(spec: Spec) -> pd.DataFrame:
    """Apply the transforms of a specification to its data, as Vega-Lite's documentation has them.

    https://vega.github.io/vega-lite/docs/transform.html
    """
    table = pd.DataFrame(spec["data"]["values"])
    for step in spec.get("spec", spec)["transform"]:
        if "aggregate" in step:
            assert [each["op"] for each in step["aggregate"]] == ["count"]
            (result,) = (each["as"] for each in step["aggregate"])
            table = table.groupby(step["groupby"]).size().rename(result).reset_index()
        elif "joinaggregate" in step:
            (each,) = step["joinaggregate"]
            assert each["op"] == "sum"
            table[each["as"]] = table.groupby(step["groupby"])[each["field"]].transform("sum")
        elif "calculate" in step:
            table[step["as"]] = table.eval(step["calculate"].replace("datum.", ""))
        else:
            raise AssertionError(f"{step} is not interpreted here")
    return table


def cells_of(spec: Spec) -> dict[tuple[str, str], float]:
    """Return the numbers that DVC's chart writes: {(y, x): number}."""
    axes = spec["spec"]["encoding"]
    (layer,) = (each for each in spec["spec"]["layer"] if each["mark"] == "text")
    written = layer["encoding"]["text"]
    assert written["format"] == ".0f"
    return {
        (row[axes["y"]["field"]], row[axes["x"]["field"]]): round(row[written["field"]], 6)
        for row in records(transformed(spec))
    }


def test_dvc_and_the_png_have_the_same_confusion_matrix(
    shown: dict[str, Spec], measured: Measurements
) -> None:
    spec = shown["reports/predictions.csv"]
    axes = spec["spec"]["encoding"]
    figure = draw_confusion(measured.matrix, class_names(10), "")
    drawn = figure.axes[0]
    assert axes["x"]["title"] == drawn.get_xlabel() == "predicted"
    assert axes["y"]["title"] == drawn.get_ylabel() == "actual"

    names = [text.get_text() for text in drawn.get_yticklabels()]
    assert names == sorted(names)  # as DVC's axes, from the top down
    image: Array = np.asarray(drawn.images[0].get_array())
    ours = {
        (names[row], names[column]): round(float(percent), 6)
        for (row, column), percent in np.ndenumerate(image)
        if percent
    }
    assert cells_of(spec) == ours
    assert {f"{percent:.0f}" for percent in ours.values()} >= {
        text.get_text() for text in drawn.texts if text.get_text()
    }
    for actual in names:  # of the actual class, all in all
        of_class = [percent for (row, _), percent in ours.items() if row == actual]
        assert sum(of_class) == pytest.approx(100)


def test_the_confusion_matrix_of_dvc_is_square_although_a_class_is_never_predicted(
    shown: dict[str, Spec],
) -> None:
    spec = shown["reports/predictions.csv"]["spec"]
    fields = {
        layer.get("encoding", {}).get("x", spec["encoding"]["x"])["field"]
        for layer in spec["layer"]
    }
    assert fields == {"actual", "predicted"}  # the axis has the names of both
    assert spec["width"] == spec["height"] == {"step": 24}  # as large as the classes need


def test_accuracies_of_many_classes_have_room(shown: dict[str, Spec]) -> None:
    spec = shown["reports/class_accuracy.csv"]
    assert spec["height"] == {"step": 14}
    bars, intervals = spec["layer"]
    assert bars["encoding"]["x"]["scale"] == {"domain": [0, 100]}
    assert {"percent_low", "percent_high"} == {
        intervals["encoding"][axis]["field"] for axis in ("x", "x2")
    }
    assert {"percent_low", "percent_high"} <= spec["data"]["values"][0].keys()


@pytest.mark.parametrize("name", ["loss", "accuracy", "reports/history.csv", "reports/timing.csv"])
def test_curves_have_whole_epochs_and_begin_at_0(name: str, shown: dict[str, Spec]) -> None:
    encoding = shown[name]["encoding"]
    assert encoding["x"]["field"] == "epoch"
    assert encoding["x"]["axis"] == {"tickMinStep": 1, "format": "d"}
    assert encoding["x"]["scale"]["zero"] is False  # there is no epoch 0
    assert encoding["y"]["scale"]["zero"] is True


def series(spec: Spec) -> set[str]:
    """Return the entries of the legend: those of the values that pass the filter."""
    condition, name = spec["transform"]
    field = spec["encoding"]["y"]["field"]
    assert condition == {"filter": f"isValid(toNumber(datum['{field}']))"}
    assert name == {"calculate": "split(datum.field, '_')[0]", "as": "images"}
    dashes = spec["encoding"]["strokeDash"]
    assert dashes.keys() == {"field", "type", "title", "legend"}
    assert dashes["legend"]["symbolType"] == "stroke"  # as a point, both entries look the same
    values = spec["data"]["values"]
    return {row["field"].split("_")[0] for row in values if not np.isnan(float(row[field]))}


def test_a_series_without_values_is_not_in_the_legend(
    repository: Path, shown: dict[str, Spec], tmp_path: Path
) -> None:
    assert series(shown["loss"]) == series(shown["accuracy"]) == {"train"}
    other = shutil.copytree(repository, tmp_path / "other")
    write_history(other / "reports" / "history.csv", "1.5")
    assert series(show(other)["loss"]) == {"train", "validation"}


def test_nothing_is_shown_twice(shown: dict[str, Spec]) -> None:
    """Each PNG in reports/ is either a plot or the twin of a chart that DVC draws."""
    twins = {
        "reports/class_accuracy.png": "reports/class_accuracy.csv",
        "reports/confusion.png": "reports/predictions.csv",
        "reports/history.png": "loss",
    }
    assert set(twins.values()) <= shown.keys()
    assert not twins.keys() & shown.keys()


def test_the_page_fits_images_to_the_screen(repository: Path) -> None:
    config = (ROOT / ".dvc" / "config").read_text()
    assert "html_template = plots/page.html" in config
    template = (repository / ".dvc" / "plots" / "page.html").read_text()
    assert all(name in template for name in ("{plot_divs}", "{scripts}", "{refresh_tag}"))
    assert "max-width" in template
