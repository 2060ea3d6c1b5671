"""Show what is in the data before anything is trained on it.

Reads all files of data/arrays, reports/skipped.csv and params preview. Writes into reports/:

- preview.png: random training images with their names and labels
- class_counts.png: the number of images per class
- duplicates.csv, duplicates.png: images that are there more than once, exactly or nearly, first
  those whose labels disagree, then those in both training and test set
- data.json: the same in numbers, and what deserves attention, which is also printed

The test set is opened only to find images that are also in the training set. 60,000 images of
32 x 32 take about 10 s; memory is 0.2 GB and some 100 bytes per image, or some 1,000 if most are
alike.
"""

from common.stage import exit_on_interrupt, run

if __name__ == "__main__":
    exit_on_interrupt()  # importing what follows takes seconds

import numpy as np
from matplotlib.figure import Figure

from common.arrays import LabelledImages, load_images, read_file_names
from common.files import REPORTS, write_json
from common.params import Preview, load_params
from common.tables import write_csv
from figures.grid import Caption, image_grid
from figures.style import save_figure, shorten
from inspection.charts import draw_class_counts, draw_duplicates
from inspection.duplicates import COLUMNS, find_duplicates, pair_rows
from inspection.findings import describe, paragraph
from inspection.images import Images

CLASS_LENGTH = 24  # characters of a class that are shown


def main() -> None:
    params = load_params()
    train, test = (load_images(split, params.download) for split in ("train", "test"))
    name = train.dataset.name
    save_figure(draw_preview(train, params.preview), REPORTS / "preview.png")

    images = Images(train, test)
    duplicates = find_duplicates(images)
    write_csv(REPORTS / "duplicates.csv", pair_rows(duplicates, images), COLUMNS)
    save_figure(draw_duplicates(duplicates, images, name), REPORTS / "duplicates.png")

    data = describe(images, duplicates, REPORTS / "skipped.csv")
    save_figure(draw_class_counts(data["classes"], name), REPORTS / "class_counts.png")
    write_json(REPORTS / "data.json", data)
    print(paragraph(data))


def draw_preview(train: LabelledImages, preview: Preview) -> Figure:
    """Draw random training images with their names and labels."""
    count = min(preview.images, len(train.images))
    chosen = np.random.default_rng(preview.seed).permutation(len(train.images))[:count]
    captions = [
        Caption(shorten(train.dataset.classes[label], CLASS_LENGTH), name=file)
        for label, file in zip(train.labels[chosen], read_file_names("train", chosen), strict=True)
    ]
    drawn = f"{count} of {len(train.images):,} training images, drawn with seed {preview.seed}"
    subtitle = f"{train.dataset.name}: {drawn}"
    return image_grid(train.images.read(chosen), captions, "Preview of Training Data", subtitle)


if __name__ == "__main__":
    run(main)
