"""The README uses the exported file without PyTorch and gets what predict gets."""

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import export
from helpers import ROOT, encode, lay_out
from model.classifier import Classifier
from model.file import save_classifier
from models import CLASSES, make_description, make_recipe
from predictions import Capture, read_json, run

for package in export.PACKAGES:
    pytest.importorskip(package, reason=f"{package} is missing: pip install -e '.[export]'")

PAGE = (ROOT / "README.md").read_text(encoding="utf-8")
(SNIPPET,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
EXIF_ORIENTATION = 0x0112


def photo(size: tuple[int, int], mode: str, orientation: int) -> bytes:
    """Return a JPEG with smooth colours, and edges that show how it was turned and resized."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    pixels = np.stack([255 * x, 255 * y * y, 255 * (x + y > 0.7)], axis=2).astype(np.uint8)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    return encode(Image.fromarray(pixels).convert(mode), "JPEG", exif=exif.tobytes())


PHOTOS = {
    "small": photo((20, 12), "RGB", 1),
    "large, decoded at a fraction": photo((400, 300), "RGB", 1),
    "turned by the camera": photo((300, 200), "RGB", 6),
    "mirrored and grey": photo((90, 120), "L", 5),
    "for print": photo((60, 80), "CMYK", 1),
}


@pytest.fixture(scope="module", params=["squash", "crop", "pad"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that sees differences well, and its ONNX file."""
    folder = tmp_path_factory.mktemp("use")
    recipe = make_recipe(test_time_augmentation="mirror")
    description = make_description(recipe, fit=request.param, temperature=0.1)
    (folder / "models").mkdir()
    save_classifier(Classifier(description), folder / "models" / "classifier.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["export.py"])
        export.main()
    return folder


@pytest.mark.parametrize("content", PHOTOS.values(), ids=list(PHOTOS))
def test_the_snippet_and_predict_agree(
    content: bytes, exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(exported)
    lay_out(exported, {"photo.jpg": content})
    run(monkeypatch, "photo.jpg", "--json")
    (one,) = read_json(capsys.readouterr().out)
    expected = {top["class"]: top["probability"] for top in one["predictions"]}
    names: dict[str, Any] = {}
    exec(SNIPPET, names)
    found = dict(zip(CLASSES, names["probabilities"].tolist(), strict=True))
    assert found == pytest.approx(expected, abs=1e-5)  # another resampling differs by 2e-4
    assert 0.4 < max(expected.values()) < 0.999  # another image would show
    best = max(expected, key=lambda name: expected[name])
    assert capsys.readouterr().out == f"{best}: {found[best]:.1%}\n"


def test_the_snippet_needs_three_packages() -> None:
    """And fifteen lines."""
    imports = [node for node in ast.walk(ast.parse(SNIPPET)) if isinstance(node, ast.Import)]
    froms = [node for node in ast.walk(ast.parse(SNIPPET)) if isinstance(node, ast.ImportFrom)]
    modules = {alias.name for node in imports for alias in node.names}
    modules |= {str(node.module) for node in froms}
    assert modules == {"json", "numpy", "onnxruntime", "PIL"}
    assert len([line for line in SNIPPET.splitlines() if line]) == 15
