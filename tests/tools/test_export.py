"""tools/export.py writes a file with which ONNX Runtime gives what PyTorch gives, or none."""

import contextlib
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
import torch

import export
from helpers import ROOT, refused, snapshot
from model.classifier import Classifier
from model.file import load_classifier, save_classifier
from models import (
    four_coloured_images,
    make_description,
    make_recipe,
    random_images,
    save_whitened,
)
from project import Project

onnx, _, onnxruntime = (
    pytest.importorskip(package, reason=f"{package} is not installed: pip install -e '.[export]'")
    for package in export.PACKAGES
)

Array = np.ndarray[Any, Any]


class Exported:
    """A model file and what was printed while it was exported."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.chdir(directory)
            patch.setattr(sys, "argv", ["export.py", *arguments])
            export.main()
        (self.path,) = directory.rglob("*.onnx")
        self.out, self.err = out.getvalue(), err.getvalue()

    def run(self, images: Array) -> Array:
        session = onnxruntime.InferenceSession(self.path, providers=["CPUExecutionProvider"])
        (probabilities,) = session.run(None, {"images": images})
        return np.asarray(probabilities)

    @property
    def metadata(self) -> dict[str, str]:
        return {entry.key: entry.value for entry in onnx.load(self.path).metadata_props}


@pytest.fixture(scope="module")
def lenet(trained_once: Project, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(trained_once.copy_to(tmp_path_factory.mktemp("lenet")).path)


@pytest.fixture(scope="module")
def augmenting(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Batch norm, bfloat16 and test-time augmentation; no data beside it."""
    directory = tmp_path_factory.mktemp("augmenting")
    save_whitened(directory / "m.safetensors")
    return Exported(directory, "--model", "m.safetensors")


@pytest.mark.parametrize("count", [1, 7, 50])
def test_a_batch_of_any_size_gives_pytorch_s_probabilities(
    count: int, lenet: Exported, trained_once: Project
) -> None:
    images = np.load(trained_once.images / "test_images.npy")[:count]
    with torch.inference_mode():
        expected = (
            load_classifier(trained_once.model)
            .eval()(torch.from_numpy(images))
            .softmax(dim=1)
            .numpy()
        )
    np.testing.assert_allclose(lenet.run(images), expected, atol=1e-5)


def test_normalisation_views_and_temperature_are_inside(tmp_path: Path) -> None:
    """By NumPy and SciPy around the bare network."""
    mean, std = [0.1, 0.4, 0.7], [0.2, 0.25, 0.3]
    recipe = make_recipe(normalize={"mean": mean, "std": std}, test_time_augmentation="mirror")
    classifier = Classifier(make_description(recipe, fit="pad", temperature=0.02)).eval()
    save_classifier(classifier, tmp_path / "m.safetensors")
    images = random_images(5)
    pixels = (images / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    with torch.inference_mode():
        logits, mirrored = (
            classifier.network(torch.from_numpy(view.astype(np.float32))).double().numpy()
            for view in (pixels, pixels[..., ::-1])
        )
    expected = scipy.special.softmax((logits + mirrored) / 2 / 0.02, axis=1)
    exported = Exported(tmp_path, "--model", "m.safetensors")
    np.testing.assert_allclose(exported.run(images), expected, atol=1e-4)
    assert exported.metadata["fit"] == "pad"
    assert json.loads(exported.metadata["description"])["temperature"] == 0.02


@pytest.mark.parametrize("count", [1, 7, 50])
def test_test_time_augmentation_is_inside_and_in_float32(count: int, augmenting: Exported) -> None:
    trained = load_classifier(augmenting.path.with_suffix(".safetensors"))
    recipe = trained.description.recipe.model_copy(update={"precision": "float32"})
    classifier = Classifier(trained.description.model_copy(update={"recipe": recipe})).eval()
    classifier.network.load_state_dict(trained.network.state_dict())
    images = four_coloured_images(count)
    with torch.inference_mode():
        expected = classifier.average(torch.from_numpy(images)).softmax(dim=1).numpy()
        plain = classifier(torch.from_numpy(images)).softmax(dim=1).numpy()
    np.testing.assert_allclose(augmenting.run(images), expected, atol=1e-5)
    assert np.abs(plain - expected).max() > 1e-3
    ranked = np.sort(plain, axis=1)
    sure = ranked[:, -1] - ranked[:, -2] >= 0.5
    assert count < 50 or 0 < sure.sum() < count  # both ways are in the graph


def test_another_test_time_augmentation_can_be_asked_for(tmp_path: Path) -> None:
    path, images = save_whitened(tmp_path / "m.safetensors", "float32"), four_coloured_images(5)
    options = ["--model", "m.safetensors", "--test-time-augmentation", "none"]
    exported = Exported(tmp_path, *options)
    with torch.inference_mode():
        plain = load_classifier(path).eval()(torch.from_numpy(images)).softmax(dim=1).numpy()
    np.testing.assert_allclose(exported.run(images), plain, atol=1e-5)
    assert exported.metadata["test_time_augmentation"] == "none"


def test_the_file_is_one_and_describes_itself(
    lenet: Exported, augmenting: Exported, trained_once: Project
) -> None:
    assert json.loads(lenet.metadata["classes"]) == list("0123456789")
    assert lenet.metadata["image_size"] == "32"
    assert json.loads(augmenting.metadata["classes"]) == ["cent", "öre", "sou"]
    description = load_classifier(trained_once.model).description
    assert json.loads(lenet.metadata["description"]) == description.model_dump()
    assert lenet.metadata["fit"] == "squash"
    assert lenet.metadata["test_time_augmentation"] == "none"
    assert augmenting.metadata["test_time_augmentation"] == "mirror_shift"
    assert set(snapshot(augmenting.path.parent)) == {"m.onnx", "m.safetensors"}
    session = onnxruntime.InferenceSession(augmenting.path, providers=["CPUExecutionProvider"])
    (given,), (made) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[1:]) == ("images", "tensor(uint8)", [3, 16, 16])
    assert isinstance(given.shape[0], str)
    assert [(one.name, one.type, one.shape[1:]) for one in made] == [
        ("probabilities", "tensor(float)", [3])
    ]
    for exported in (lenet, augmenting):
        onnx.checker.check_model(onnx.load(exported.path), full_check=True)
        assert str(ROOT).encode() not in exported.path.read_bytes()


