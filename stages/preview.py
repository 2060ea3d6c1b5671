"""Show random training pictures with their labels.

Reads data/images (training pictures and labels) and params preview; writes reports/preview.png. About a second.
"""

from common.stage import exit_on_interrupt, run

if __name__ == "__main__":
    exit_on_interrupt()  # importing what follows takes seconds

import numpy as np

from common.arrays import load_images
from common.files import REPORTS
from common.params import load_params
from figures.grid import Caption, image_grid
from figures.style import save_figure


def main() -> None:
    params = load_params()
    train = load_images("train")

    count = min(params.preview.images, len(train.images))
    chosen = np.random.default_rng(params.preview.seed).permutation(len(train.images))[:count]

    captions = [Caption(train.dataset.classes[label]) for label in train.labels[chosen]]
    drawn = (
        f"{count} of {len(train.images):,} training pictures, drawn with seed {params.preview.seed}"
    )
    figure = image_grid(
        train.images.read(chosen),
        captions,
        "Preview of Training Data",
        f"{train.dataset.name}: {drawn}",
    )
    save_figure(figure, REPORTS / "preview.png")


if __name__ == "__main__":
    run(main)
