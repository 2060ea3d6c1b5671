"""Single runs as text of at most 120 columns: what was changed in each, and what came out."""

import math
from textwrap import wrap

from common.errors import UserError, choose, printable
from comparison.experiments import Runs
from comparison.groups import group_runs
from comparison.notes import VALIDATION, uncounted
from comparison.text import wrapped
from comparison.verdicts import NO_QUALITY, last_word, nothing_to_compare
from figures.style import shorten

COLUMNS = 120
METRICS = ("val_acc", "val_loss", "accuracy", "ece")  # shown where runs have them
SEED = "train.seed"


def runs_as_text(runs: Runs, metric: str | None) -> str:
    """Return one line per run: name, seed, metrics, and the parameters in which runs differ.

    The best by ``metric`` is the first; without one, runs are in the order in which they ran. Who
    chooses by the validation images is not shown what the test images say.

    Raises:
        UserError: The metric is unknown, or no run has results.
    """
    choices = sorted({key for run in runs.runs for key in run.metrics} - set(NO_QUALITY))
    if not choices:
        raise UserError(nothing_to_compare(runs))
    if metric is not None and metric not in choices:
        raise UserError(f"--metric is {metric!r}; {choose(metric, choices)}")
    shown = [key for key in dict.fromkeys([*METRICS, metric]) if key in choices]
    if metric is not None and metric.startswith(VALIDATION):
        shown = [key for key in shown if key.startswith(VALIDATION)]
    changed = {run.name: group.name for group in group_runs(runs.runs) for run in group.runs}
    ordered = list(runs.runs)
    if metric is not None:
        sign = 1 if last_word(metric) in ("loss", "ece") else -1
        ordered.sort(key=lambda run: sign * run.metrics.get(metric, sign * math.inf))
    names = [shorten(printable(run.name), 24) for run in ordered]
    width = max(map(len, [*names, "run"]))
    heads = "".join(f"  {key:>8}" for key in shown)
    lines = [f"{'run':{width}}  {'seed':>4}{heads}  changed"]
    for name, run in zip(names, ordered, strict=True):
        cells = "".join(f"  {number(run.metrics.get(key), key):>8}" for key in shown)
        start = f"{name:{width}}  {run.settings.seeds.get(SEED, ''):>4}{cells}  "
        first, *rest = wrap(printable(changed[run.name]), COLUMNS - len(start))
        lines += [start + first, *(" " * len(start) + more for more in rest)]
    notes = uncounted(runs, runs.left_out, metric or "accuracy")
    return "\n".join([*lines, *(line for note in notes for line in wrapped(note))])


def number(value: float | None, metric: str) -> str:
    digits = 4 if last_word(metric) == "loss" else 2
    return "" if value is None else f"{value:.{digits}f}"
