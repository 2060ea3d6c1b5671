"""DVC's experiments as runs: settings, seeds, metrics and name of each that came to its end."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import UserError
from comparison.revisions import WORKSPACE
from comparison.settings import LOCK, METRICS, Settings, flat, read_lock, read_settings


@dataclass(frozen=True)
class Run:
    """A commit, an experiment or the workspace, evaluated."""

    name: str
    settings: Settings
    metrics: dict[str, float]
    machine: dict[str, Any]  # by key, without the section's name


@dataclass
class Runs:
    """The runs of a commit: its own, its experiments from oldest to newest, the workspace's."""

    head: str = ""  # the commit's name
    head_params: dict[str, Any] = field(default_factory=dict)  # params.yaml by full key
    runs: list[Run] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # reason by name
    repeated: list[tuple[Run, Run]] = field(default_factory=list)  # a run, and the one that counts

    def add(self, run: Run) -> None:
        """Add a run unless one with the same settings and seeds is here."""
        for other in self.runs:
            if (run.settings.key, run.settings.seeds) == (other.settings.key, other.settings.seeds):
                if run.name != WORKSPACE or run.metrics != other.metrics:
                    self.repeated.append((run, other))
                return
        self.runs.append(run)


def read_runs() -> Runs:
    """Read the experiments that started from HEAD, HEAD itself and the workspace.

    Raises:
        UserError: This is no DVC project under Git, or one without a commit.
    """
    from dvc.exceptions import DvcException  # a second that --help need not wait
    from dvc.repo import Repo
    from dvc.scm import Git

    runs = Runs()
    try:
        # Not dvc.api.exp_show: it turns numbers into text, and renames keys that both parameters
        # and metrics have.
        with Repo() as repo:
            if not isinstance(repo.scm, Git) or repo.scm.no_commits:
                raise UserError(
                    "experiments start from a Git commit, and there is none; commit first"
                )
            for name, state, status in in_order(repo.experiments.show()):
                collect(runs, repo, name, state, status)
    except DvcException as error:
        raise UserError(f"experiments cannot be read: {' '.join(str(error).split())}") from None
    return runs


def in_order(states: list[Any]) -> Iterator[tuple[str, Any, str]]:
    """Yield name, DVC's state and status: HEAD, experiments from the oldest on, the workspace."""
    workspace, head = states
    yield head.name or head.rev[:7], head, "head"
    for experiment in reversed(head.experiments or []):
        state = experiment.revs[0]
        status = experiment.executor.state if experiment.executor else "success"
        yield experiment.name or state.name or state.rev[:7], state, status
    yield WORKSPACE, workspace, "success"


def collect(runs: Runs, repo: Any, name: str, state: Any, status: str) -> None:
    """Add one of DVC's states to ``runs``, or the reason why it does not count."""
    params = flat(content(state.data.params)) if state.data else {}
    if status == "head":
        runs.head, runs.head_params = name, params
    elif status != "success":  # its metrics, if any, are those of the commit that it started from
        runs.left_out[name] = status
        return
    try:
        if state.error or not state.data:
            raise ValueError(f"unreadable ({state.error.msg if state.error else 'no data'})")
        with repo.switch(state.rev):
            lock = Path(repo.root_dir) / LOCK
            if not repo.fs.exists(str(lock)):
                raise ValueError("not run")
            with repo.fs.open(str(lock), encoding="utf-8") as file:
                settings = read_settings(read_lock(file.read()))
        metrics = {
            key: float(value)
            for key, value in flat(content(state.data.metrics)).items()
            if isinstance(value, int | float)
        }
        if not metrics:
            raise ValueError(f"no {METRICS}")
    except ValueError as error:
        if name != WORKSPACE:
            runs.left_out[name] = str(error)
        return
    machine = {key[8:]: value for key, value in params.items() if key.startswith("machine.")}
    runs.add(Run(name, settings, metrics, machine))


def content(files: dict[str, Any]) -> dict[str, Any]:
    """Return what DVC read of params.yaml or metrics.json; nothing where it could not."""
    merged: dict[str, Any] = {}
    for file in files.values():
        data = file.get("data")
        merged.update(data if isinstance(data, dict) else {})
    return merged