def test_what_is_printed(lenet: Exported, augmenting: Exported) -> None:
    (opset,) = {entry.version for entry in onnx.load(lenet.path).opset_import if entry.domain == ""}
    megabytes = lenet.path.stat().st_size / 1e6
    first, second = lenet.out.splitlines()
    assert first.replace("\\", "/") == f"models/classifier.onnx: {megabytes:.2f} MB, opset {opset}"
    assert second.startswith(
        "256 test images of digits: the same classes; probabilities differ by "
    )
    assert "bfloat16" not in lenet.err
    _, second = augmenting.out.splitlines()
    assert second.startswith("256 generated images (data")
    assert "the recipe's precision is bfloat16; exported as float32" in augmenting.err.splitlines()


def changed(exported: Exported, change: Callable[[Array], Array]) -> bytes:
    """The file's bytes with other biases of the last layer."""
    model = onnx.load(exported.path)
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name.endswith("output.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(change(onnx.numpy_helper.to_array(bias)), bias.name))
    return bytes(model.SerializeToString())


def shift(bias: Array) -> Array:
    shifted: Array = bias + np.float32(0.002) * np.arange(len(bias), dtype=np.float32)
    return shifted


@pytest.mark.parametrize(
    ("change", "tolerance", "said"),
    [
        (lambda bias: np.roll(bias, 1) * 50, 1.0, r"give [1-9]\d* of 256"),
        (lambda bias: bias, -1.0, "give 0 of 256"),
        (shift, export.TOLERANCE, "differ by [1-9].*e-03"),
    ],
    ids=["other classes", "any difference is too much", "other probabilities"],
)
def test_a_file_that_gives_something_else_is_not_written(
    change: Callable[[Array], Array],
    tolerance: float,
    said: str,
    lenet: Exported,
    trained: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = changed(lenet, change)
    monkeypatch.setattr(export, "TOLERANCE", tolerance)
    monkeypatch.setattr(export, "to_onnx", lambda *_: (content, 20))
    monkeypatch.setattr(sys, "argv", ["export.py"])
    (trained.path / "models" / "classifier.onnx").write_bytes(b"an earlier one")
    before = snapshot(trained.path / "models")
    assert re.search(said, refused(export.main))
    assert snapshot(trained.path / "models") == before
    assert capsys.readouterr().out == ""


def test_nan_agrees_with_nothing(lenet: Exported, trained_once: Project) -> None:
    """Not even with images of the first class, which is also what argmax makes of NaN."""
    model = export.Probabilities(load_classifier(trained_once.model)).eval()
    images = np.load(trained_once.images / "test_images.npy")
    with torch.inference_mode():
        first = images[model(torch.from_numpy(images)).argmax(dim=1).numpy() == 0]
    line = refused(lambda: export.compare(model, changed(lenet, lambda bias: bias * np.nan), first))
    assert f"give 0 of {len(first)} images another class" in line
    assert "differ by nan" in line


def test_images_of_other_data_are_not_checked_with(trained: Project) -> None:
    classifier = load_classifier(trained.model)
    images, origin = export.images_to_check(classifier)
    there = np.load(trained.images / "test_images.npy")
    assert origin == "test images of digits"
    assert images.shape == (256, 3, 32, 32)
    assert (
        images[[0, -1]] == there[[0, -1]]
    ).all()  # of the whole file, which may be sorted by class
    content = json.loads((trained.images / "dataset.json").read_text())
    content["classes"][3] = "three"
    (trained.images / "dataset.json").write_text(json.dumps(content))
    images, origin = export.images_to_check(classifier)
    assert origin.startswith("generated images (the model's classes: ")
    assert images.shape == (256, 3, 32, 32)
