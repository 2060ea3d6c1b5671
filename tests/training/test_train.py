"""Training as its user sees it: the same bytes again, a truthful history, no test images."""

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
from scipy.stats import binom
from sklearn.datasets import load_digits
from torch.nn.functional import conv2d, cross_entropy, max_pool2d

from common.errors import UserError
from helpers import arrays, start
from project import Project
from trainings import described

Array = np.ndarray[Any, Any]


def read_arrays(project: Project, split: str) -> tuple[Array, Array]:
    """Return the images and labels of a split."""
    found = arrays(project.images)
    return found[f"{split}_images"], found[f"{split}_labels"]


def write_arrays(project: Project, split: str, images: Array, labels: Array) -> None:
    np.save(project.images / f"{split}_images.npy", images)
    np.save(project.images / f"{split}_labels.npy", labels)
    np.save(project.images / f"{split}_keys.npy", np.arange(len(labels), dtype=np.uint64))
    content = json.loads((project.images / "dataset.json").read_text())
    content["counts"][split] = len(labels)
    (project.images / "dataset.json").write_text(json.dumps(content))


def history(project: Project) -> pd.DataFrame:
    return pd.read_csv(project.reports / "history.csv")


def logits_by_hand(model: Path, images: Array) -> torch.Tensor:
    """Compute the tutorial's network in double precision, from the weights in the file alone."""
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
    """Each in a process of its own; the second one without the test images."""
    for file in prepared.images.glob("test_*"):
        file.unlink()
    prepared.succeeds("train")
    assert prepared.model.read_bytes() == trained_once.model.read_bytes()
    theirs, ours = (each.reports / "history.csv" for each in (trained_once, prepared))
    assert ours.read_bytes() == theirs.read_bytes()


def test_results_go_to_standard_output_and_progress_to_standard_error(prepared: Project) -> None:
    done = prepared.run("train")
    table, epochs = done.stdout.split("62,006\n")  # parameters of the network, the table's total
    assert table.startswith("input ")
    assert re.fullmatch(r"(epoch [12]: train loss [\d.]+, train accuracy [\d.]+\n){2}", epochs)
    assert "Epoch 1 of 2: 100%" in done.stderr
    assert "train loss" not in done.stderr


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
    images, labels = read_arrays(trained_once, "test")
    right = (logits_by_hand(trained_once.model, images).argmax(dim=1).numpy() == labels).mean()
    assert right > 0.6  # two epochs; 0.1 is chance


def test_the_model_says_how_it_came_to_be(trained_once: Project) -> None:
    description, params = described(trained_once.model), trained_once.read_params()
    assert description["recipe_name"] == "quick"
    for key, value in params["recipes"]["quick"].items():
        found = description["recipe"][key]
        # A section also has the keys that the recipe leaves at their defaults.
        assert found.items() >= value.items() if isinstance(value, dict) else found == value
    assert description["seed"] == params["train"]["seed"]
    assert description["dataset"] == "digits"
    assert description["classes"] == list("0123456789")
    assert description["image_size"] == 32
    assert description["fit"] == params["download"]["fit"]
    assert (description["device"], description["processes"]) == ("cpu", 1)
    assert description["torch"] == torch.__version__
    assert description["best_epoch"] is None


def test_the_threads_asked_for_are_used_and_recorded_and_give_the_same_bytes_again(
    prepared: Project,
) -> None:
    prepared.change(machine__threads=2, recipes__quick__epochs=1, recipes__quick__batch_size=500)
    prepared.call("train")
    assert torch.get_num_threads() == 2
    assert described(prepared.model)["threads"] == 2
    first = prepared.model.read_bytes()
    prepared.model.unlink()
    prepared.call("train")
    assert prepared.model.read_bytes() == first


