"""What is said about a data set: true, and only what deserves attention."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

import preview
from helpers import refused, write_params
from inspection.findings import about_classes, about_duplicates, about_files, count_skipped
from made_up import Pixels, photographs, write_arrays


def data_of(directory: Path) -> dict[str, Any]:
    """Run the stage and return data.json."""
    write_params(directory, {"download": {"dataset": "folder"}})
    preview.main()
    content: dict[str, Any] = json.loads(
        (directory / "reports" / "data.json").read_text(encoding="utf-8")
    )
    return content


def labelled(counts: list[int], seed: int) -> tuple[Pixels, list[int]]:
    """Return so many images of each class."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    return photographs(len(labels), 32, seed), labels


def test_a_clean_data_set_deserves_no_attention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_arrays(tmp_path, ["a", "b"], labelled([30, 20], 0), labelled([15, 10], 1))
    data = data_of(tmp_path)
    assert data["attention"] == []
    assert data["images"] == {"train": 50, "test": 25}
    assert data["classes"] == {"a": {"train": 30, "test": 15}, "b": {"train": 20, "test": 10}}
    assert data["largest_to_smallest"] == 1.5
    assert data["source_sizes"] == {"smallest": [8, 9], "median": [64, 48], "largest": [4000, 3000]}
    printed = capsys.readouterr().out
    assert printed == (
        "made-up: 50 training images, 20 to 30 in each of 2 classes, and 25 test images. In the "
        "source they are of 8 x 9 to 4000 x 3000 pixels. Nothing deserves attention.\n"
    )


def test_flat_images_and_skipped_files_are_counted_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images, labels = labelled([30, 30], 0)
    images[7] = 0
    write_arrays(tmp_path, ["a", "b"], (images, labels), labelled([15, 15], 1))
    skipped = "file,reason\nx.jpg,truncated\ny.jpg,truncated\nz.gif,not an image\n"
    (tmp_path / "reports" / "skipped.csv").write_text(skipped)
    data = data_of(tmp_path)
    assert data["one_colour"] == {"images": 1, "files": ["train/7.png"]}
    assert data["skipped"] == {"files": 3, "reasons": {"truncated": 2, "not an image": 1}}
    assert data["attention"] == [
        "1 image of a single colour: train/7.png.",
        "3 image files could not be read: reports/skipped.csv says why.",
    ]


def of_duplicates(
    leaked: int, tests: int, disagree: int = 0, within: int = 0, crowded: int = 0
) -> list[str]:
    duplicates = {
        "exact": {"within_train": within},
        "near": {"within_train": 0},
        "labels_disagree": disagree,
        "crowded_images": crowded,
    }
    images = {"test": tests}
    return about_duplicates(
        {"duplicates": duplicates, "test_images_in_train": leaked, "images": images}
    )


@pytest.mark.parametrize(
    ("leaked", "tests", "words"),
    [
        (37, 10_000, "37 test images are also in the training set: {} by up to 0.4 points."),
        (1, 3, "1 test image is also in the training set: {} by up to 33.4 points."),
        (1, 50_000, "1 test image is also in the training set: {} by up to 0.1 points."),
        (5000, 5000, "5,000 test images are also in the training set: {} by up to 100.0 points."),
    ],
)
def test_the_flattery_is_the_share_of_leaked_test_images(
    leaked: int, tests: int, words: str
) -> None:
    where = " reports/duplicates.csv lists the pairs."
    assert of_duplicates(leaked, tests) == [words.format("accuracy is flattered") + where]


def test_disagreeing_labels_and_duplicates_within_train_are_said() -> None:
    sentences = of_duplicates(0, 10, disagree=1, within=2)
    assert sentences[0].startswith("The labels of 1 pair of duplicates disagree")
    assert sentences[1].startswith("The training set holds 2 pairs of duplicates")
    assert of_duplicates(0, 10) == []


def test_numbers_are_the_least_where_the_search_ended_early() -> None:
    leak, rest = of_duplicates(2, 10, crowded=3)
    assert leak.startswith("At least 2 test images are also in the training set")
    assert rest.startswith("3 images with 100 or more that look similar")
    assert "there may be more duplicates" in rest


def test_imbalance_and_small_classes_are_said_by_name() -> None:
    classes: Any = {
        "many": {"train": 1000, "test": 100},
        "some": {"train": 300, "test": 9},
        "few\n\x1b[31m": {"train": 19, "test": 10},
    }
    imbalance, few, few_tests = about_classes(classes)
    assert imbalance.startswith(r"many has 53 times as many training images as few\n\x1b[31m:")
    assert few.startswith("1 class with fewer than 20 training images")
    assert few_tests.startswith("1 class with fewer than 10 test images")
    assert few_tests.endswith(": some.")
    enough: Any = {"a": {"train": 60, "test": 10}, "b": {"train": 21, "test": 10}}
    assert about_classes(enough) == []


def test_at_most_five_names_are_listed() -> None:
    classes: Any = {f"class {n}": {"train": 5, "test": 50} for n in range(30)}
    (few,) = about_classes(classes)
    assert few.startswith("30 classes with fewer than 20 training images")
    assert few.endswith("class 0, class 1, class 2, class 3, class 4 and 25 more.")
    flat = {"images": 8, "files": ["a", "b", "c", "d", "e"]}
    (sentence,) = about_files({"one_colour": flat, "skipped": {"files": 0}})
    assert sentence == "8 images of a single colour: a, b, c, d, e and 3 more."


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_place_of_the_skipped_files_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "skipped.csv")
    assert "it must be a file" in refused(lambda: count_skipped(tmp_path / "skipped.csv"))
