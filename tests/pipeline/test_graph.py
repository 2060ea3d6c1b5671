"""dvc.yaml declares of each stage what its code reads and imports: no more, no less. Nothing is run here."""

import ast
import itertools
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from helpers import ROOT, STAGES
from pydantic.fields import FieldInfo

from common.params import Params
from common.recipes import Recipe

GRAPH: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
RECIPE = "recipes.${train.recipe}"
# Where a model of common/params.py comes from: {"Download": "download", ..., "Recipe": the recipe in use}.
SECTIONS = {
    field.annotation.__name__: name
    for name, field in Params.model_fields.items()
    if isinstance(field.annotation, type) and name != "recipes"
} | {Recipe.__name__: RECIPE}
each_stage = pytest.mark.parametrize("stage", GRAPH["stages"])


def script(stage: str) -> Path:
    """The stage's own file, from its command."""
    found = re.fullmatch(r"python (stages/\w+\.py)", GRAPH["stages"][stage]["cmd"])
    assert found
    return ROOT / found[1]


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


# --- imports


def module_file(dotted: str) -> Path | None:
    """The file of a local module; None for a library's."""
    path = STAGES.joinpath(*dotted.split("."))
    return next(
        (file for file in [path.with_suffix(".py"), path / "__init__.py"] if file.is_file()), None
    )


def imports(path: Path) -> Iterator[Path]:
    """The local modules that a file imports, anywhere in it."""
    package = path.parent.relative_to(STAGES).parts
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            # Importing a.b also runs a/__init__.py.
            parts = name.split(".")
            files = [module_file(".".join(parts[:end])) for end in range(1, len(parts) + 1)]
            yield from (file for file in files if file)


def closure(path: Path) -> set[Path]:
    """A file and every local module behind it, without empty files."""
    found, waiting = set(), [path]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += imports(file)
    return {file for file in found if file.stat().st_size}


@each_stage
def test_31_the_modules_of_a_stage_are_its_deps(stage: str) -> None:
    declared = [dep for dep in GRAPH["stages"][stage]["deps"] if dep.startswith("stages/")]
    assert len(set(declared)) == len(declared)
    assert set(declared) == {file.relative_to(ROOT).as_posix() for file in closure(script(stage))}


def test_every_module_is_some_stages() -> None:
    used = set().union(*(closure(script(stage)) for stage in GRAPH["stages"]))
    assert {file for file in STAGES.rglob("*.py") if file.stat().st_size} == used


# --- parameters


def chain(node: ast.AST) -> list[str]:
    """The names of an attribute chain, ``params.download.seed``; empty for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return [node.id, *parts] if isinstance(node, ast.Name) else []


def model_of(annotation: ast.expr | None) -> str | None:
    return annotation.id if isinstance(annotation, ast.Name) else None


def keys_of(model: str) -> set[str]:
    models = {field.annotation for field in Params.model_fields.values()} | {Recipe}
    return next(set(each.model_fields) for each in models if getattr(each, "__name__", "") == model)  # type: ignore[union-attr]


def chains(path: Path) -> set[tuple[str, ...]]:
    """Every whole attribute chain in a file."""
    inner = {id(node.value) for node in ast.walk(parse(path)) if isinstance(node, ast.Attribute)}
    found = (
        chain(node)
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Attribute) and id(node) not in inner
    )
    return {tuple(parts) for parts in found if parts}


def arguments(path: Path) -> set[tuple[str, str]]:
    """(name, section) of each function's argument that is a section of the parameters, such as download: Download."""
    found = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef):
            for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
                model = model_of(argument.annotation)
                if model in SECTIONS:
                    found.add((argument.arg, SECTIONS[model]))
    return found