def plain(project: Project, learning_rate: float, **changes: Any) -> None:
    """Train by gradient descent without momentum, weight decay or schedule."""
    sgd = {"name": "sgd", "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
    project.change(
        recipes__quick__optimizer=sgd,
        recipes__quick__schedule="constant",
        recipes__quick__learning_rate=learning_rate,
        **changes,
    )
    project.call("train")


@pytest.mark.parametrize("batch", ["all but one", 1000, 5000])
def test_the_history_is_of_all_images_whatever_the_batch_size(
    batch: str | int, prepared: Project
) -> None:
    """At a rate of nearly 0 the network stays as it was, so its loss can be computed afterwards."""
    images, labels = read_arrays(prepared, "train")
    size = len(labels) - 1 if isinstance(batch, str) else batch
    plain(prepared, 1e-30, recipes__quick__batch_size=size)
    logits = logits_by_hand(prepared.model, images)
    loss = cross_entropy(logits, torch.from_numpy(labels)).item()
    correct = int((logits.argmax(dim=1).numpy() == labels).sum())
    rows = history(prepared)
    assert rows["epoch"].tolist() == [1, 2]
    np.testing.assert_allclose(rows["train_loss"], loss, rtol=2e-5)
    np.testing.assert_allclose(rows["train_accuracy"], 100 * correct / len(labels), rtol=1e-5)
    np.testing.assert_allclose(rows["learning_rate"], 1e-30, rtol=1e-5)
    assert rows[["validation_loss", "validation_accuracy"]].isna().all(axis=None)


def test_the_learning_rate_of_an_epoch_is_that_of_its_last_step(
    trained_once: Project,
) -> None:
    """The cosine of one_cycle, whose peak is at 30 % of the steps, counted from 0."""
    steps = math.ceil(len(read_arrays(trained_once, "train")[1]) / 64)  # per epoch
    peak, last, highest = 0.3 * 2 * steps - 1, 2 * steps - 1, 0.05
    lowest = highest / 25 / 1e4
    share = (steps - 1 - peak) / (last - peak)
    first_epoch = lowest + (highest - lowest) / 2 * (1 + math.cos(math.pi * share))
    found = history(trained_once)["learning_rate"]
    np.testing.assert_allclose(found, [first_epoch, lowest], rtol=1e-5)


def test_a_step_is_gradient_descent(prepared: Project) -> None:
    """One step over all images, against the gradient in double precision."""
    write_arrays(prepared, "train", *(array[:300] for array in read_arrays(prepared, "train")))
    one_step = {"recipes__quick__batch_size": 5000, "recipes__quick__epochs": 1}
    plain(prepared, 1e-30, **one_step)
    before = safetensors.torch.load_file(prepared.model)
    images, labels = read_arrays(prepared, "train")
    # What is added to the last layer's bias, to get the gradient with respect to that.
    bias = torch.zeros(10, dtype=torch.float64, requires_grad=True)
    logits = logits_by_hand(prepared.model, images) + bias
    (gradient,) = torch.autograd.grad(cross_entropy(logits, torch.from_numpy(labels)), bias)

    plain(prepared, 0.1, **one_step)
    after = safetensors.torch.load_file(prepared.model)
    expected = before["output.bias"].double() - 0.1 * gradient
    torch.testing.assert_close(after["output.bias"].double(), expected, rtol=0, atol=1e-6)
    assert (gradient.abs() > 1e-3).any()


def test_micro_batches_add_up_to_the_gradient_of_their_batch(prepared: Project) -> None:
    """The sums are in another order, so the last bits may differ, and more with every step: the
    batches are so large that there are six.
    """
    prepared.change(recipes__quick__batch_size=500)
    prepared.call("train")
    whole = safetensors.torch.load_file(prepared.model)
    prepared.change(recipes__quick__micro_batch=7)
    prepared.call("train")
    parts = safetensors.torch.load_file(prepared.model)
    for name, weights in whole.items():
        torch.testing.assert_close(parts[name], weights, rtol=0, atol=1e-6)
    assert not torch.equal(parts["conv1.weight"], whole["conv1.weight"])


def test_label_smoothing_spreads_its_share_over_all_classes(prepared: Project) -> None:
    plain(prepared, 1e-30, recipes__quick__label_smoothing=0.3, recipes__quick__epochs=1)
    images, labels = read_arrays(prepared, "train")
    log_probabilities = logits_by_hand(prepared.model, images).log_softmax(dim=1).numpy()
    of_the_truth = log_probabilities[np.arange(len(labels)), labels]
    expected = -(0.7 * of_the_truth + 0.3 * log_probabilities.mean(axis=1)).mean()
    assert history(prepared)["train_loss"].iloc[0] == pytest.approx(expected, rel=2e-5)


def test_training_and_test_set_share_no_image_and_lose_none(prepared_once: Project) -> None:
    grey = (load_digits().images * 255 / 16).round().astype(np.uint8)
    assert len({image.tobytes() for image in grey}) == len(grey) == 1797
    sets = {}
    for split in ("train", "test"):
        images, _ = read_arrays(prepared_once, split)
        sets[split] = {image.tobytes() for image in images}
        assert len(sets[split]) == len(images)
    assert not sets["train"] & sets["test"]
    assert len(sets["train"]) + len(sets["test"]) == 1797


def test_shuffled_labels_teach_nothing(prepared: Project) -> None:
    """With labels that mean nothing, test accuracy is chance, within what so many trials allow."""
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        images, labels = read_arrays(prepared, split)
        write_arrays(prepared, split, images, random.permutation(labels))
    prepared.change(recipes__quick__epochs=5)
    prepared.call("train")
    images, labels = read_arrays(prepared, "test")
    correct = int((logits_by_hand(prepared.model, images).argmax(dim=1).numpy() == labels).sum())
    low, high = binom.interval(0.9999, len(labels), 0.1)
    assert low <= correct <= high


def test_two_hundred_images_trained_long_are_nearly_all_right(prepared: Project) -> None:
    images, labels = read_arrays(prepared, "train")
    chosen = np.random.default_rng(0).permutation(len(labels))[:201]
    write_arrays(prepared, "train", images[chosen], labels[chosen])
    prepared.change(
        recipes__quick__epochs=30,
        recipes__quick__batch_size=20,
        recipes__quick__learning_rate=0.002,
        recipes__quick__optimizer={"name": "adamw", "momentum": 0.9, "weight_decay": 0.0005},
    )
    prepared.call("train")
    right = logits_by_hand(prepared.model, images[chosen]).argmax(dim=1).numpy() == labels[chosen]
    assert right.mean() >= 0.99
    assert history(prepared)["train_accuracy"].iloc[-1] >= 99


def test_a_loss_that_is_not_finite_stops_it_and_leaves_the_previous_model(trained: Project) -> None:
    before = trained.model.read_bytes()
    trained.change(recipes__quick__learning_rate=1e9)
    message = trained.fails("train")
    assert re.search(
        r"loss is (nan|inf) at epoch 1, step \d+, learning rate [\d.e+]+; .* lower learning_rate",
        message,
    )
    assert trained.model.read_bytes() == before
    assert not list(trained.path.rglob("*.part"))


def test_the_step_named_is_the_first_whose_loss_is_not_finite(prepared: Project) -> None:
    """Weights that a first step of 1e30 took away give no finite loss in the second."""
    prepared.change(recipes__quick__learning_rate=1e30, recipes__quick__schedule="constant")
    with pytest.raises(UserError, match=r"epoch 1, step 2, learning rate 1e\+30"):
        prepared.call("train")
    assert not prepared.model.exists()


@pytest.mark.parametrize(
    "missing", ["dataset.json", "train_images.npy", "train_labels.npy", "train_keys.npy"]
)
def test_without_arrays_it_says_what_to_run(missing: str, prepared: Project) -> None:
    (prepared.images / missing).unlink()
    with pytest.raises(UserError, match=f"{missing}: no such file; run the download stage"):
        prepared.call("train")
    assert not prepared.model.exists()


def test_keys_of_other_images_are_refused(prepared: Project) -> None:
    keys = np.load(prepared.images / "train_keys.npy")
    np.save(prepared.images / "train_keys.npy", keys[:-1])
    with pytest.raises(UserError, match=rf"{len(keys) - 1} keys for {len(keys)} images; run the"):
        prepared.call("train")


def test_arrays_made_with_other_params_are_refused(prepared: Project) -> None:
    prepared.change(download__image_size=40)
    with pytest.raises(UserError, match=r"image_size 32, .* is 40; run the download"):
        prepared.call("train")


def test_cuda_where_there_is_none_is_an_error_and_never_the_cpu(prepared: Project) -> None:
    prepared.change(machine__device="cuda")
    message = prepared.fails("train", CUDA_VISIBLE_DEVICES="-1", HIP_VISIBLE_DEVICES="-1")
    assert "device is 'cuda', which is not available here; choose auto or cpu" in message
    assert not prepared.model.exists()


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are"
)
def test_freed_memory_is_used_again_without_being_mapped_anew(tmp_path: Path) -> None:
    code = """
        import resource, torch
        from model.memory import keep_freed_memory
        def pages():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(10):
                torch.ones(100_000_000, dtype=torch.uint8)
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        print(pages())
        keep_freed_memory()
        pages()
        print(pages())
    """
    before, after = map(int, start(textwrap.dedent(code), tmp_path).communicate()[0].split())
    assert before > 100  # of 4 KiB or 2 MiB
    assert after < before / 10
