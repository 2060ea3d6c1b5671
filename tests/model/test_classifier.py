"""Faults 44-48: the model file says all that is needed to use it, runs nothing, and a wrong one is refused."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from helpers import ROOT
from project import Project
from safetensors import safe_open

from common.arrays import Dataset, ImageFile
from common.errors import UserError
from common.params import load_params
from model.classifier import Classifier, Description, predict
from model.device import select_device
from model.file import METADATA_KEY, check_fits, load_classifier, save_classifier


def describe(**changes: Any) -> Description:
    recipe = load_params(ROOT / "params.yaml").recipes["quick"]
    description = Description(
        dataset="coins",
        classes=["cent", "öre", "sou"],
        image_size=16,
        recipe_name="quick",
        recipe=recipe,
        seed=4,
        processes=1,
        threads=2,
        torch=torch.__version__,
    )
    return description.model_copy(update=changes)


def pictures(count: int) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good model file."""
    path = tmp_path / "classifier.safetensors"
    save_classifier(Classifier(describe()), path)
    return path


def rewrite(
    path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], object]
) -> None:
    """Change tensors and description of a model file, with safetensors alone."""
    weights = safetensors.torch.load_file(path)
    with safe_open(path, framework="pt") as file:
        description = json.loads(file.metadata()[METADATA_KEY])
    change(weights, description)
    safetensors.torch.save_file(weights, path, {METADATA_KEY: json.dumps(description)})


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as raised:
        load_classifier(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert "train" in message  # the way out
    return message


def test_a_saved_and_loaded_classifier_gives_the_same_logits_to_the_bit(path: Path) -> None:
    original = Classifier(describe())
    loaded = load_classifier(path)
    assert loaded.description == original.description
    with torch.inference_mode():
        assert torch.equal(loaded.eval()(pictures(20)), original.eval()(pictures(20)))


def test_the_weights_are_those_of_the_file_and_not_the_first_ones_of_its_seed(path: Path) -> None:
    rewrite(path, lambda weights, _: weights["output.bias"].copy_(torch.tensor([1.0, 2.0, 3.0])))
    assert load_classifier(path).network.state_dict()["output.bias"].tolist() == [1, 2, 3]


def test_safetensors_alone_reads_the_description(path: Path) -> None:
    with safe_open(path, framework="np") as file:
        description = json.loads(file.metadata()[METADATA_KEY])
        shapes = {name: file.get_tensor(name).shape for name in file.keys()}  # noqa: SIM118 - not a mapping
    assert description["classes"] == ["cent", "öre", "sou"]
    assert description["image_size"] == 16
    assert description["recipe_name"] == "quick"
    assert description["recipe"]["mean"] == [0.5, 0.5, 0.5]
    assert description["recipe"]["channels"] == [6, 16]
    assert shapes["conv1.weight"] == (6, 3, 5, 5)
    assert shapes["output.weight"] == (3, 84)


def test_the_bytes_are_the_same_each_time_it_is_saved(path: Path, tmp_path: Path) -> None:
    save_classifier(Classifier(describe()), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_the_bytes_are_the_same_in_another_process(trained: Project, tmp_path: Path) -> None:
    """Another process has other hashes of strings, and with them another order of sets."""
    save_classifier(load_classifier(trained.model), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == trained.model.read_bytes()


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def zip_of(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return buffer.getvalue()


@pytest.mark.parametrize("wrap", [bytes, zip_of])
def test_a_pickle_is_refused_and_not_run(
    wrap: Callable[[bytes], bytes], path: Path, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    content = pickle.dumps(Bomb(ran))
    path.write_bytes(wrap(content))
    assert "not a safetensors file" in refusal(path)
    assert not ran.exists()
    pickle.loads(content)  # it would have
    assert ran.exists()


def test_torch_s_own_file_is_refused(path: Path) -> None:
    torch.save(Classifier(describe()).state_dict(), path)
    assert "not a safetensors file" in refusal(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        bytes(8),
        bytes(100),
        b"not a model at all",
        np.random.default_rng(0).bytes(10_000),
    ],
    ids=["empty", "one byte", "zeros", "more zeros", "text", "random"],
)
def test_other_bytes_are_refused(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    assert "not a safetensors file" in refusal(path)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(share: float, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "not a safetensors file" in refusal(path)


def test_no_file_says_what_to_run(path: Path) -> None:
    path.unlink()
    assert "no such file; run the train stage" in refusal(path)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        {"format": "pt"},
        {METADATA_KEY: ""},
        {METADATA_KEY: "{"},
        {METADATA_KEY: "[]"},
        {METADATA_KEY: "{}"},
    ],
)
def test_a_file_without_our_description_is_refused(
    metadata: dict[str, str] | None, path: Path
) -> None:
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file(weights, path, metadata)
    assert "does not describe a classifier" in refusal(path)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": "abc"},
        {"classes": None},
        {"image_size": "16"},
        {"recipe": {}},
        {"an_unknown_key": 1},
        {"seed": True},
    ],
)
def test_a_description_of_another_form_is_refused(change: dict[str, Any], path: Path) -> None:
    rewrite(path, lambda _, description: description.update(change))
    assert "does not describe a classifier" in refusal(path)


def test_a_missing_tensor_is_named_with_the_shape_it_should_have(path: Path) -> None:
    rewrite(path, lambda weights, _: weights.pop("linear1.bias"))
    assert "tensor linear1.bias is missing, its network has (120,)" in refusal(path)


def test_an_extra_tensor_is_named_with_its_shape(path: Path) -> None:
    rewrite(path, lambda weights, _: weights.update({"conv3.weight": torch.zeros(2, 3)}))
    assert "tensor conv3.weight is (2, 3), its network has missing" in refusal(path)


def test_a_tensor_of_another_shape_is_named_with_both(path: Path) -> None:
    rewrite(path, lambda weights, _: weights.update({"output.weight": torch.zeros(84, 3)}))
    assert "tensor output.weight is (84, 3), its network has (3, 84)" in refusal(path)


def test_a_description_of_more_classes_than_the_weights_have_is_refused(path: Path) -> None:
    rewrite(path, lambda _, description: description["classes"].append("grosz"))
    assert "tensor output.bias is (3,), its network has (4,)" in refusal(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_refused(value: float, path: Path) -> None:
    rewrite(path, lambda weights, _: weights["conv2.weight"][3, 2].fill_(value))
    message = refusal(path)
    assert "tensor conv2.weight" in message
    assert "NaN or infinity" in message


def dataset(**changes: Any) -> Dataset:
    counts = {"train": 2, "test": 2}
    fields = {
        "name": "coins",
        "classes": ["cent", "öre", "sou"],
        "image_size": 16,
        "counts": counts,
        "source": "here",
    }
    return Dataset(**{**fields, "sha256": None, **changes})


def test_a_model_for_other_classes_than_the_data_s_is_refused() -> None:
    classifier = Classifier(describe())
    check_fits(classifier, dataset())
    for classes in (["cent", "öre"], ["öre", "cent", "sou"]):
        with pytest.raises(UserError) as raised:
            check_fits(classifier, dataset(classes=classes))
        assert "['cent', 'öre', 'sou']" in str(raised.value)
        assert str(classes) in str(raised.value)


def test_a_model_for_another_picture_size_than_the_data_s_is_refused() -> None:
    with pytest.raises(UserError, match=r"image_size: 16, the data's: 20"):
        check_fits(Classifier(describe()), dataset(image_size=20))


@pytest.mark.parametrize("stage", ["test_sample", "evaluate"])
def test_the_stages_refuse_a_model_that_does_not_fit_the_data(stage: str, trained: Project) -> None:
    content = json.loads((trained.images / "dataset.json").read_text())
    content["classes"][3] = "three"
    (trained.images / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="three"):
        trained.call(stage)
    assert not list(trained.reports.glob("*.json"))
    assert not (trained.reports / "test_sample.png").exists()


def test_a_broken_model_ends_a_stage_with_one_line_and_status_1(trained: Project) -> None:
    trained.model.write_bytes(pickle.dumps(Bomb(trained.path / "ran")))
    assert "models/classifier.safetensors: not a safetensors file" in trained.fails(
        "evaluate"
    ).replace(os.sep, "/")
    assert not (trained.path / "ran").exists()
    assert not (trained.reports / "metrics.json").exists()


def test_any_batch_size_gives_the_same_predictions(trained: Project) -> None:
    """359 test pictures: with 7 and with 358 the last batch is odd, 500 is more than there are."""
    classifier = load_classifier(trained.model)
    images = ImageFile(trained.images / "test_images.npy")
    assert len(images) == 359
    found = [predict(classifier, images, range(359), batch_size) for batch_size in (1, 7, 358, 500)]
    for probabilities in found[1:]:
        assert torch.equal(probabilities.argmax(dim=1), found[0].argmax(dim=1))
        torch.testing.assert_close(probabilities, found[0], rtol=0, atol=1e-5)


def test_probabilities_are_those_of_the_pictures_asked_for_in_that_order(
    path: Path, tmp_path: Path
) -> None:
    images = pictures(23)
    np.save(tmp_path / "images.npy", images.numpy())
    classifier = load_classifier(path)
    wanted = [22, 0, 5, 5, 17]
    found = predict(classifier, ImageFile(tmp_path / "images.npy"), wanted, batch_size=2)
    with torch.inference_mode():
        expected = classifier(images)[wanted].double().softmax(dim=1)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6)


def test_the_device_asked_for_or_an_error() -> None:
    assert select_device("cpu").type == "cpu"
    best = (
        "cuda"
        if torch.cuda.is_available()
        else "mps"
        if torch.backends.mps.is_available()
        else "cpu"
    )
    assert select_device("auto").type == best
    for kind in {"cuda", "mps"} - {best}:
        with pytest.raises(
            UserError,
            match=f"device is '{kind}', which is not available here; choose auto or .*cpu",
        ):
            select_device(kind)  # type: ignore[arg-type]
