"""dvc.yaml declares for each stage the code that it imports, no less and no more."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from graph import GRAPH, deps, outputs, paths, script
from helpers import ROOT, STAGES

each_stage = pytest.mark.parametrize("stage", GRAPH["stages"])
# Declared with the folder they lie in, but not imported by the stage. A change to one of them runs
# the stage again for nothing, which costs these stages seconds. There is no such file for train.
SPARE: dict[str, set[str]] = {
    "preview": {"common/split.py"},
    "test-sample": {"common/split.py", "common/tables.py", "model/memory.py"},
    "evaluate": {"common/split.py"},
}

# Imported by a stage, but not declared: what train fetches is checked by its SHA-256, so that no
# change to the code of fetching can change what is trained.
UNDECLARED: dict[str, set[str]] = {
    "train": {"fetching/fetch.py", "fetching/mirrors.py", "fetching/request.py"}
}


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module_file(dotted: str) -> Path | None:
    """Return the file of a local module; None for a library's."""
    path = STAGES.joinpath(*dotted.split("."))
    files = [path.with_suffix(".py"), path / "__init__.py"]
    return next((file for file in files if file.is_file()), None)


def imports(path: Path) -> Iterator[Path]:
    """Yield the local modules that a file imports, anywhere in it."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; name the folder"
            module = str(node.module)
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (file for name in names if (file := module_file(name)))


def closure(path: Path) -> set[Path]:
    """Return a file and every local module behind it."""
    found, waiting = set(), [path]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += imports(file)
    return found


def declared_code(stage: str) -> list[Path]:
    return [ROOT / dep for dep in deps(stage) if dep.startswith("stages/")]


def modules(folder: Path) -> set[Path]:
    return {file for file in folder.rglob("*.py") if file.stat().st_size}


@each_stage
def test_every_file_that_a_stage_imports_is_declared(stage: str) -> None:
    declared = declared_code(stage)
    undeclared = {
        file.relative_to(STAGES).as_posix()
        for file in closure(script(stage))
        if not any(file.is_relative_to(path) for path in declared)
    }
    assert undeclared == UNDECLARED.get(stage, set())


@each_stage
def test_every_file_of_a_declared_folder_is_imported(stage: str) -> None:
    used = closure(script(stage))
    declared = set().union(*(modules(path) for path in declared_code(stage) if path.is_dir()))
    spare = {file.relative_to(STAGES).as_posix() for file in declared - used}
    assert spare == SPARE.get(stage, set())


def test_every_module_belongs_to_a_stage() -> None:
    assert modules(STAGES) == set().union(
        *(closure(script(stage)) for stage in GRAPH["stages"])
    ) - {file for file in STAGES.rglob("__init__.py") if not file.stat().st_size}


def test_no_module_imports_from_a_stage_script() -> None:
    scripts = {script(stage) for stage in GRAPH["stages"]}
    assert {file for file in modules(STAGES) if scripts & set(imports(file))} == set()


def test_only_tests_import_from_tests() -> None:
    helpers = {file.stem for file in (ROOT / "tests").rglob("*.py")}
    code = [file for folder in ("stages", "tools") for file in (ROOT / folder).rglob("*.py")]
    for file in code:
        for node in ast.walk(parse(file)):
            if isinstance(node, ast.Import):
                assert not helpers & {alias.name for alias in node.names}, file
            elif isinstance(node, ast.ImportFrom):
                assert str(node.module).partition(".")[0] not in helpers | {"tests", "support"}, (
                    file
                )


@each_stage
def test_cached_outputs_are_ignored_by_git_and_the_others_are_not(stage: str) -> None:
    for path, options in outputs(stage).items():
        folder, _, name = path.rpartition("/")
        ignored = (ROOT / folder / ".gitignore").read_text().split()
        assert (f"/{name}" in ignored) == options.get("cache", True), path


@each_stage
def test_no_output_switches_the_run_cache_off(stage: str) -> None:
    """With a plain out that is not cached, or one that persists, DVC could not restore a result."""
    kinds = GRAPH["stages"][stage]
    assert all(options.get("cache", True) for options in paths(kinds.get("outs", [])).values())
    assert not any(options.get("persist") for options in outputs(stage).values())
    assert not kinds.get("always_changed")


@each_stage
def test_data_dependencies_are_files_that_another_stage_writes(stage: str) -> None:
    written = [path for other in GRAPH["stages"] if other != stage for path in outputs(other)]
    for dep in deps(stage):
        if not dep.startswith(("stages/", "$")):
            assert any(Path(dep).is_relative_to(path) for path in written), dep


def test_only_reports_depend_on_the_test_images() -> None:
    reading = {stage for stage in GRAPH["stages"] if any("/test_" in dep for dep in deps(stage))}
    assert reading == {"preview", "test-sample", "evaluate"}


def test_plots_and_artifacts_name_files_that_a_stage_writes() -> None:
    written = {path for stage in GRAPH["stages"] for path in outputs(stage)}
    for plot in GRAPH["plots"]:
        for options in plot.values():
            assert set(options["y"]) <= written
    assert {artifact["path"] for artifact in GRAPH["artifacts"].values()} <= written
