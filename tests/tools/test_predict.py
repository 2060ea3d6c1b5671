"""tools/predict.py says of images what evaluate's classifier says of them."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import predict
import prediction.images
from common.progress import Progress
from common.section import TestTimeAugmentation
from helpers import encode, lay_out, snapshot, solid
from model.classifier import Classifier
from model.file import load_classifier, save_classifier
from models import CLASSES, four_coloured_images, make_description, rewrite, save_whitened
from predictions import DIGITS, Capture, as_png, check, expected, pngs_of, read_json, run
from project import Project
from sources.decode import decode_image


def test_test_images_get_what_evaluate_gives_them(
    trained: Project, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """In two batches, the last of them smaller."""
    lay_out(trained.path / "images", pngs_of(trained, 71))
    run(monkeypatch, "images", "--json")
    listed = read_json(capsys.readouterr().out)
    assert [Path(one["image"]).name for one in listed] == [f"{index:03}.png" for index in range(71)]
    check(listed, expected(trained.model, trained.images / "test_images.npy", 71), DIGITS)


@pytest.mark.parametrize("kind", ["recipe", "none", "mirror"])
def test_test_time_augmentation_is_the_recipe_s_unless_another_is_asked_for(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """A mirrored image has the probabilities of the image itself only where both are averaged."""
    path, images = save_whitened(tmp_path / "m.safetensors", "float32"), four_coloured_images(3)
    lay_out(
        tmp_path / "images", {f"{index}.png": as_png(each) for index, each in enumerate(images)}
    )
    mirrored = Image.open(tmp_path / "images" / "0.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mirrored.save(tmp_path / "images" / "mirrored.png")
    run(monkeypatch, path, tmp_path / "images", "--json", "--test-time-augmentation", kind)
    listed = read_json(capsys.readouterr().out)
    classifier = load_classifier(path).eval()
    views: dict[str, TestTimeAugmentation] = {"recipe": "mirror_shift", "none": "none"}
    classifier.test_time_augmentation = views.get(kind, "mirror")
    with torch.inference_mode():
        logits = classifier.average(torch.from_numpy(images))
    check(listed[:3], logits.softmax(dim=1).numpy(), CLASSES)
    first, last = (one["predictions"][0]["probability"] for one in (listed[0], listed[3]))
    if kind != "recipe":  # shifts are not the same in the mirror
        assert (abs(first - last) < 1e-5) == (kind == "mirror")


def test_bfloat16_as_evaluate_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    path, images = save_whitened(tmp_path / "m.safetensors"), four_coloured_images(3)
    np.save(tmp_path / "images.npy", images)
    lay_out(
        tmp_path / "images", {f"{index}.png": as_png(each) for index, each in enumerate(images)}
    )
    run(monkeypatch, path, tmp_path / "images", "--json")
    found = read_json(capsys.readouterr().out)
    check(found, expected(path, tmp_path / "images.npy", 3), CLASSES)


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_images_that_are_not_square_are_fitted_as_the_model_was_trained(
    fit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    path = tmp_path / "m.safetensors"
    save_classifier(Classifier(make_description(fit=fit)), path)
    image = Image.effect_noise((50, 20), 99).convert("RGB")
    lay_out(tmp_path, {"a.png": encode(image)})
    run(monkeypatch, path, tmp_path / "a.png", "--json")
    np.save(tmp_path / "images.npy", decode_image(encode(image), 16, fit)[None])
    check(read_json(capsys.readouterr().out), expected(path, tmp_path / "images.npy", 1), CLASSES)


def test_text_is_aligned_and_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    path, names = save_whitened(tmp_path / "m.safetensors"), ["a.png", "b.png", "a longer näme.png"]
    np.save("images.npy", four_coloured_images(3))
    lay_out(tmp_path, dict(zip(names, map(as_png, four_coloured_images(3)), strict=True)))
    run(monkeypatch, path, *names)
    lines = capsys.readouterr().out.splitlines()
    for line, name, row in zip(lines, names, expected(path, Path("images.npy"), 3), strict=True):
        assert line.startswith(name.ljust(len(names[2])) + "  ")
        found = re.findall(r"(\w+) +([\d.]+) %", line[len(names[2]) :])
        assert found == [(CLASSES[label], f"{100 * row[label]:.1f}") for label in np.argsort(-row)]
    # The first classes differ, and so do their lengths.
    assert len({line.split()[-6] for line in lines}) == 2
    assert len({tuple(match.start() for match in re.finditer("%", line)) for line in lines}) == 1


def test_one_image_on_standard_input(
    trained: Project, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (content,) = pngs_of(trained, 1).values()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    run(monkeypatch, "-", "--json")
    listed = read_json(capsys.readouterr().out)
    assert [one["image"] for one in listed] == ["-"]
    check(listed, expected(trained.model, trained.images / "test_images.npy", 1), DIGITS)


def test_a_folder_is_taken_whole_and_in_order_without_hidden_files(
    trained: Project, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    names = ["b.png", "a/z.png", "a/ä ö.png", "a/.hidden.png", ".git/x.png", "__MACOSX/b.png"]
    lay_out(trained.path / "mein Ordner", {name: solid(0) for name in names})
    run(monkeypatch, trained.model, "mein Ordner", "--json")
    captured = capsys.readouterr()
    listed = [Path(one["image"]).as_posix() for one in read_json(captured.out)]
    assert listed == ["mein Ordner/a/z.png", "mein Ordner/a/ä ö.png", "mein Ordner/b.png"]
    assert "mein Ordner: 3 files left out" in captured.err


def test_grey_and_transparent_images_are_seen_as_they_look(
    trained: Project, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    pairs = {
        "grey.png": solid(90, "L"),
        "grey as colours.png": solid((90, 90, 90)),
        "glass.png": solid((9, 9, 9, 0), "RGBA"),
        "white.png": solid((255, 255, 255)),
    }
    lay_out(trained.path, pairs)
    run(monkeypatch, *pairs, "--json")
    grey, colours, glass, white = (one["predictions"] for one in read_json(capsys.readouterr().out))
    assert grey == colours
    assert glass == white
    assert grey != white


def test_from_elsewhere_as_a_command(
    trained: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No params.yaml there. A name that is no UTF-8, where there can be one, is printed."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    names = ["a.png", os.fsdecode(b"\xff.png") if sys.platform == "linux" else "b.png"]
    lay_out(elsewhere, {name: solid(0) for name in names})
    command = [sys.executable, predict.__file__, str(trained.model), *names, "gone.png"]
    done = subprocess.run(
        command,
        cwd=elsewhere,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    assert "Traceback" not in done.stderr
    assert (
        done.stderr.splitlines()[-1]
        == "error: 1 of 3 images could not be read; they are named above"
    )
    assert sorted(snapshot(elsewhere)) == sorted(names)


def test_names_of_files_and_classes_cannot_change_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    path, names = save_whitened(tmp_path / "m.safetensors"), ["a\x1b[31m.png", "b\nc.png"]
    classes = ["\x1b]0;owned\x07", "line\nbreak", "\u202egpj.exe"]
    rewrite(path, lambda _, description: description.update(classes=classes))
    monkeypatch.chdir(tmp_path)
    lay_out(tmp_path, dict.fromkeys([names[0]], solid(0)))
    with pytest.raises(Exception, match="1 of 2"):
        run(monkeypatch, path, *names)
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 1
    assert printed.out.startswith(r"a\x1b[31m.png")
    for said in (r"\x1b]0;owned\x07", r"line\nbreak", r"\u202egpj.exe"):
        assert said in printed.out
    assert "\x1b" not in printed.out + printed.err
    assert r"b\nc.png: No such file or directory" in printed.err.splitlines()
    run(monkeypatch, path, names[0], "--json")
    (listed,) = read_json(capsys.readouterr().out)
    assert listed["image"] == names[0]
    assert {top["class"] for top in listed["predictions"]} == set(classes)


def test_no_more_than_a_batch_is_decoded_ahead(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = list(pngs_of(trained, 5))
    lay_out(trained.path, pngs_of(trained, 5))
    decoded: list[int] = []

    def count_and_decode(content: bytes, size: int, fit: Any) -> Any:
        decoded.append(size)
        return decode_image(content, size, fit)

    monkeypatch.setattr(prediction.images, "BATCH_SIZE", 2)
    monkeypatch.setattr(prediction.images, "decode_image", count_and_decode)
    with Progress(total=5) as progress:
        classifier = load_classifier()
        predictions = prediction.images.predict_files(classifier, names, None, progress)
        ahead = [len(decoded) for _ in predictions]
    assert ahead == [2, 2, 4, 4, 5]
