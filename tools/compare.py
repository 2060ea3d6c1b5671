"""Are two models really different? Compare what they predicted for the same test pictures.

    python tools/compare.py [REV_A [REV_B]] [--json]

reads reports/predictions.csv and data/images/dataset.json at two revisions of the project, HEAD and the workspace
unless told otherwise, and prints the accuracy of each, how far B is from A with the 95 % interval, McNemar's exact
p-value, and the classes that moved. The status is 0 whatever comes out, and 1 when the two cannot be compared.

Both models saw the same pictures, so only those count that one had right and the other wrong. The p-value is that of a
fair coin for which of the two was right (McNemar 1947, exact). The interval is Wald's after adding a half to each of
the four counts: Agresti and Min, Simple improved confidence intervals for comparing matched proportions, Statistics in
Medicine 24 (2005) 729-740. A class is said to have moved when its own p-value, times the number of classes
(Bonferroni), is below 0.05. About two seconds, most of them for importing DVC.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "stages"))

from common.stage import exit_on_interrupt, run_tool

if __name__ == "__main__":
    exit_on_interrupt()  # importing what follows takes seconds

import argparse
import io
import json
from dataclasses import asdict, dataclass
from math import sqrt
from statistics import NormalDist

import pandas as pd
from pydantic import ValidationError
from scipy.stats import binomtest

from common.arrays import Dataset, dataset_path
from common.errors import UserError
from common.files import REPORTS

WORKSPACE = "workspace"
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Comparison:
    """B against A on the same n pictures; accuracies and differences in percent."""

    n: int
    accuracy_a: float
    accuracy_b: float
    difference: float
    difference_low: float
    difference_high: float
    p_value: float


def main() -> None:
    parser = argparse.ArgumentParser(description="Are two models really different?")
    parser.add_argument(
        "a",
        metavar="REV_A",
        nargs="?",
        default="HEAD",
        help="any Git revision; %(default)s if left out",
    )
    parser.add_argument(
        "b",
        metavar="REV_B",
        nargs="?",
        default=WORKSPACE,
        help="likewise; the %(default)s if left out",
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    arguments = parser.parse_args()

    pairs = pair(arguments.a, arguments.b)
    overall = compare(pairs)
    classes = {str(name): compare(rows) for name, rows in pairs.groupby("actual", sort=False)}
    moved = [name for name, one in classes.items() if one.p_value * len(classes) < SIGNIFICANT]
    if arguments.json:
        by_class = {name: asdict(one) for name, one in classes.items()}
        print(
            json.dumps(
                {
                    "a": arguments.a,
                    "b": arguments.b,
                    **asdict(overall),
                    "moved": moved,
                    "classes": by_class,
                }
            )
        )
    else:
        print_comparison(arguments.a, arguments.b, overall, {name: classes[name] for name in moved})


def pair(a: str, b: str) -> pd.DataFrame:
    """A row per test picture: its actual class, and whether each model was right.

    Raises:
        UserError: the data sets differ, or something cannot be read.
    """
    datasets = [read_dataset(revision) for revision in (a, b)]
    for key in ("name", "classes", "sha256"):
        ours, theirs = (getattr(dataset, key) for dataset in datasets)
        if ours != theirs:
            raise UserError(
                f"the data sets differ: {key} is {ours} at {a}, {theirs} at {b}; evaluate both on one"
            )
    left, right = (read_predictions(revision) for revision in (a, b))
    if len(left) != len(right):
        raise UserError(
            f"the data sets differ: {len(left)} test pictures at {a}, {len(right)} at {b}; evaluate both on one"
        )
    others = int((left["actual"] != right["actual"]).sum())
    if others:
        raise UserError(
            f"the data sets differ: {others} of {len(left)} test pictures have another label at {a} than at {b}; "
            "evaluate both on one"
        )
    return pd.DataFrame(
        {
            "actual": left["actual"],
            "a": left["predicted"] == left["actual"],
            "b": right["predicted"] == right["actual"],
        }
    )


def read_dataset(revision: str) -> Dataset:
    try:
        return Dataset.model_validate_json(read(dataset_path(), revision))
    except ValidationError as error:
        raise UserError(
            f"{dataset_path()} at {revision}: damaged ({str(error).splitlines()[0]})"
        ) from None


def read_predictions(revision: str) -> pd.DataFrame:
    path = REPORTS / "predictions.csv"
    content = io.StringIO(read(path, revision))
    try:  # a class may be called NA, and is not missing for that
        return pd.read_csv(
            content, usecols=["actual", "predicted"], dtype=str, keep_default_na=False
        )
    except ValueError as error:
        raise UserError(
            f"{path} at {revision}: damaged ({str(error).splitlines()[0]}); evaluate again"
        ) from None


def read(path: Path, revision: str) -> str:
    """The text of a file at a revision, whether Git or DVC has it.

    Raises:
        UserError: it is not there.
    """
    if revision == WORKSPACE:
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise UserError(
                f"{path}: no such file in the workspace; run `dvc repro` or `dvc checkout` first"
            ) from None

    import dvc.api  # a second that --help need not wait
    from dvc.exceptions import DvcException

    try:
        with dvc.api.open(path.as_posix(), repo=".", rev=revision, encoding="utf-8") as file:
            return str(file.read())
    except (DvcException, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} at {revision}: {reason}; was it evaluated and committed, or is it to be pulled?"
        ) from None


def compare(pairs: pd.DataFrame) -> Comparison:
    """McNemar's exact test, and Agresti and Min's interval, from columns a and b: was the model right?"""
    n = len(pairs)
    only_a = int((pairs["a"] & ~pairs["b"]).sum())
    only_b = int((pairs["b"] & ~pairs["a"]).sum())
    low, high = difference_interval(only_a, only_b, n)
    return Comparison(
        n=n,
        accuracy_a=100 * float(pairs["a"].mean()),
        accuracy_b=100 * float(pairs["b"].mean()),
        difference=100 * (only_b - only_a) / n,
        difference_low=low,
        difference_high=high,
        p_value=float(binomtest(only_b, only_a + only_b).pvalue) if only_a + only_b else 1.0,
    )


def difference_interval(only_a: int, only_b: int, n: int) -> tuple[float, float]:
    """The 95 % interval, in percent, of B's accuracy less A's."""
    center = (only_b - only_a) / (n + 2)  # a half more of each cancels out
    spread = sqrt((only_a + only_b + 1) - (only_b - only_a) ** 2 / (n + 2)) / (n + 2)
    margin = NormalDist().inv_cdf(0.975) * spread
    return 100 * max(-1.0, center - margin), 100 * min(1.0, center + margin)


def print_comparison(a: str, b: str, overall: Comparison, moved: dict[str, Comparison]) -> None:
    width = max(len(a), len(b), *map(len, moved), len("difference"))
    print(f"{a:{width}}  {overall.accuracy_a:6.2f} % of {overall.n:,} test pictures")
    print(f"{b:{width}}  {overall.accuracy_b:6.2f} %")
    print(f"{'difference':{width}}  {change(overall)}")
    verdict = (
        "really different" if overall.p_value < SIGNIFICANT else "no more than chance would make"
    )
    print(f"{'McNemar':{width}}  p = {overall.p_value:.3g}: {verdict}")
    print("classes that moved:" if moved else "no class moved by more than chance would make it")
    for name, one in sorted(moved.items(), key=lambda item: -abs(item[1].difference)):
        print(f"{name:{width}}  {one.accuracy_a:6.2f} to {one.accuracy_b:.2f} %: {change(one)}")


def change(one: Comparison) -> str:
    return f"{one.difference:+6.2f} (95 % interval {one.difference_low:+.2f} to {one.difference_high:+.2f})"


if __name__ == "__main__":
    run_tool(main)
