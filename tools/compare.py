"""Is it really better? Compare two models, or groups of runs that differ in a change.

    python tools/compare.py [REV_A [REV_B]] [--json]
    python tools/compare.py --experiments [--metric accuracy] [--baseline GROUP]
                            [--json | --csv] [--figure OUT.png]
    python tools/compare.py --runs [--metric val_acc]

Two models, of any Git revisions or the workspace: the test images are matched by file name and
label; printed are both accuracies, the difference with its 95 % interval, McNemar's exact p-value
and the classes that moved (p times the number of classes below 0.05: Bonferroni). That says whether
these two models differ. It says nothing about what made them differ, since another seed would have
made another model.

Groups: DVC's experiments that started from HEAD, HEAD's own run and the workspace's, grouped by
everything that dvc.lock says they were run with, parameters, code and data, but for the seeds.
Each group is compared with that of HEAD: paired where both have the same seeds, by Welch's t-test
otherwise, and p is adjusted for the number of groups (Holm). Fewer than three seeds on a side get
no verdict. Where there is no difference, at most 5 % of the tables say that there is one
(tests/tools/test_comparison_statistics.py), if the number of seeds was decided on before looking:
adding seeds until a verdict appears makes one appear too often.

Runs: one line per experiment, HEAD's run and the workspace's, with the parameters in which they
differ and their metrics, the best by --metric first. With a metric of the validation images, those
of the test images are left out: they are for the run that is chosen.

The status is 0 whatever comes out, and 1 when there is nothing to compare. A few seconds, most of
them for importing DVC, and a tenth of a second per experiment.
"""

import _paths  # noqa: F401
from common.stage import exit_on_interrupt, run_tool

if __name__ == "__main__":
    exit_on_interrupt()  # importing what follows takes seconds

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from common.errors import UserError
from comparison.changes import explain
from comparison.experiments import read_runs
from comparison.listing import runs_as_text
from comparison.models import Comparison, compare, pair
from comparison.output import groups_as_csv, groups_as_json
from comparison.revisions import WORKSPACE
from comparison.statistics import SIGNIFICANT
from comparison.text import groups_as_text, models_as_text
from comparison.verdicts import tabulate
from shared.output import check_output


def main() -> None:
    arguments = parse()
    if arguments.runs:
        print(runs_as_text(read_runs(), arguments.metric))
    elif arguments.experiments:
        compare_groups(arguments)
    else:
        compare_models(arguments.revisions, arguments.json)


def parse() -> argparse.Namespace:
    """Return the command line.

    Raises:
        UserError: An option belongs to the other kind of comparison.
    """
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument(
        "revisions",
        metavar="REV",
        nargs="*",
        help="two Git revisions; HEAD and the workspace where left out",
    )
    parser.add_argument("--experiments", action="store_true", help="compare groups of experiments")
    parser.add_argument("--runs", action="store_true", help="list experiments one by one")
    parser.add_argument("--metric", help="to compare groups by (accuracy), or to sort runs by")
    parser.add_argument("--baseline", metavar="GROUP", help="a group or a run; default: HEAD's")
    parser.add_argument("--csv", action="store_true", help="print groups as CSV")
    parser.add_argument("--figure", type=Path, metavar="OUT.png", help="draw the groups")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    groups = arguments.experiments
    if (groups or arguments.runs) and arguments.revisions:
        option = "--experiments" if groups else "--runs"
        raise UserError(f"{arguments.revisions[0]}: {option} takes no revisions; leave it out")
    if groups and arguments.runs:
        raise UserError("--experiments and --runs are two lists; choose one")
    if len(arguments.revisions) > 2:
        raise UserError(f"{arguments.revisions[2]}: a third revision; name at most two")
    for option in ("metric", "baseline", "csv", "figure"):
        allowed = groups or (arguments.runs and option == "metric")
        if getattr(arguments, option) and not allowed:
            raise UserError(f"--{option} is for groups of experiments; add --experiments")
    if arguments.json and arguments.runs:
        raise UserError("--json is for two models or for --experiments; leave out --runs")
    if arguments.json and arguments.csv:
        raise UserError("--json and --csv both print to standard output; choose one")
    if arguments.figure:
        check_output("--figure", arguments.figure, ".png", [])
    return arguments


def compare_models(revisions: list[str], as_json: bool) -> None:
    """Print how two models differ on the test images that they have in common."""
    a, b = (*revisions, *("HEAD", WORKSPACE)[len(revisions) :])
    pairs = pair(a, b)
    overall = compare(pairs.rows)
    classes = {str(name): compare(rows) for name, rows in pairs.rows.groupby("actual", sort=False)}
    moved = largest_first(
        {name: one for name, one in classes.items() if one.p_value * len(classes) < SIGNIFICANT}
    )
    unknown = explain(a, b)
    if not as_json:
        print(models_as_text(a, b, overall, moved, pairs, unknown))
        return
    found = {
        "a": a,
        "b": b,
        **asdict(overall),
        "test_images": {a: pairs.total_a, b: pairs.total_b},
        "relabelled": pairs.relabelled,
        "moved": list(moved),
        "classes": {name: asdict(one) for name, one in classes.items()},
        "unknown": unknown,
    }
    print(json.dumps(found))


def largest_first(classes: dict[str, Comparison]) -> dict[str, Comparison]:
    return dict(sorted(classes.items(), key=lambda item: -abs(item[1].difference)))


def compare_groups(arguments: argparse.Namespace) -> None:
    """Print, and draw if asked for, what groups of experiments show."""
    table = tabulate(read_runs(), arguments.metric or "accuracy", arguments.baseline)
    if arguments.figure:
        from comparison.figure import group_figure  # Matplotlib takes a second
        from figures.style import save_figure

        save_figure(group_figure(table), arguments.figure)
    if arguments.json:
        print(groups_as_json(table))
    elif arguments.csv:
        print(groups_as_csv(table), end="")
    else:
        print(groups_as_text(table))


if __name__ == "__main__":
    run_tool(main)
