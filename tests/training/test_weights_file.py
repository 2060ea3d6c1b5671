"""Initial weights from a file: all of them or an error, and nothing in the file is executed."""

import os
import pickle
from pathlib import Path
from typing import Any, cast

import pytest
import safetensors.torch
import torch
from torch import Tensor
from torchvision import models

from common.errors import UserError
from helpers import refused
from model.classifier import Classifier
from model.file import save_classifier
from models import CLASSES, LENET, WHITENED, make_description, make_recipe, torchvision
from training.batches import TrainingData
from training.distributed import ProcessGroup
from training.initial_weights import set_initial_weights

NORMALIZE = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}
LAST = {"output.weight", "output.bias"}


def beginning_with(path: Path, network: dict[str, Any] = LENET, **changes: Any) -> Classifier:
    """Return a classifier of three classes whose recipe names a file of weights."""
    recipe = make_recipe(network={**network, "pretrained": str(path)})
    return Classifier(make_description(recipe, **changes))


def load(classifier: Classifier) -> dict[str, Tensor]:
    """Set the initial weights, for which no images are needed; return the network's tensors."""
    set_initial_weights(classifier, cast(TrainingData, None), ProcessGroup())
    return dict(classifier.network.state_dict())


def fails(classifier: Classifier) -> list[str]:
    with pytest.raises(UserError) as raised:
        load(classifier)
    return str(raised.value).split("\n")


def tensors(network: dict[str, Any] = LENET, **changes: Any) -> dict[str, Tensor]:
    """Return weights that no classifier of ``beginning_with`` has by itself."""
    description = make_description(make_recipe(network=network), seed=9, **changes)
    state = Classifier(description).network.state_dict()
    return {name: tensor.contiguous() for name, tensor in state.items()}


def write(path: Path, weights: Any) -> Path:
    if path.suffix == ".pth":
        torch.save(weights, path)
    else:
        safetensors.torch.save_file(weights, path)
    return path


def test_a_file_in_the_network_s_naming_is_loaded_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tensors()
    paths = [
        write(tmp_path / "a.safetensors", theirs),
        write(tmp_path / "a.pth", theirs),
        write(tmp_path / "b.pth", {"state_dict": theirs, "epoch": 3}),
    ]
    for path in paths:
        found = load(beginning_with(path))
        assert found.keys() == theirs.keys()
        assert all(torch.equal(found[name], theirs[name]) for name in theirs)
        said = capsys.readouterr().err
        assert said == (
            f"{path}: all layers are loaded, the last one too, since it has as many classes\n"
        )


def test_a_last_layer_for_other_classes_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tensors(classes=list("abcd"))
    path = write(tmp_path / "four.pth", theirs)
    ours = beginning_with(path)
    for name, tensor in load(ours).items():
        expected = torch.zeros_like(tensor) if name in LAST else theirs[name]
        assert torch.equal(tensor, expected), name
    assert capsys.readouterr().err == (
        f"{path}: all but the last layer is loaded, which begins anew: "
        "tensor output.bias is (4,), this network has (3,)\n"
    )


@pytest.mark.parametrize("missing", [LAST, {"output.bias"}])
def test_a_last_layer_that_is_not_whole_is_left_out(tmp_path: Path, missing: set[str]) -> None:
    theirs = {name: tensor for name, tensor in tensors().items() if name not in missing}
    ours = beginning_with(write(tmp_path / "body.safetensors", theirs))
    found = load(ours)
    assert not found["output.weight"].any()
    assert not found["output.bias"].any()
    assert torch.equal(found["conv1.weight"], theirs["conv1.weight"])


def test_a_whitened_network_keeps_the_file_s_whitening(tmp_path: Path) -> None:
    """Its images are not even looked at."""
    theirs = tensors(WHITENED)
    theirs["whiten.weight"] = torch.randn(theirs["whiten.weight"].shape)
    found = load(beginning_with(write(tmp_path / "a.safetensors", theirs), WHITENED))
    assert torch.equal(found["whiten.weight"], theirs["whiten.weight"])


def test_a_model_file_of_this_pipeline_is_a_beginning_too(tmp_path: Path) -> None:
    before = Classifier(make_description(seed=9, classes=["one", "other"]))
    save_classifier(before, tmp_path / "model.safetensors")
    found = load(beginning_with(tmp_path / "model.safetensors"))
    assert torch.equal(found["conv1.weight"], before.network.state_dict()["conv1.weight"])


