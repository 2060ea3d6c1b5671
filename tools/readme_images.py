"""The images of README.md and docs/tutorial.md, made from what the stages drew.

    python tools/readme_images.py overview RUN    # docs/images/overview.png, from CIFAR-10
    python tools/readme_images.py tutorial RUN    # docs/images/{preview,…}.png, from digits

RUN is a folder in which the pipeline has run, such as the repository itself. The overview shows 20
images of the data set and no more: ten test images with predictions, and the ten surest mistakes.
"""

import _paths
from common.stage import exit_on_interrupt, run_tool

if __name__ == "__main__":
    exit_on_interrupt()  # importing what follows takes seconds

import argparse
from pathlib import Path

from PIL import Image

from common.errors import UserError

IMAGES = _paths.ROOT / "docs" / "images"
WIDTH = 1200  # pixels
GAP = 20  # pixels between two panels
ROWS = [("test_sample", "mistakes"), ("class_accuracy", "confusion")]
TUTORIAL = ("preview", "test_sample", "class_accuracy")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("what", choices=["overview", "tutorial"])
    parser.add_argument("run", type=Path, metavar="RUN", help="a folder in which the pipeline ran")
    arguments = parser.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    if arguments.what == "overview":
        save(overview(arguments.run / "reports"), "overview")
    else:
        for name in TUTORIAL:
            save(panel(arguments.run / "reports", name, WIDTH // 2), name)


def overview(reports: Path) -> Image.Image:
    """Return two rows of two panels, each row as high as its higher panel."""
    rows = [[panel(reports, name, (WIDTH - GAP) // 2) for name in names] for names in ROWS]
    heights = [max(each.height for each in row) for row in rows]
    page = Image.new("RGB", (WIDTH, sum(heights) + GAP), "white")
    for number, row in enumerate(rows):
        for column, each in enumerate(row):
            page.paste(each, (column * (each.width + GAP), sum(heights[:number]) + number * GAP))
    return page


def panel(reports: Path, name: str, width: int) -> Image.Image:
    """Return one of the stages' figures, ``width`` pixels wide.

    Raises:
        UserError: The figure is missing.
    """
    path = reports / f"{name}.png"
    if not path.exists():
        raise UserError(f"{path}: no such file; run the pipeline there first")
    figure = Image.open(path).convert("RGB")
    size = (width, round(figure.height * width / figure.width))
    return figure.resize(size, Image.Resampling.LANCZOS)


def save(image: Image.Image, name: str) -> None:
    """Write a PNG of 256 colours, which is a third as large and looks the same."""
    path = IMAGES / f"{name}.png"
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(_paths.ROOT)}: {image.width} x {image.height} pixels")


if __name__ == "__main__":
    run_tool(main)
