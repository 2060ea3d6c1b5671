"""dvc.yaml as the tests read it: the stages, and what each of them declares."""

import re
from pathlib import Path
from typing import Any

import yaml

from helpers import ROOT

GRAPH: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))


def script(stage: str) -> Path:
    """Return the stage's own file, from its command."""
    found = re.fullmatch(r"python (stages/\w+\.py)", GRAPH["stages"][stage]["cmd"])
    assert found
    return ROOT / found[1]


def paths(entries: list[Any]) -> dict[str, dict[str, Any]]:
    """Return outs, metrics or plots as {path: options}."""
    return {
        path: options or {}
        for entry in entries
        for path, options in (entry.items() if isinstance(entry, dict) else [(entry, {})])
    }


def outputs(stage: str) -> dict[str, dict[str, Any]]:
    """Return everything that a stage writes, as {path: options}."""
    kinds = GRAPH["stages"][stage]
    return paths([*kinds.get("outs", []), *kinds.get("metrics", []), *kinds.get("plots", [])])


def deps(stage: str) -> list[str]:
    """Return the stage's dependencies."""
    found: list[str] = GRAPH["stages"][stage]["deps"]
    return found
