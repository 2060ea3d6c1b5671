"""What somebody must know about the runs before believing a table of them."""

from collections.abc import Iterator

from comparison.experiments import Run, Runs
from comparison.groups import Group

VALIDATION = "val"  # what the names of metrics of validation images begin with


def notes(groups: list[Group], runs: Runs, left_out: dict[str, str], metric: str) -> list[str]:
    """Return it in sentences."""
    counted = [run for group in groups for run in group.runs]
    said = [
        *uncounted(runs, left_out, metric),
        *varying_data(groups),
        *varying_machines(counted),
    ]
    if len(groups) > 2 and not metric.startswith(VALIDATION):
        said.append(
            "The best of several groups looks better on the test images than it is: choose by "
            f"{validation_metrics(counted)}."
        )
    return said


def uncounted(runs: Runs, left_out: dict[str, str], metric: str) -> Iterator[str]:
    """Yield which runs have no place among the others, and why."""
    if left_out:
        listed = ", ".join(f"{name} ({why})" for name, why in left_out.items())
        yield f"Left out: {listed}."
    if runs.repeated:
        listed = ", ".join(repetition(again, first, metric) for again, first in runs.repeated)
        yield f"Counted once: {listed}."


def validation_metrics(runs: list[Run]) -> str:
    names = {name for run in runs for name in run.metrics if name.startswith(VALIDATION)}
    if not names:
        return "validation images (train.validation_fraction above 0)"
    return f"--metric {' or '.join(sorted(names))}"


def repetition(again: Run, first: Run, metric: str) -> str:
    results = [f"{run.metrics[metric]:g}" for run in (first, again) if metric in run.metrics]
    other = f" with another result, {' then '.join(results)}" if len(set(results)) > 1 else ""
    return f"{again.name} repeats {first.name}{other}"


def varying_data(groups: list[Group]) -> Iterator[str]:
    """Yield in which groups the seeds decide on more than initial weights and order."""
    split = [group for group in groups if len(group.seeds("download.seed")) > 1]
    if split:
        yield f"download.seed also decides on the test images {within(split, groups)}."
    held_out = [
        group
        for group in groups
        if group.params.get("train.validation_fraction", 0) and len(group.seeds("train.seed")) > 1
    ]
    if held_out:
        yield f"train.seed also decides on the validation images {within(held_out, groups)}."


def within(some: list[Group], groups: list[Group]) -> str:
    if len(some) == len(groups):
        return "within each group" if len(groups) > 1 else "within the group"
    return f"within {'; '.join(group.name for group in some)}"


def varying_machines(runs: list[Run]) -> Iterator[str]:
    """Yield the settings of the machine that are not the same in all runs."""
    for key in sorted({key for run in runs for key in run.machine}):
        values = sorted({str(run.machine.get(key)) for run in runs})
        if len(values) > 1:
            more = ", and the precision where it is auto" if key == "device" else ""
            yield (
                f"machine.{key} is {' or '.join(values)}: it makes no group, yet it can change "
                f"results{more}."
            )
