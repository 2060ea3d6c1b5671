"""tools/predict.py: what it says of pictures is what evaluate's classifier says; what it cannot read is named."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import common.classifier
import numpy as np
import pytest
import torch
from helpers import encode, lay_out, refused, snapshot, solid
from PIL import Image
from project import Project
from test_classifier import describe

import predict
from common.arrays import ImageFile
from common.progress import Progress
from figures.style import save_figure
from model.classifier import Classifier
from model.file import load_classifier, save_classifier
from sources.decode import decode_picture

Capture = pytest.CaptureFixture[str]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, arguments)])
    predict.main()


def read_json(text: str) -> Any:
    return json.loads(text, parse_constant=pytest.fail)


def pngs_of(project: Project, count: int) -> dict[str, bytes]:
    """The first test pictures as files, by names in their order."""
    images = np.load(project.images / "test_images.npy")[:count]
    return {f"{index:03}.png": as_png(image) for index, image in enumerate(images)}


def as_png(image: np.ndarray[Any, Any]) -> bytes:
    return encode(Image.fromarray(image.transpose(1, 2, 0)))


def expected(model: Path, images: Path, count: int) -> np.ndarray[Any, Any]:
    """What evaluate would find, (count, classes)."""
    found = common.classifier.predict(load_classifier(model), ImageFile(images), range(count), 500)
    return np.asarray(found)


def check(
    listed: Any, probabilities: np.ndarray[Any, Any], classes: list[str], tolerance: float = 1e-6
) -> None:
    assert len(listed) == len(probabilities)
    for one, row in zip(listed, probabilities, strict=True):
        by_class = dict(zip(classes, row.tolist(), strict=True))
        highest = sorted(by_class, key=lambda name: -by_class[name])[:3]
        assert [top["class"] for top in one["predictions"]] == highest
        assert [top["probability"] for top in one["predictions"]] == pytest.approx(
            [by_class[name] for name in highest], abs=tolerance
        )


def test_test_pictures_get_what_evaluate_gives_them(
    trained: Project, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """In two batches, the last of them odd."""
    lay_out(trained.path / "pictures", pngs_of(trained, 71))
    run(monkeypatch, "pictures", "--json")
    listed = read_json(capsys.readouterr().out)
    assert [Path(one["picture"]).name for one in listed] == [
        f"{index:03}.png" for index in range(71)
    ]
    check(
        listed, expected(trained.model, trained.images / "test_images.npy", 71), list("0123456789")
    )


def whitened(path: Path) -> Path:
    """A model file with everything that a recipe can ask for when it is used, and weights that tell pictures apart."""
    changes = {
        "network": "whitened",
        "channels": [8, 8],
        "kernel_size": 3,
        "hidden": [],
        "precision": "bfloat16",
        "test_time_averaging": "mirror_shift",
    }
    classifier = Classifier(describe(recipe=describe().recipe.model_copy(update=changes)))
    generator = torch.Generator().manual_seed(4)
    for name, tensor in classifier.network.state_dict().items():
        if name.endswith(("whiten.weight", "output.weight", "running_mean")):
            scale = (3 if name == "output.weight" else 1) / max(1, tensor[0].numel()) ** 0.5
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale)
    save_classifier(classifier, path)
    return path


def patches(count: int) -> np.ndarray[Any, Any]:
    """Pictures of four colours each, uint8 (count, 3, 16, 16)."""
    colors = np.random.default_rng(3).integers(0, 256, (count, 3, 2, 2), np.uint8)
    return np.kron(colors, np.ones((8, 8), np.uint8))


def test_test_time_averaging_in_bfloat16_as_evaluate_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    model = whitened(tmp_path / "m.safetensors")
    images = patches(3)
    np.save(tmp_path / "images.npy", images)
    lay_out(
        tmp_path / "pictures", {f"{index}.png": as_png(image) for index, image in enumerate(images)}
    )
    run(monkeypatch, model, tmp_path / "pictures", "--json")
    probabilities = expected(model, tmp_path / "images.npy", 3)
    check(read_json(capsys.readouterr().out), probabilities, ["cent", "öre", "sou"])
    with torch.inference_mode():
        plain = load_classifier(model).eval()(torch.from_numpy(images)).softmax(dim=1).numpy()
    assert np.abs(plain - probabilities).max() > 1e-3  # so averaging does matter here


def test_text_is_aligned_and_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    model, names = whitened(tmp_path / "m.safetensors"), ["a.png", "b.png", "a longer näme.png"]
    np.save("images.npy", patches(3))
    lay_out(tmp_path, dict(zip(names, map(as_png, patches(3)), strict=True)))
    run(monkeypatch, model, *names)
    lines = capsys.readouterr().out.splitlines()
    for line, name, row in zip(lines, names, expected(model, Path("images.npy"), 3), strict=True):
        assert line.startswith(name.ljust(len(names[2])) + "  ")
        found = re.findall(r"(\w+) +([\d.]+) %", line[len(names[2]) :])
        assert found == [
            (["cent", "öre", "sou"][label], f"{100 * row[label]:.1f}") for label in np.argsort(-row)
        ]
    assert (
        len({line.split()[-6] for line in lines}) == 2
    )  # the first classes differ, and so do their lengths
    assert len({tuple(match.start() for match in re.finditer("%", line)) for line in lines}) == 1


def test_one_picture_on_standard_input(
    trained: Project, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (content,) = pngs_of(trained, 1).values()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    run(monkeypatch, "-", "--json")
    listed = read_json(capsys.readouterr().out)
    assert [one["picture"] for one in listed] == ["-"]
    check(
        listed, expected(trained.model, trained.images / "test_images.npy", 1), list("0123456789")
    )


def test_a_folder_is_taken_whole_and_in_order_without_hidden_files(
    trained: Project, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    names = ["b.png", "a/z.png", "a/ä ö.png", "a/.hidden.png", ".git/x.png", "__MACOSX/b.png"]
    lay_out(trained.path / "mein Ordner", {name: solid(0) for name in names})
    run(monkeypatch, trained.model, "mein Ordner", "--json")
    captured = capsys.readouterr()
    listed = [Path(one["picture"]).as_posix() for one in read_json(captured.out)]
    assert listed == ["mein Ordner/a/z.png", "mein Ordner/a/ä ö.png", "mein Ordner/b.png"]
    assert "mein Ordner: 3 hidden files left out" in captured.err


def test_19_grey_and_transparent_pictures_are_seen_as_they_look(
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


BAD = {  # picture: what is said of it
    "cut.png": "image file is truncated",
    "text.png": "cannot identify image file",
    "gone.png": "No such file or directory",
    "empty": "a folder without pictures",
    "linked": "a link to a folder",
}


def lay_out_bad(trained: Project) -> list[str]:
    """Names with a good picture first, last and between two bad ones."""
    png = next(iter(pngs_of(trained, 1).values()))
    good = {f"good{number}.png": png for number in range(3)}
    lay_out(trained.path, {**good, "cut.png": png[:300], "text.png": b"no picture"})
    (trained.path / "empty").mkdir()
    (trained.path / "linked").mkdir()
    (trained.path / "linked" / "to").symlink_to(trained.path / "empty", target_is_directory=True)
    return [
        "good0.png",
        "cut.png",
        "good1.png",
        "text.png",
        "gone.png",
        "empty",
        "linked",
        "good2.png",
    ]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_19_bad_pictures_are_named_and_the_rest_is_done(
    trained: Project, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    names = lay_out_bad(trained)
    line = refused(lambda: run(monkeypatch, *names))
    captured = capsys.readouterr()
    assert [row.split()[0] for row in captured.out.splitlines()] == [
        "good0.png",
        "good1.png",
        "good2.png",
    ]
    assert line == "5 of 8 pictures could not be read; they are named above"
    for name, reason in BAD.items():
        (said,) = (
            said
            for said in captured.err.splitlines()
            if said.startswith((f"{name}: ", f"{name}{os.sep}"))
        )
        assert reason in said
    assert "good" not in captured.err


def test_19_nothing_readable_prints_nothing(
    trained: Project, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert "1 of 1" in refused(lambda: run(monkeypatch, "gone.png", "--figure", "f.png"))
    assert capsys.readouterr().out == ""
    assert "2 of 2" in refused(lambda: run(monkeypatch, "gone.png", "params.yaml", "--json"))
    assert read_json(capsys.readouterr().out) == []
    assert not Path("f.png").exists()


def test_from_elsewhere_as_a_command(
    trained: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No params.yaml there; a name that is no UTF-8, where there can be one, is printed all the same."""
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
        == "error: 1 of 3 pictures could not be read; they are named above"
    )
    assert sorted(snapshot(elsewhere)) == sorted(names)


