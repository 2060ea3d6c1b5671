"""tools/export.py refuses what it cannot read or must not overwrite."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import export
from helpers import refused, snapshot
from project import Project

for package in export.PACKAGES:
    pytest.importorskip(package, reason=f"{package} is missing: pip install -e '.[export]'")


def test_missing_packages_are_named_with_what_installs_them(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["export.py"])
    monkeypatch.setattr(
        export, "find_spec", lambda name: None if name == "onnxruntime" else object()
    )
    assert refused(export.main) == "onnxruntime: not installed; run `pip install -e '.[export]'`"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes or devices among files")
@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("models/classifier.safetensors", "name a file that ends in .onnx"),
        ("models", "name a file that ends in .onnx"),
        ("params.yaml", "name a file that ends in .onnx"),
        ("same.onnx", "same.onnx is a file to read"),
        ("link.onnx", "link.onnx is a folder, link, pipe or device"),
        ("folder.onnx", "folder.onnx is a folder, link, pipe or device"),
        ("pipe.onnx", "pipe.onnx is a folder, link, pipe or device"),
        ("model/classifier.onnx", "there is no folder model"),
    ],
)
def test_the_output_takes_nothing_s_place(
    output: str, said: str, trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.link(trained.model, "same.onnx")
    Path("link.onnx").symlink_to(trained.model)
    Path("folder.onnx").mkdir()
    os.mkfifo("pipe.onnx")
    before = snapshot(trained.path / "models")
    monkeypatch.setattr(sys, "argv", ["export.py", "--output", output])
    line = refused(export.main)
    assert line.startswith(f"--output {output}: ")
    assert said in line
    assert snapshot(trained.path / "models") == before
    assert not Path("model").exists()


def test_a_file_that_is_no_model_is_refused(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["export.py", "--model", "params.yaml"])
    assert "params.yaml: not a safetensors file" in refused(export.main)
    assert not (trained.path / "params.onnx").exists()


@pytest.mark.parametrize("option", ["--model", "--output"])
def test_a_name_that_is_too_long_is_one_line(option: str, trained: Project) -> None:
    done = subprocess.run(
        [sys.executable, export.__file__, option, f"{'n' * 300}.onnx"],
        cwd=trained.path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "nnn" in line
