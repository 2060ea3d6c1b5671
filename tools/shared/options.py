"""Command-line options that several tools have."""

import argparse
from typing import get_args

from common.section import Device, TestTimeAugmentation


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", choices=get_args(Device), default="auto", help="default: %(default)s"
    )


def add_test_time_augmentation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--test-time-augmentation",
        choices=["recipe", *get_args(TestTimeAugmentation)],
        default="recipe",
        help="views to average over where an image leaves doubt; recipe is the one that the model "
        "was trained by",
    )
