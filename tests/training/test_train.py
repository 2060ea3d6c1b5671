"""Training as its user sees it: the same bytes again, a truthful history, and the test set left alone."""

import json
import math
import platform
import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from helpers import start
from project import Project
from safetensors import safe_open
from scipy.stats import binom
from sklearn.datasets import load_digits
from torch.nn.functional import conv2d, cross_entropy, max_pool2d

from common.arrays import ImageFile
from common.errors import UserError
from train import epoch_order

Arrays = np.ndarray[Any, Any]


def arrays(project: Project, split: str) -> tuple[Arrays, Arrays]:
    """Pictures and labels of a split, as download wrote them."""
    images, labels = (
        np.load(project.images / f"{split}_{what}.npy") for what in ("images", "labels")
    )
    return images, labels


def write_arrays(project: Project, split: str, images: Arrays, labels: Arrays) -> None:
    np.save(project.images / f"{split}_images.npy", images)
    np.save(project.images / f"{split}_labels.npy", labels)
    content = json.loads((project.images / "dataset.json").read_text())
    content["counts"][split] = len(labels)
    (project.images / "dataset.json").write_text(json.dumps(content))


def history(project: Project) -> pd.DataFrame:
    return pd.read_csv(project.reports / "history.csv")


def described(project: Project) -> dict[str, Any]:
    """What the model file says of itself."""
    with safe_open(project.model, framework="pt") as file:
        (text,) = file.metadata().values()
    content: dict[str, Any] = json.loads(text)
    return content


