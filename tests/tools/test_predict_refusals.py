"""What tools/predict.py cannot read is named, the rest is predicted; nothing is overwritten."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import predict
from helpers import ROOT, lay_out, refused, snapshot, solid
from model.file import load_classifier, save_classifier
from predictions import Capture, pngs_of, read_json, run
from project import Project

POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes or devices among files")
BAD = {  # what is said of each
    "cut.png": "image file is truncated",
    "text.png": "not an image",
    "gone.png": "No such file or directory",
    "empty": "a folder without images",
    "linked": "a link to a folder",
    "pipe.png": "neither a file nor a folder",
    "huge.png": "which no image needs",
    "n" * 300: "File name too long",
    "loop.png": "Too many levels of symbolic links",
}


def lay_out_bad(folder: Path, png: bytes) -> list[str]:
    """Return names with a good image first, last and between bad ones."""
    good = {f"good{number}.png": png for number in range(3)}
    lay_out(folder, {**good, "cut.png": png[:300], "text.png": b"no image", "huge.png": b""})
    (folder / "empty").mkdir()
    (folder / "linked").mkdir()
    (folder / "linked" / "to").symlink_to(folder / "empty", target_is_directory=True)
    (folder / "loop.png").symlink_to(folder / "loop.png")
    os.mkfifo(folder / "pipe.png")
    os.truncate(folder / "huge.png", 2**40)  # a file with a hole, which takes no space
    return ["good0.png", "cut.png", "good1.png", *(set(BAD) - {"cut.png"}), "good2.png"]


@POSIX
def test_bad_images_are_named_and_the_rest_is_predicted(
    trained: Project, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    names = lay_out_bad(trained.path, next(iter(pngs_of(trained, 1).values())))
    line = refused(lambda: run(monkeypatch, *names))
    captured = capsys.readouterr()
    predicted = [row.split()[0] for row in captured.out.splitlines()]
    assert predicted == ["good0.png", "good1.png", "good2.png"]
    assert line == f"{len(BAD)} of {len(names)} images could not be read; they are named above"
    said = captured.err.splitlines()
    for name, reason in BAD.items():
        (one,) = (each for each in said if each.startswith((f"{name}: ", f"{name}{os.sep}")))
        assert reason in one
    assert "good" not in captured.err


def test_nothing_readable_prints_nothing(
    trained: Project, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert "1 of 1" in refused(lambda: run(monkeypatch, "gone.png", "--figure", "f.png"))
    assert capsys.readouterr().out == ""
    assert "2 of 2" in refused(lambda: run(monkeypatch, "gone.png", "params.yaml", "--json"))
    assert read_json(capsys.readouterr().out) == []
    assert not Path("f.png").exists()


def test_another_file_is_no_model(
    trained: Project, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    lay_out(trained.path, {"wrong.safetensors": b"no model", "a.png": solid(0)})
    line = refused(lambda: run(monkeypatch, "wrong.safetensors", "a.png"))
    assert "wrong.safetensors: not a safetensors file" in line
    trained.model.unlink()
    assert "no such file; run the train stage first" in refused(lambda: run(monkeypatch, "a.png"))
    assert capsys.readouterr().out == ""


def test_nan_is_never_printed(
    trained: Project, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """The weights are finite, and too large."""
    classifier = load_classifier(trained.model)
    with torch.no_grad():
        for tensor in classifier.network.parameters():
            tensor.mul_(1e30)
    save_classifier(classifier, trained.model)
    lay_out(trained.path, pngs_of(trained, 1))
    line = refused(lambda: run(monkeypatch, "000.png", "--json"))
    assert "000.png: the model's probabilities are NaN" in line
    assert capsys.readouterr().out == ""


def test_a_model_without_images_is_refused(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "a model but no image" in refused(lambda: run(monkeypatch, trained.model))


@POSIX
@pytest.mark.parametrize(
    ("figure", "said"),
    [
        ("a.png", "a.png is a file to read"),
        ("hard.png", "hard.png is a file to read"),
        ("folder.png", "folder.png is a folder, link, pipe or device"),
        ("link.png", "link.png is a folder, link, pipe or device"),
        ("pipe.png", "pipe.png is a folder, link, pipe or device"),
        ("f.png", "f.png.part is a folder, link, pipe or device"),
        ("typo/f.png", "there is no folder typo"),
        ("/dev/null", "name a file that ends in .png"),
        ("a.jpg", "name a file that ends in .png"),
    ],
)
def test_a_figure_takes_nothing_s_place(
    figure: str, said: str, trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(trained.path, {"a.png": solid(0), "a.jpg": solid(0, kind="JPEG"), "folder.png/a": b""})
    lay_out(trained.path, {"f.png.part/kept": b"mine"})
    os.link("a.png", "hard.png")
    Path("link.png").symlink_to("target.png")
    os.mkfifo("pipe.png")
    before = sorted(path for path in trained.path.rglob("*"))
    line = refused(lambda: run(monkeypatch, "a.png", "--figure", figure))
    assert line.startswith(f"--figure {figure}: ")
    assert said in line
    assert sorted(path for path in trained.path.rglob("*")) == before
    assert Path("a.png").read_bytes() == solid(0)


def test_a_figure_may_replace_an_earlier_one(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also beside an image whose name is too long to be looked up."""
    lay_out(trained.path, {"a.png": solid(0), "f.png": b"an earlier one"})
    assert "1 of 2" in refused(lambda: run(monkeypatch, "a.png", "n" * 300, "--figure", "f.png"))
    assert Path("f.png").read_bytes()[1:4] == b"PNG"
    assert Path("a.png").read_bytes() == solid(0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_full_disk_is_one_line_that_names_the_figure(trained: Project) -> None:
    """A limit to the size of files stands for the disk; the model is small enough to be read."""
    import resource

    lay_out(trained.path, {"a.png": solid(0)})
    done = subprocess.run(
        [sys.executable, predict.__file__, "a.png", "--figure", "f.png"],
        cwd=trained.path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: f.png")
    assert [name for name in snapshot(trained.path) if name.startswith("f.png")] == []


def test_the_command_line_is_explained(trained: Project) -> None:
    del trained
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "predict.py", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "--test-time-augmentation {recipe,none,mirror,mirror_shift}" in done.stdout