@pytest.mark.parametrize("classes", [["x", "y", "z"], [*CLASSES[1:], CLASSES[0]]])
def test_the_last_layer_of_a_model_for_as_many_other_classes_is_left_out(
    classes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or for the same classes in another order: it would begin by mistaking one for another."""
    path = tmp_path / "model.safetensors"
    before = Classifier(make_description(seed=9, classes=classes))
    save_classifier(before, path)
    found = load(beginning_with(path))
    assert torch.equal(found["conv1.weight"], before.network.state_dict()["conv1.weight"])
    assert not any(found[name].any() for name in LAST)
    assert capsys.readouterr().err == (
        f"{path}: all but the last layer is loaded, which begins anew: it is of other classes\n"
    )


def test_the_last_layer_of_a_model_for_the_same_classes_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.safetensors"
    before = Classifier(make_description(seed=9))
    save_classifier(before, path)
    found, theirs = load(beginning_with(path)), before.network.state_dict()
    assert all(torch.equal(found[name], theirs[name]) for name in LAST)
    assert capsys.readouterr().err.endswith("the last one too, since it has the same classes\n")


def test_a_model_of_images_that_were_normalised_otherwise_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_classifier(Classifier(make_description(make_recipe(normalize=NORMALIZE))), path)
    line = refused(lambda: load(beginning_with(path)))
    assert line == (
        "normalize has mean [0.5, 0.5, 0.5] and std [0.5, 0.5, 0.5], but "
        f"{path} was trained with [0.4, 0.5, 0.6] and [0.2, 0.3, 0.4]; set normalize: "
        "{mean: [0.4, 0.5, 0.6], std: [0.2, 0.3, 0.4]}"
    )


def test_a_damaged_model_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_classifier(Classifier(make_description()), path)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "damaged, its content does not have its SHA-256" in refused(
        lambda: load(beginning_with(path))
    )


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"conv1.bias": None}, "tensor conv1.bias is none, this network has (6,)"),
        ({"conv3.bias": torch.ones(2)}, "tensor conv3.bias is (2,), this network has none"),
        ({"conv2.bias": torch.ones(2, 8)}, "tensor conv2.bias is (2, 8), this network has (16,)"),
        (
            {"conv2.bias": torch.ones(16, dtype=torch.int8)},
            "tensor conv2.bias is (16,) of int8, this network has (16,)",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_with_both_shapes(
    tmp_path: Path, change: dict[str, Tensor | None], fault: str
) -> None:
    weights = {
        name: tensor for name, tensor in {**tensors(), **change}.items() if tensor is not None
    }
    path = write(tmp_path / "a.safetensors", weights)
    assert fails(beginning_with(path)) == [
        f"{path}: {fault}",
        f"{path}: tensors that do not fit: 1; choose the network and the download.image_size that "
        "the weights are for, or other weights",
    ]


def test_weights_for_another_image_size_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", tensors(image_size=32))
    first, _ = fails(beginning_with(path))
    assert first == f"{path}: tensor linear1.weight is (120, 400), this network has (120, 16)"


def test_of_many_tensors_that_do_not_fit_ten_are_named(tmp_path: Path) -> None:
    theirs, ours = ({n: t.shape for n, t in tensors(k).items()} for k in (WHITENED, LENET))
    count = sum(theirs.get(n) != ours.get(n) for n in (theirs.keys() | ours.keys()) - LAST)
    path = write(tmp_path / "a.safetensors", tensors(WHITENED))
    *lines, last = fails(beginning_with(path))
    assert len(lines) == 10 < count
    assert f": tensors that do not fit: {count}; " in last


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    weights = tensors()
    weights["conv1.bias"][2] = torch.nan
    line = refused(lambda: load(beginning_with(write(tmp_path / "a.pth", weights))))
    assert "tensor conv1.bias holds NaN or infinity; choose other weights" in line


class Attack:
    def __reduce__(self) -> Any:
        return os.system, ("touch executed",)


def test_nothing_in_a_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Attack(), 2))  # it works
    Path("executed").unlink()
    Path("a.pth").write_bytes(pickle.dumps(Attack(), 2))
    torch.save({**tensors(), "attack": Attack()}, "b.pth")
    for path in (Path("a.pth"), Path("b.pth")):
        line = refused(lambda path=path: load(beginning_with(path)))  # type: ignore[misc]
        assert line.startswith(f"{path}: more or other than weights (")
        assert not Path("executed").exists()


@pytest.mark.parametrize("content", [[], [torch.ones(1)], {"epoch": 3}, {3: torch.ones(1)}])
def test_a_pth_file_of_something_else_is_refused(tmp_path: Path, content: Any) -> None:
    path = write(tmp_path / "a.pth", content)
    assert refused(lambda: load(beginning_with(path))).startswith(
        f"{path}: not tensors by their names; name a file as torch.save("
    )


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(6, device="meta"),
        torch.ones(6).to_sparse(),
        torch.quantize_per_tensor(torch.ones(6), 0.1, 0, torch.qint8),
    ],
    ids=["meta", "sparse", "quantized"],
)
def test_tensors_without_plain_values_are_refused(tmp_path: Path, tensor: Tensor) -> None:
    path = write(tmp_path / "a.pth", {**tensors(), "conv1.bias": tensor})
    assert refused(lambda: load(beginning_with(path))).startswith(f"{path}: ")


def test_a_last_layer_on_features_of_random_filters_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    load(Classifier(make_description(make_recipe(trainable="head"))))
    assert capsys.readouterr().err.startswith("trainable is 'head' and network.pretrained names no")
    load(Classifier(make_description()))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_damaged_files_are_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, tensors())
    content = path.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"\0" * 100):
        path.write_bytes(damaged)
        assert refused(lambda: load(beginning_with(path))).startswith(f"{path}: ")


def test_the_weights_of_torchvision_s_networks_are_understood_from_a_file(tmp_path: Path) -> None:
    """Without counters in batch norm, and with the auxiliary classifiers of googlenet."""
    theirs = models.googlenet(init_weights=False).state_dict()
    counted = {name for name in theirs if name.endswith("num_batches_tracked")}
    path = write(tmp_path / "a.pth", {name: theirs[name] for name in theirs.keys() - counted})
    found = load(beginning_with(path, torchvision("googlenet"), image_size=64))
    assert torch.equal(found["conv1.bn.weight"], theirs["conv1.bn.weight"])
    assert not any(name.startswith("aux") for name in found)