def logits_by_hand(model: Path, images: Arrays) -> torch.Tensor:
    """The tutorial's network in double precision, from the weights in the file alone."""
    weights = {name: tensor.double() for name, tensor in safetensors.torch.load_file(model).items()}
    x = (torch.from_numpy(images).double() / 255 - 0.5) / 0.5
    for name in ("conv1", "conv2"):
        x = max_pool2d(conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"]).relu(), 2)
    x = x.flatten(1)
    for name in ("linear1", "linear2", "output"):
        x = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        x = x if name == "output" else x.relu()
    return x


def test_the_same_params_twice_give_the_same_bytes_without_the_test_set(
    trained_once: Project, prepared: Project
) -> None:
    """Each in a process of its own; and the second without the test pictures, which training must not need."""
    for file in prepared.images.glob("test_*"):
        file.unlink()
    printed = prepared.succeeds("train")
    assert prepared.model.read_bytes() == trained_once.model.read_bytes()
    for name in ("history.csv", "history.png"):
        assert (prepared.reports / name).read_bytes() == (trained_once.reports / name).read_bytes()
    assert "62,006" in printed  # the table of layers


def test_another_seed_gives_another_model(trained_once: Project, prepared: Project) -> None:
    prepared.change(train__seed=1)
    prepared.call("train")
    ours, theirs = (
        safetensors.torch.load_file(project.model) for project in (prepared, trained_once)
    )
    assert not any(torch.equal(ours[name], theirs[name]) for name in ours)


def test_it_learns(trained_once: Project) -> None:
    rows = history(trained_once)
    assert rows["train_loss"].iloc[-1] < rows["train_loss"].iloc[0] < math.log(10)
    images, labels = arrays(trained_once, "test")
    right = (logits_by_hand(trained_once.model, images).argmax(dim=1).numpy() == labels).mean()
    assert right > 0.7  # two epochs; 0.1 is chance


def test_the_model_says_how_it_came_to_be(trained_once: Project) -> None:
    description, params = described(trained_once), trained_once.read_params()
    assert description["recipe_name"] == "quick"
    for key, value in params["recipes"]["quick"].items():
        assert description["recipe"][key] == value
    assert description["seed"] == params["train"]["seed"]
    assert description["dataset"] == "digits"
    assert description["classes"] == list("0123456789")
    assert description["image_size"] == 32
    assert description["torch"] == torch.__version__


def test_the_threads_asked_for_are_used_and_recorded_and_give_the_same_bytes_again(
    prepared: Project,
) -> None:
    prepared.change(train__threads=2, recipes__quick__epochs=1, recipes__quick__batch_size=500)
    prepared.call("train")
    assert torch.get_num_threads() == 2
    assert described(prepared)["threads"] == 2
    first = prepared.model.read_bytes()
    prepared.model.unlink()
    prepared.call("train")
    assert prepared.model.read_bytes() == first


@pytest.mark.parametrize(
    "batch_size", [1437, 1000, 5000], ids=["last of one", "odd last", "more than all"]
)
def test_the_history_is_of_all_pictures_whatever_the_last_batch(
    batch_size: int, prepared: Project
) -> None:
    """At a rate of nearly 0 the network stays as it was, so its loss and accuracy can be computed afterwards.

    A mean of batch means would be off: most where 1,437 of the 1,438 pictures leave a last batch of one.
    """
    prepared.change(
        recipes__quick__batch_size=batch_size,
        recipes__quick__learning_rate=1e-30,
        recipes__quick__weight_decay=0.0,
        recipes__quick__schedule="constant",
    )
    prepared.call("train")
    images, labels = arrays(prepared, "train")
    assert len(labels) == 1438
    logits = logits_by_hand(prepared.model, images)
    loss = cross_entropy(logits, torch.from_numpy(labels)).item()
    correct = int((logits.argmax(dim=1).numpy() == labels).sum())
    rows = history(prepared)
    assert rows["epoch"].tolist() == [1, 2]
    np.testing.assert_allclose(rows["train_loss"], loss, rtol=2e-5)
    np.testing.assert_allclose(rows["train_accuracy"], 100 * correct / len(labels), rtol=1e-5)
    np.testing.assert_allclose(rows["learning_rate"], 1e-30, rtol=1e-5)
    assert rows[["validation_loss", "validation_accuracy"]].isna().all(axis=None)


def test_the_learning_rate_of_an_epoch_is_that_of_its_last_step(trained_once: Project) -> None:
    """1,438 pictures at 64 a step are 23 steps an epoch; the cycle of 46 peaks at step 12.8, counted from 0."""
    peak, last, highest = 0.3 * 46 - 1, 45, 0.05
    lowest = highest / 25 / 1e4
    first_epoch = lowest + (highest - lowest) / 2 * (
        1 + math.cos(math.pi * (22 - peak) / (last - peak))
    )
    np.testing.assert_allclose(
        history(trained_once)["learning_rate"], [first_epoch, lowest], rtol=1e-5
    )


def test_a_step_is_gradient_descent(prepared: Project) -> None:
    """One step over all pictures, against the gradient in double precision."""
    write_arrays(prepared, "train", *(array[:300] for array in arrays(prepared, "train")))
    prepared.change(
        recipes__quick__batch_size=5000,
        recipes__quick__epochs=1,
        recipes__quick__schedule="constant",
        recipes__quick__learning_rate=1e-30,
        recipes__quick__momentum=0.0,
        recipes__quick__nesterov=False,
        recipes__quick__weight_decay=0.0,
    )
    prepared.call("train")
    before = safetensors.torch.load_file(prepared.model)
    images, labels = arrays(prepared, "train")
    prepared.change(recipes__quick__learning_rate=0.1)
    prepared.call("train")
    after = safetensors.torch.load_file(prepared.model)

    bias = torch.zeros(
        10, dtype=torch.float64, requires_grad=True
    )  # what is added to the last layer's
    safetensors.torch.save_file(before, prepared.model)
    logits = logits_by_hand(prepared.model, images) + bias
    (gradient,) = torch.autograd.grad(cross_entropy(logits, torch.from_numpy(labels)), bias)
    expected = before["output.bias"].double() - 0.1 * gradient
    torch.testing.assert_close(after["output.bias"].double(), expected, rtol=0, atol=1e-6)
    assert (gradient.abs() > 1e-3).any()


def test_the_order_of_an_epoch_is_a_permutation_of_its_own() -> None:
    orders = [epoch_order(1000, seed, epoch) for seed in (0, 1) for epoch in (1, 2)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(1000))
    assert len({tuple(order.tolist()) for order in [*orders, torch.arange(1000)]}) == 5
    assert torch.equal(epoch_order(1000, 1, 2), orders[3])


def test_training_and_test_set_share_no_picture_and_lose_none(prepared_once: Project) -> None:
    bundle = load_digits()
    grey = (bundle.images * 255 / 16).round().astype(np.uint8)
    all_pictures = {picture.tobytes() for picture in grey}
    assert len(all_pictures) == len(grey) == 1797
    sets = {}
    for split in ("train", "test"):
        images, _ = arrays(prepared_once, split)
        sets[split] = {image.tobytes() for image in images}
        assert len(sets[split]) == len(images)
    assert not sets["train"] & sets["test"]
    assert len(sets["train"]) + len(sets["test"]) == 1797


def test_shuffled_labels_teach_nothing(prepared: Project) -> None:
    """Nothing leaks: with labels that mean nothing, test accuracy is chance, within what 359 trials allow."""
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        images, labels = arrays(prepared, split)
        write_arrays(prepared, split, images, random.permutation(labels))
    prepared.change(recipes__quick__epochs=5)
    prepared.call("train")
    images, labels = arrays(prepared, "test")
    correct = int((logits_by_hand(prepared.model, images).argmax(dim=1).numpy() == labels).sum())
    low, high = binom.interval(0.9999, len(labels), 0.1)
    assert low <= correct <= high


def test_two_hundred_pictures_trained_long_are_nearly_all_right(prepared: Project) -> None:
    images, labels = arrays(prepared, "train")
    chosen = np.random.default_rng(0).permutation(len(labels))[
        :201
    ]  # the last batch of each epoch is one picture
    write_arrays(prepared, "train", images[chosen], labels[chosen])
    prepared.change(
        recipes__quick__epochs=30,
        recipes__quick__batch_size=20,
        recipes__quick__learning_rate=0.002,
    )
    prepared.change(recipes__quick__optimizer="adamw", recipes__quick__nesterov=False)
    prepared.call("train")
    right = logits_by_hand(prepared.model, images[chosen]).argmax(dim=1).numpy() == labels[chosen]
    assert right.mean() >= 0.99
    assert history(prepared)["train_accuracy"].iloc[-1] >= 99


def test_a_loss_that_is_not_finite_stops_it_and_leaves_the_model_before(trained: Project) -> None:
    before = trained.model.read_bytes()
    trained.change(recipes__quick__learning_rate=1e9)
    message = trained.fails("train")
    assert re.search(
        r"loss is (nan|inf) at epoch 1, step \d+, learning rate [\d.e+]+; .* lower learning_rate",
        message,
    )
    assert trained.model.read_bytes() == before
    assert [
        path.name
        for path in trained.model.parent.iterdir()
        if path.suffix in (".safetensors", ".part")
    ] == [trained.model.name]


def test_the_step_named_is_the_first_whose_loss_is_not_finite(prepared: Project) -> None:
    """Weights that a first step of 1e30 took away give no finite loss in the second."""
    prepared.change(recipes__quick__learning_rate=1e30, recipes__quick__schedule="constant")
    with pytest.raises(UserError, match=r"epoch 1, step 2, learning rate 1e\+30"):
        prepared.call("train")
    assert not prepared.model.exists()


@pytest.mark.parametrize("missing", ["dataset.json", "train_images.npy", "train_labels.npy"])
def test_without_pictures_it_says_what_to_run(missing: str, prepared: Project) -> None:
    (prepared.images / missing).unlink()
    with pytest.raises(UserError, match=f"{missing}: no such file; run the download stage"):
        prepared.call("train")
    assert not prepared.model.exists()


def test_cuda_where_there_is_none_is_an_error_and_never_the_cpu(prepared: Project) -> None:
    prepared.change(train__device="cuda")
    message = prepared.fails("train", CUDA_VISIBLE_DEVICES="-1", HIP_VISIBLE_DEVICES="-1")
    assert "device is 'cuda', which is not available here; choose auto or cpu" in message
    assert not prepared.model.exists()


def test_pictures_read_by_index_are_those_of_the_array(prepared_once: Project) -> None:
    path = prepared_once.images / "train_images.npy"
    expected, images = np.load(path), ImageFile(path)
    assert len(images) == len(expected)
    for indices in (
        [0],
        [len(expected) - 1],
        [5, 3, 3, 0],
        np.random.default_rng(0).permutation(len(expected)),
    ):
        read = images.read(indices)
        assert read.dtype == np.uint8
        assert read.shape == (len(indices), 3, 32, 32)
        np.testing.assert_array_equal(read, expected[np.array(indices, int)])


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="elsewhere the C library is left as it is"
)
def test_freed_memory_is_used_again_without_being_mapped_anew(tmp_path: Path) -> None:
    code = """
        import resource, torch, train
        def pages():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(10):
                torch.ones(100_000_000, dtype=torch.uint8)
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        print(pages())
        train.keep_freed_memory()
        pages()
        print(pages())
    """
    before, after = map(int, start(textwrap.dedent(code), tmp_path).communicate()[0].split())
    assert before > 100  # of 4 KiB or 2 MiB
    assert after < before / 10