def choices(field: FieldInfo) -> tuple[Any, ...]:
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def reads(stage: str) -> set[str]:
    """The parameters that a stage's code reads, as ``section.key``.

    The script reads ``params.section.key`` itself, or hands a section to what says its type. The recipe in use
    is handed on whole, also inside of other objects, as ``something.recipe.key``. What common/params.py checks does not
    count.
    """
    files = closure(script(stage)) - {STAGES / "common" / "params.py"}
    own = {parts[1:] for parts in chains(script(stage)) if parts[0] == "params"}
    found = {".".join(parts[:2]) for parts in own if len(parts) > 1}
    handed = {parts[0] for parts in own if len(parts) == 1}
    with_recipe = "recipes" in handed
    for file in files:
        for name, section in arguments(file):
            if section in handed or (section == RECIPE and with_recipe):
                found |= {
                    f"{section}.{after}"
                    for parts in chains(
                        file
                    )  # as the argument, or kept as an attribute of the same name
                    for before, after in itertools.pairwise(parts)
                    if before == name
                }
        if with_recipe:
            for parts in chains(file):
                found |= {
                    f"{RECIPE}.{after}"
                    for before, after in itertools.pairwise(parts)
                    if before == "recipe" and parts[0] != "params"
                }
    return {
        key
        for key in found
        if not key.startswith(RECIPE) or key.removeprefix(f"{RECIPE}.") in Recipe.model_fields
    }


def declared(stage: str) -> set[str]:
    """The parameters that dvc.yaml gives a stage, each section that is named whole as its keys."""
    models = {section: model for model, section in SECTIONS.items()}
    found: set[str] = set()
    for entry in GRAPH["stages"][stage].get("params", []):
        assert isinstance(entry, str)
        found |= (
            {f"{entry}.{key}" for key in keys_of(models[entry])} if entry in models else {entry}
        )
    return found


@each_stage
def test_30_the_parameters_that_a_stage_reads_are_the_ones_it_declares(stage: str) -> None:
    one_choice = {
        f"{RECIPE}.{key}" for key, field in Recipe.model_fields.items() if len(choices(field)) == 1
    }
    assert reads(stage) <= declared(stage)
    assert (
        declared(stage) - reads(stage) <= one_choice
    )  # there is nothing to read in a key that has one value


def test_30_every_parameter_is_some_stages() -> None:
    everything = set().union(*(declared(stage) for stage in GRAPH["stages"]))
    assert everything == {
        f"{section}.{key}" for model, section in SECTIONS.items() for key in keys_of(model)
    }
    assert get_args(Params.model_fields["recipes"].annotation)[1] is Recipe


# --- files


def paths(entries: list[Any]) -> dict[str, dict[str, Any]]:
    """Outs, metrics or plots as {path: options}."""
    return {
        path: options or {}
        for entry in entries
        for path, options in (entry.items() if isinstance(entry, dict) else [(entry, {})])
    }


def outputs(stage: str) -> dict[str, dict[str, Any]]:
    kinds = GRAPH["stages"][stage]
    return paths([*kinds.get("outs", []), *kinds.get("metrics", []), *kinds.get("plots", [])])


@each_stage
def test_cached_outputs_are_ignored_by_git_and_the_others_are_not(stage: str) -> None:
    for path, options in outputs(stage).items():
        folder, _, name = path.rpartition("/")
        ignored = (ROOT / folder / ".gitignore").read_text().split()
        assert (f"/{name}" in ignored) == options.get("cache", True), path


@each_stage
def test_no_output_switches_the_run_cache_off(stage: str) -> None:
    """With a plain out that is not cached, or one that persists, a parameter set back would run the stage again."""
    kinds = GRAPH["stages"][stage]
    assert all(options.get("cache", True) for options in paths(kinds.get("outs", [])).values())
    assert not any(options.get("persist") for options in outputs(stage).values())
    assert not kinds.get("always_changed")


@each_stage
def test_a_stage_depends_on_files_that_another_one_writes(stage: str) -> None:
    written = [path for other in GRAPH["stages"] if other != stage for path in outputs(other)]
    for dep in GRAPH["stages"][stage]["deps"]:
        assert (
            (ROOT / dep).is_file()
            if dep.startswith("stages/")
            else any(Path(dep).is_relative_to(o) for o in written)
        )


@each_stage
def test_only_test_sample_and_evaluate_depend_on_the_test_pictures(stage: str) -> None:
    deps = GRAPH["stages"][stage]["deps"]
    assert any("/test_" in dep for dep in deps if dep.startswith("data/")) == (
        stage in {"test-sample", "evaluate"}
    )


def test_plots_and_artifacts_name_files_that_a_stage_writes() -> None:
    written = {path for stage in GRAPH["stages"] for path in outputs(stage)}
    for plot in GRAPH["plots"]:
        for options in plot.values():
            assert set(options["y"]) <= written
    assert {artifact["path"] for artifact in GRAPH["artifacts"].values()} <= written
