"""Runs that differ in nothing but their seeds, and names that say what distinguishes each group."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from common.errors import UserError, choose
from comparison.experiments import Run, Runs

RECIPE = "train.recipe"


@dataclass(frozen=True)
class Group:
    """Runs with the same parameters, code and data, one per seed."""

    name: str
    runs: list[Run]
    distinguished_by: dict[
        str, Any
    ]  # value of a parameter by full key, MD5 of a file by path and @

    @property
    def params(self) -> dict[str, Any]:
        return self.runs[0].settings.params

    def seeds(self, key: str) -> set[int]:
        """Return the values of a seed, such as train.seed."""
        return {run.settings.seeds[key] for run in self.runs if key in run.settings.seeds}


def group_runs(runs: list[Run]) -> list[Group]:
    """Group runs by everything but their seeds, in the order of each group's first run."""
    members: dict[str, list[Run]] = {}
    for run in runs:
        members.setdefault(run.settings.key, []).append(run)
    described = [describe(each[0]) for each in members.values()]
    keys = distinguishing(described)
    names = name_all(described, keys)
    return [
        Group(
            name,
            sorted(each, key=lambda run: list(run.settings.seeds.values())),
            {key: values[key] for key in keys if key in values},
        )
        for name, each, values in zip(names, members.values(), described, strict=True)
    ]


def describe(run: Run) -> dict[str, Any]:
    """Return the parameters by key, and the checksums by path with @ after it."""
    inputs = {f"{path}@": checksum for path, checksum in run.settings.inputs.items()}
    return {**run.settings.params, **inputs}


def distinguishing(described: list[dict[str, Any]]) -> list[str]:
    """Return the keys in which groups differ, those of a recipe if groups with that recipe do."""
    keys: dict[str, None] = dict.fromkeys(key for each in described for key in each)
    found = []
    for key in keys:
        recipe = key.split(".")[1] if key.startswith("recipes.") else None
        peers = [each for each in described if recipe is None or each.get(RECIPE) == recipe]
        if len({json.dumps(each.get(key, "(missing)"), sort_keys=True) for each in peers}) > 1:
            found.append(key)
    return sorted(found, key=lambda key: (key != RECIPE, key.endswith("@")))  # files last


def name_all(described: list[dict[str, Any]], keys: list[str]) -> list[str]:
    """Return a name per group: the values that distinguish it, and if need be what it lacks."""
    if not keys:
        return [str(each.get(RECIPE, "all runs")) for each in described]
    short = shortened(keys)
    present = [
        ", ".join(assignment(short[key], key, each[key]) for key in keys if key in each)
        for each in described
    ]
    if "" not in present and len(set(present)) == len(present):
        return present
    return [
        ", ".join(
            assignment(short[key], key, each[key]) if key in each else f"no {short[key]}"
            for key in keys
        )
        for each in described
    ]


def shortened(keys: list[str]) -> dict[str, str]:
    """Return the last part of each key, or as many as tell it from the others; paths stay whole."""
    lengths = dict.fromkeys(keys, 1)
    names: dict[str, str] = {}
    while True:
        for key, length in lengths.items():
            names[key] = key if key.endswith("@") else ".".join(key.split(".")[-length:])
        counts = Counter(names.values())
        unclear = [
            key
            for key, name in names.items()
            if (counts[name] > 1 or name == "name") and name != key
        ]
        if not unclear:
            return names
        for key in unclear:
            lengths[key] += 1


def assignment(name: str, key: str, value: Any) -> str:
    if key.endswith("@"):
        return f"{name}{value[:5]}"
    return f"{name}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"


def find_baseline(groups: list[Group], runs: Runs, wanted: str | None) -> Group:
    """Return the group that the others are compared with.

    That is the one with the wanted name or with a run of that name; without a wish, the one of
    HEAD's run, or else the one whose parameters are those of HEAD's params.yaml.

    Raises:
        UserError: None or several fit.
    """
    names = [group.name for group in groups]
    if wanted is not None:
        fitting = [
            group
            for group in groups
            if wanted in (group.name, *(run.name for run in group.runs))
            or any(again.name == wanted and first in group.runs for again, first in runs.repeated)
        ]
        if len(fitting) != 1:
            raise UserError(
                f"--baseline is {wanted!r}; {choose(wanted, names)}; or name one of its runs"
            )
        return fitting[0]
    for group in groups:
        if runs.head in [run.name for run in group.runs]:
            return group
    fitting = [group for group in groups if agrees(group.params, runs.head_params)]
    if len(fitting) == 1:
        return fitting[0]
    found = "no group has" if not fitting else f"{len(fitting)} groups have"
    raise UserError(
        f"the baseline is ambiguous: {runs.head} has no results of its own, and {found} its "
        f"parameters; name one with --baseline: "
        f"{'; '.join(group.name for group in fitting or groups)}"
    )


def agrees(params: dict[str, Any], others: dict[str, Any]) -> bool:
    return all(others.get(key, "(missing)") == value for key, value in params.items())
