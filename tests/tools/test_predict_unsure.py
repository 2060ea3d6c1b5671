"""tools/predict.py --unsure marks the images whose confidence is below it, in every output."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import prediction.figure
from figures.grid import Caption, image_grid
from figures.style import ORANGE
from helpers import lay_out, refused, solid
from models import CLASSES, four_coloured_images, save_whitened
from predictions import Capture, as_png, expected, read_json, run


@pytest.fixture
def confidences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Return the confidences of five images beside a model, by their names."""
    monkeypatch.chdir(tmp_path)
    path, images = save_whitened(tmp_path / "m.safetensors", "float32"), four_coloured_images(5)
    np.save("images.npy", images)
    names = [f"{index}.png" for index in range(5)]
    lay_out(tmp_path, dict(zip(names, map(as_png, images), strict=True)))
    highest = expected(path, Path("images.npy"), 5).max(axis=1)
    return dict(zip(names, highest.tolist(), strict=True))


def between(confidences: dict[str, float]) -> float:
    """Return a threshold with two confidences below it."""
    second, third = sorted(confidences.values())[1:3]
    assert third - second > 1e-4
    return (second + third) / 2


def test_text_json_and_csv_mark_the_same_images(
    confidences: dict[str, float], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    threshold = between(confidences)
    doubtful = {name for name, value in confidences.items() if value < threshold}
    arguments = ["m.safetensors", *confidences, "--unsure", str(threshold)]
    counted = f"unsure: 2 of 5 images, whose confidence is below {threshold:g}"

    run(monkeypatch, *arguments)
    *lines, last = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines if "unsure" in line} == doubtful
    assert all(sum(name in line for name in CLASSES) == 3 for line in lines)
    assert len({line.index("%") for line in lines}) == 1  # aligned
    assert last == counted

    run(monkeypatch, *arguments, "--json")
    captured = capsys.readouterr()
    listed = read_json(captured.out)
    assert {one["image"] for one in listed if one["unsure"] is True} == doubtful
    assert sum(one["unsure"] is False for one in listed) == 3
    assert all({top["class"] for top in one["predictions"]} == set(CLASSES) for one in listed)
    assert captured.err.splitlines()[-1] == counted

    run(monkeypatch, *arguments, "--csv", "out.csv")
    assert capsys.readouterr().out.splitlines() == ["out.csv: 5 of 5 images", counted]
    header, *rows = Path("out.csv").read_text(encoding="utf-8").splitlines()
    assert header.endswith(",third_probability,unsure")
    assert {row.split(",")[0] for row in rows if row.endswith(",true")} == doubtful
    assert sum(row.endswith(",false") for row in rows) == 3


def test_without_a_threshold_nothing_is_said_of_it(
    confidences: dict[str, float], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    run(monkeypatch, "m.safetensors", *confidences)
    run(monkeypatch, "m.safetensors", *confidences, "--json")
    run(monkeypatch, "m.safetensors", *confidences, "--csv", "out.csv")
    captured = capsys.readouterr()
    assert "unsure" not in captured.out + captured.err + Path("out.csv").read_text(encoding="utf-8")


def test_a_confidence_at_the_threshold_is_not_below_it(
    confidences: dict[str, float], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    name, value = next(iter(confidences.items()))
    run(monkeypatch, "m.safetensors", name, "--json")
    (one,) = read_json(capsys.readouterr().out)
    exact = one["predictions"][0]["probability"]
    assert exact == pytest.approx(value, abs=1e-6)
    run(monkeypatch, "m.safetensors", name, "--unsure", repr(exact), "--json")
    assert read_json(capsys.readouterr().out)[0]["unsure"] is False


def test_the_figure_marks_them_too(
    confidences: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    captions: list[Caption] = []

    def keep_and_draw(images: Any, given: list[Caption], *arguments: Any) -> Any:
        captions.extend(given)
        return image_grid(images, given, *arguments)

    monkeypatch.setattr(prediction.figure, "image_grid", keep_and_draw)
    threshold = between(confidences)
    figure = ["--figure", "f.png", "--unsure", str(threshold)]
    run(monkeypatch, "m.safetensors", *confidences, *figure)
    for caption in captions:
        doubtful = confidences[caption.name] < threshold
        assert caption.text.startswith("unsure\n") == doubtful
        assert caption.color == (ORANGE if doubtful else "black")
        assert f": {100 * confidences[caption.name]:.1f} %" in caption.text


@pytest.mark.parametrize("value", ["0", "1", "60", "-0.5", "nan", "inf"])
def test_a_threshold_that_is_no_confidence_is_refused(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(tmp_path, {"a.png": solid(0)})
    line = refused(lambda: run(monkeypatch, tmp_path / "a.png", f"--unsure={value}"))
    assert line == f"--unsure {float(value):g}: choose a confidence between 0 and 1, such as 0.6"
