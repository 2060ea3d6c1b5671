"""Train a network by a recipe.

Reads data/images (training pictures and labels), params train and the recipe it names; writes
models/classifier.safetensors, reports/history.csv and .png, and reports/timing.csv. The test set is never opened.

The pictures stay uint8 and are normalised a batch at a time on the device that trains: no worker processes, no
per-picture Python. The order of the pictures in an epoch comes from (seed, epoch) alone.
"""

import math
import sys
import time

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from common.classifier import Classifier, Description, save_classifier, select_device
from common.figures import save_figure
from common.files import REPORTS, write_text
from common.images import LabelledImages, load_images
from common.network import layer_table
from common.params import load_params
from common.progress import Progress
from common.recipe import build_optimizer, build_schedule
from common.stage import UserError, run


def main() -> None:
    params = load_params()
    recipe = params.recipes[params.train.recipe]
    device = select_device(params.train.device)
    if params.train.threads is not None:
        torch.set_num_threads(params.train.threads)
    train = load_images("train")
