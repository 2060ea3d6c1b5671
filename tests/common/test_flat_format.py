"""params.yaml in the flat format of earlier versions: one line says what to do."""

import pytest

from common.params import load_params
from helpers import refused
from project import Project

# As it was before recipes were nested.
FLAT = """
download: {dataset: CIFAR10, source: , mirrors: , image_size: 32, test_fraction: 0.2, seed: 0}
preview: {images: 10, seed: 0}
train:
  recipe: tutorial
  device: auto
  processes: 1
  threads: auto
  seed: 0
  validation_fraction: 0.0
  early_stopping: never
  checkpoint_minutes: 1.0
test_sample: {images: 10, seed: 0}
evaluate: {device: auto, batch_size: 500}
recipes:
  tutorial:
    network: lenet
    channels: [6, 16]
    kernel_size: 5
    hidden: [120, 84]
    pretrained: false
    mean: [0.5, 0.5, 0.5]
    std: [0.5, 0.5, 0.5]
    crop_padding: 0
    flip: none
    train_sizes:
    optimizer: sgd
    learning_rate: 0.001
    momentum: 0.9
    nesterov: false
    weight_decay: 0.0
    sgd_learning_rate:
    sgd_momentum:
    sgd_weight_decay:
    schedule: constant
    epochs: 2
    batch_size: 10
    micro_batch:
    label_smoothing: 0.0
    precision: float32
    test_time_averaging: none
"""


def test_the_flat_format_of_earlier_versions_is_one_line_that_says_what_to_do(
    project: Project,
) -> None:
    (project.path / "params.yaml").write_text(FLAT)
    message = refused(load_params)
    assert message.count("\n") == 0
    assert "flat format of earlier versions" in message
    assert "set your values in this version's params.yaml" in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("recipes__quick__network", "lenet"),
        ("recipes__quick__optimizer", "sgd"),
        ("recipes__quick__crop_padding", 4),
        ("recipes__quick__test_time_averaging", "mirror"),
        ("recipes__quick__train_sizes", None),
        ("train__device", "auto"),
        ("train__processes", 1),
        ("evaluate__batch_size", 500),
        ("download__mirrors", None),
    ],
)
def test_a_key_of_the_flat_format_is_answered_with_what_to_do(
    key: str, value: object, project: Project
) -> None:
    project.change(**{key: value})
    message = refused(load_params)
    assert f"params.yaml: {key.replace('__', '.')}: this is the flat format" in message
    assert message.count("\n") == 0
