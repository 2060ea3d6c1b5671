"""What two runs of one seed each do not tell, and the commands that would."""

import json
import re
from typing import Any

from common.errors import UserError
from comparison.revisions import read
from comparison.settings import LOCK, read_lock, read_settings
from comparison.text import COLUMNS, wrapped

SEEDS = 5
MISSING = "(none)"  # instead of a value; no value that -S could take


def explain(a: str, b: str) -> str:
    """Return what the two revisions differ in, and how to learn whether that matters."""
    try:
        first, second = (read_settings(read_lock(read(LOCK, revision))) for revision in (a, b))
    except (UserError, ValueError):
        # Predictions without a usable dvc.lock can be compared all the same.
        return unknown("the change", same_variant())
    params, inputs = changed(first.params, second.params), changed(first.inputs, second.inputs)
    seeds = changed(first.seeds, second.seeds)
    if not (params or inputs or seeds):
        return "Both were run with the same parameters, code and seed."
    if not (params or inputs):
        return "\n".join(
            wrapped(
                f"They differ in nothing but {listed(seeds)}: this is how far seeds are apart, and "
                "two other seeds may be so in the other direction."
            )
        )
    what = [listed(params)] if params else []
    if inputs:
        what.append(", ".join(inputs))
    if seeds:
        what.append(listed(seeds))
    commands = sweep(params) if not inputs else same_variant()
    return "\n".join(
        [*wrapped(f"They differ in {'; '.join(what)}."), unknown("that change", commands)]
    )


def changed(a: dict[str, Any], b: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return both values of each key that has two; between two recipes, their keys do not count."""
    keys = a.keys() | b.keys()
    if a.get("train.recipe") != b.get("train.recipe"):
        keys = {key for key in keys if not key.startswith("recipes.")}
    return {
        key: (a.get(key, MISSING), b.get(key, MISSING))
        for key in sorted(keys)
        if a.get(key, MISSING) != b.get(key, MISSING)
    }


def listed(values: dict[str, tuple[Any, Any]]) -> str:
    return ", ".join(
        f"{key} ({as_override(a)}, then {as_override(b)})" for key, (a, b) in values.items()
    )


def unknown(change: str, commands: list[str]) -> str:
    lines = [
        f"Not known from one seed each: whether {change} makes a difference. Another seed makes",
        "another model. To find out, run several seeds of each and compare the groups:",
        *(f"  {command}" for command in commands),
        "  dvc exp run --run-all",
        "  python tools/compare.py --experiments",
    ]
    return "\n".join(lines)


def sweep(params: dict[str, tuple[Any, Any]]) -> list[str]:
    """Return the commands that queue both variants."""
    if not all(settable(key, value) for key, values in params.items() for value in values):
        return same_variant()
    if len(params) == 1:
        ((key, (a, b)),) = params.items()
        return [queue(f"'{key}={as_override(a)},{as_override(b)}'")]
    return [
        queue(*(f"'{key}={as_override(values[side])}'" for key, values in params.items()))
        for side in (0, 1)
    ]


def same_variant() -> list[str]:
    return [f"{queue()}  # once with each variant in the workspace"]


def queue(*overrides: str) -> str:
    parts = [f"dvc exp run --queue -S 'train.seed=range(0,{SEEDS})'"]
    parts += [f"-S {override}" for override in overrides]
    line = " ".join(parts)
    return line if len(line) < COLUMNS - 2 else " \\\n    ".join(parts)


def settable(key: str, value: Any) -> bool:
    """Whether -S can set the key to the value, and a shell takes no part of either for syntax."""
    if isinstance(value, list):
        return all(settable(key, item) for item in value)
    if isinstance(value, dict) or value == MISSING or re.fullmatch(r"[\w.-]+", key, re.A) is None:
        return False
    # Left out: quotes, backslashes, control characters, and $, which starts an interpolation.
    return re.fullmatch(r"[\w ./+\-\[\](){}<>,;:=@%&#~*?!|^]*", str(value)) is not None


def as_override(value: Any) -> str:
    """Return a value as -S takes it: in JSON, but words that Hydra takes for text have no quotes.

    Unquoted, the text ``a,b`` would be two values, ``[1]`` a list, and ``1`` a number.
    """
    if isinstance(value, str) and value.lower() not in {"null", "true", "false", "nan", "inf"}:
        return value if re.fullmatch(r"[A-Za-z_][\w./-]*", value, re.A) else f'"{value}"'
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
