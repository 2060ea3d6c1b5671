"""Speed, memory and accuracy, compared within one run, because a machine's speed drifts.

    python tools/benchmark.py training [--images 50000 | --arrays data/arrays] [--epochs 2]
                                       [--repeats 3]
    python tools/benchmark.py pipeline [--images 50000 | --arrays data/arrays] [--epochs 2]
                                       [--repeats 3]
    python tools/benchmark.py recipes [--images 50000 | --arrays data/arrays] [--recipes quick]
                                      [--repeats 3]
    python tools/benchmark.py accuracy --arrays data/arrays [--recipes tutorial quick] [--epochs 2]
                                       [--seeds 0 1 2]
    python tools/benchmark.py growth [--images 50000] [--times 1 2 4 10]
    python tools/benchmark.py augmentation [--repeats 3]
    python tools/benchmark.py few --source IMAGES [--per-class 25 100 400] [--seeds 0 1 2 3 4]
                                  [--recipes frozen] [--weights MODEL.safetensors] [--size 192]
    python tools/benchmark.py download

``training`` compares the train stage, with the recipe ``tutorial``, with the usual loop of the same
network and optimizer: a DataLoader with 2 workers, and ToTensor and Normalize per image.
``recipes`` trains one epoch of each recipe. ``accuracy`` trains each recipe with each seed, for as
many epochs as it has unless told otherwise, and evaluates it on the test images. In these three,
seconds are those of the epochs, without imports. ``pipeline`` compares `dvc repro` of all stages
but download with a script that trains by the usual loop and tests, each from its start to its end.
``growth`` runs download, train (one epoch of ``quick``) and evaluate on more and more images;
seconds are those of the whole stage, and CPU seconds are what to compare on a machine that others
use. ``augmentation`` compares the keys for
photographs under ``augment`` with torchvision's v2 transforms in a DataLoader with 2 workers.
``few`` trains recipes on few images per class of IMAGES, a folder with train/ and test/, whose test
images stay the same; the pretrained networks get their weights from a file that is named after
timm's model, or as the recipe says. ``download`` compares one and two mirrors.

What is compared runs one after the other, each stage in a process of its own. Memory is the largest
resident memory of a process, which Linux and macOS tell. Images are generated unless --arrays names
a folder that download has filled: JPEGs of 32 x 32, noise of their class and of their own, and a
fifth as many to test on. Prints a table in Markdown; what it is doing goes to standard error.
"""

import _paths  # noqa: F401
from common.stage import exit_on_interrupt, run_tool

if __name__ == "__main__":
    exit_on_interrupt()  # importing what follows takes seconds

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import download_benchmark
from benchmarking import comparisons
from benchmarking.comparisons import Row
from benchmarking.few import few


def main() -> None:
    options = parse()
    if options.what == "download":
        table = download_benchmark.measure()
    elif options.what == "augmentation":
        from benchmarking import augmentation  # torchvision takes seconds

        table = augmentation.measure(options.repeats)
    else:
        measure = few if options.what == "few" else getattr(comparisons, options.what)
        with tempfile.TemporaryDirectory() as folder:
            table = measure(Path(folder), options)
    print(f"\n{machine()}\n")
    print_table(table)


def parse() -> argparse.Namespace:
    recipes = comparisons.read_recipes()
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    each = parser.add_subparsers(dest="what", required=True)
    training, pipeline, of_recipes, accuracy, growth, augmenting = (
        each.add_parser(name)
        for name in ("training", "pipeline", "recipes", "accuracy", "growth", "augmentation")
    )
    each.add_parser("download")
    for one in (training, pipeline, of_recipes, growth):
        one.add_argument("--images", type=int, default=50_000, help="to generate; %(default)s")
    for one in (training, pipeline, of_recipes, accuracy):
        one.add_argument(
            "--arrays",
            type=Path,
            required=one is accuracy,  # generated images are too easy
            help="a data/arrays to use instead of generated images",
        )
    for one in (of_recipes, accuracy):
        one.add_argument(
            "--recipes",
            nargs="+",
            choices=recipes,
            metavar="RECIPE",
            help="all that fetch no weights",
        )
    for one in (training, pipeline, accuracy):
        one.add_argument("--epochs", type=int, help="instead of the recipe's")
    for one in (training, pipeline, of_recipes, augmenting):
        one.add_argument("--repeats", type=int, default=3, help="%(default)s; the median counts")
    accuracy.add_argument("--seeds", nargs="+", type=int, default=[0], help="0")
    growth.add_argument("--times", nargs="+", type=int, default=[1, 2, 4, 10], help="1 2 4 10")
    add_few(each.add_parser("few"), list(recipes))
    return parser.parse_args()


def add_few(parser: argparse.ArgumentParser, recipes: list[str]) -> None:
    few_recipes = ["quick", "accurate", "frozen", "transfer"]
    parser.add_argument("--source", type=Path, required=True, help="a folder with train/ and test/")
    parser.add_argument("--per-class", nargs="+", type=int, default=[25, 100, 400])
    parser.add_argument("--test-per-class", type=int, default=200, help="%(default)s")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--recipes", nargs="+", choices=recipes, default=few_recipes)
    parser.add_argument("--weights", type=Path, help="for the pretrained networks")
    parser.add_argument("--size", type=int, default=192, help="their image size; %(default)s")


def machine() -> str:
    """Return the machine in words: cores, processor, memory, system and versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    versions = f"Python {platform.python_version()}, torch {version('torch')}"
    return (
        f"{os.cpu_count()} cores, {processor()}, {memory:.0f} GB, {platform.system()}, {versions}"
    )


def processor() -> str:
    """Return the processor's model, where the system tells it; otherwise its architecture."""
    names = []
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        names = subprocess.check_output(command, text=True).splitlines()
    elif sys.platform == "linux":
        names = re.findall(r"^model name\s*: (.+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return str([*names, platform.machine()][0])


def print_table(table: list[Row]) -> None:
    print("| " + " | ".join(table[0]) + " |")
    print("|---" * len(table[0]) + "|")
    for row in table:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")


if __name__ == "__main__":
    run_tool(main)