def test_44_another_file_is_no_model(
    trained: Project, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    lay_out(trained.path, {"wrong.safetensors": b"no model", "a.png": solid(0)})
    assert "wrong.safetensors: not a safetensors file" in refused(
        lambda: run(monkeypatch, "wrong.safetensors", "a.png")
    )
    trained.model.unlink()
    assert "no such file; run the train stage first" in refused(lambda: run(monkeypatch, "a.png"))
    assert capsys.readouterr().out == ""


def test_nan_is_never_printed(
    trained: Project, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Weights that are finite, and too large."""
    classifier = load_classifier(trained.model)
    with torch.no_grad():
        for tensor in classifier.network.parameters():
            tensor.mul_(1e30)
    save_classifier(classifier, trained.model)
    lay_out(trained.path, pngs_of(trained, 1))
    assert "000.png: the model makes NaN of it" in refused(
        lambda: run(monkeypatch, "000.png", "--json")
    )
    assert capsys.readouterr().out == ""


def test_a_command_line_that_cannot_be_meant(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(trained.path, {"a.png": solid(0), "folder/kept": b""})
    assert "a model and no picture" in refused(lambda: run(monkeypatch, trained.model))
    assert "is a folder" in refused(lambda: run(monkeypatch, "a.png", "--figure", "folder"))
    assert Path("folder/kept").exists()


def test_no_more_than_a_batch_is_decoded_ahead(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = list(pngs_of(trained, 5))
    lay_out(trained.path, pngs_of(trained, 5))
    decoded: list[int] = []

    def count_and_decode(content: bytes, size: int) -> Any:
        decoded.append(size)
        return decode_picture(content, size)

    monkeypatch.setattr(predict, "AT_A_TIME", 2)
    monkeypatch.setattr(predict, "decode_picture", count_and_decode)
    with Progress(total=5) as progress:
        ahead = [len(decoded) for _ in predict.predict(load_classifier().eval(), names, progress)]
    assert ahead == [2, 2, 4, 4, 5]


def test_the_figure_holds_each_picture_below_its_class(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(trained.path / "pictures", pngs_of(trained, 7))
    figures: list[Any] = []

    def keep_and_save(figure: Any, path: Path) -> None:
        figures.append(figure)
        save_figure(figure, path)

    monkeypatch.setattr(predict, "save_figure", keep_and_save)
    run(monkeypatch, "pictures", "--figure", "figures/out.png")
    with Image.open("figures/out.png") as image:
        assert image.size == (
            5 * 184 + 24,
            84 + 2 * 194 + 24,
        )  # rows of five, 32 pixels drawn as 160
    probabilities = expected(trained.model, trained.images / "test_images.npy", 7)
    captions = [text.get_text() for text in figures[0].texts[2:]]
    assert captions == [f"{row.argmax()}: {100 * row.max():.1f} %" for row in probabilities]
    images = np.load(trained.images / "test_images.npy")
    for index, axes in enumerate(figures[0].axes):
        assert (axes.images[0].get_array().transpose(2, 0, 1) == images[index]).all()


def test_a_figure_of_very_many_pictures_says_how_many_are_left_out(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(trained.path / "pictures", pngs_of(trained, 5))
    figures: list[Any] = []
    monkeypatch.setattr(predict, "MOST_DRAWN", 2)
    monkeypatch.setattr(predict, "save_figure", lambda figure, path: figures.append(figure))
    run(monkeypatch, "pictures", "--figure", "out.png")
    assert len(figures[0].axes) == 2
    assert figures[0].texts[1].get_text() == "digits, recipe quick; 3 more pictures left out"
