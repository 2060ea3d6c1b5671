"""The README says what is true: its commands are run, in its order, and its files, links and parameters are looked up.

Commands are the blocks marked as bash, and those in the first column of a table. A block that cannot be run here says
why in the line above it, which GitHub does not show:

    <!-- not run by the tests: needs the network -->
    <!-- run by .ci/run -->
"""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from packaging.requirements import Requirement

from checkout import Checkout
from common.yaml12 import read_yaml
from helpers import ROOT, lay_out, snapshot, solid

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
STEP = re.compile(
    r"^## (?P<section>.+)$"
    r"|^(?:<!-- (?P<mark>.*) -->\n)?```bash\n(?P<block>(?s:.*?))^```$"
    r"|^\| (?P<cell>`(?:dvc|python) [^|]*) \|",
    re.MULTILINE,
)
MARK = re.compile(r"not run by the tests: \S.*|run by \.ci/run")
# What a block starts with so that it can be copied as it is: whoever runs the tests has a Python with all of it.
SETUP = re.compile(
    r"(?:python3 -m venv \.venv && \. \.venv/bin/activate && )?pip install -q -e (?:'\.\[(?P<extras>.+)\]'|\.) && "
)


@dataclass(frozen=True)
class Step:
    """A block, or a command in a table."""

    section: str
    text: str
    mark: str | None = None

    @property
    def script(self) -> str:
        return SETUP.sub("", self.text, count=1)

    def why_not(self) -> str | None:
        """Why it is not run; None if it is."""
        setup = SETUP.match(self.text)
        missing = missing_packages(setup["extras"].split(",")) if setup and setup["extras"] else []
        return self.mark or (f"not installed: {', '.join(missing)}" if missing else None)


def missing_packages(extras: list[str]) -> list[str]:
    """What is not installed of this project's extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = {
        re.sub("[-_.]+", "-", each.name).lower() for each in importlib.metadata.distributions()
    }
    needed = {
        Requirement(each).name
        for extra in extras
        for each in project["optional-dependencies"][extra]
    }
    return sorted(needed - installed)


def steps() -> Iterator[Step]:
    section = ""
    for found in STEP.finditer(TEXT):
        section = found["section"] or section
        if found["block"]:
            yield Step(section, found["block"], found["mark"])
        for command in re.findall(r"`(.+?)`", found["cell"] or ""):
            yield Step(section, command)


STEPS = list(steps())
each_step = pytest.mark.parametrize(
    "step", STEPS, ids=lambda step: f"{step.section}: {step.script.splitlines()[0]}"
)


class Reader:
    """Somebody who follows the README from the beginning, in a clone."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self.at = 0

    def follow(self, last: Step) -> None:
        """Do everything up to this step that has not been done yet."""
        while self.at <= STEPS.index(last):
            step = STEPS[self.at]
            self.at += 1
            if step.why_not() is None:
                printed = self.run(step.script)
                for phrase in EFFECTS:
                    if phrase in step.script:
                        EFFECTS[phrase](self.checkout, printed)

    def run(self, script: str) -> str:
        """What it prints: to a file, since the queue's workers would keep a pipe open."""
        path = self.checkout.path.parent / "printed"
        with path.open("w", encoding="utf-8") as file:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=self.checkout.path,
                env={**self.checkout.environment, "COLUMNS": "100"},
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            )
        printed = path.read_text(encoding="utf-8")
        assert done.returncode == 0, printed
        return printed


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    checkout = Checkout.of_working_tree(
        tmp_path_factory.mktemp("readme") / "clone", tmp_path_factory.mktemp("home")
    )
    checkout.start_repository()
    colors = {"red": 250, "dark": 9}
    images = {
        f"{name}/{n}.png": solid((red, n, 0)) for name, red in colors.items() for n in range(9)
    }
    lay_out(checkout.path / "path" / "to" / "images", images)
    lay_out(checkout.path, {"photo.png": solid((250, 0, 0))})
    yield Reader(checkout)
    checkout.dvc("queue", "stop", "--kill")


def digits_are_learnt(checkout: Checkout, printed: str) -> None:
    metrics = json.loads((checkout.path / "reports" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["n"] == 359
    assert metrics["accuracy"] > 93
    assert str(metrics["accuracy"]) in printed
    checkout.call("git", "add", "params.yaml", "dvc.lock", "reports")
    checkout.call("git", "commit", "-qm", "the results to compare with")


def all_rates_are_tried(checkout: Checkout, printed: str) -> None:
    """The experiments have run, and the table shows them, none of its columns cut off."""
    found = {}
    for commit in json.loads(checkout.dvc("exp", "show", "--json")):
        for experiment in commit["experiments"] or []:
            data = experiment["revs"][0]["data"]
            rate = data["params"]["params.yaml"]["data"]["recipes"]["quick"]["learning_rate"]
            found[rate] = data["metrics"]["reports/metrics.json"]["data"]["accuracy"]
    assert found.keys() >= {0.02, 0.05, 0.1}
    assert all(0 < accuracy <= 100 for accuracy in found.values())
    table = printed[printed.index("Experiment  ") :]
    assert "…" not in table
    assert all(
        re.search(rf"\[[\w-]+\] .* {found[rate]} .* {rate} ", table) for rate in (0.02, 0.05, 0.1)
    )


def the_copy_has_everything(checkout: Checkout, printed: str) -> None:
    assert "up to date" in printed
    assert "Running stage" not in printed
    copy = checkout.path.parent / "copy"
    for path in ("models", "data/arrays", "reports"):
        assert snapshot(copy / path) == snapshot(checkout.path / path)


def own_images_are_used(checkout: Checkout, printed: str) -> None:
    dataset = json.loads(
        (checkout.path / "data" / "images" / "dataset.json").read_text(encoding="utf-8")
    )
    assert dataset["classes"] == ["dark", "red"]
    assert "accuracy" in printed


# After a step with these words: what must be so.
EFFECTS: dict[str, Callable[[Checkout, str], None]] = {
    "download.dataset=digits": digits_are_learnt,
    "--run-all": all_rates_are_tried,
    "dvc pull": the_copy_has_everything,
    "download.dataset=folder": own_images_are_used,
}


@pytest.mark.skipif(sys.platform == "win32", reason="the README's commands are for a POSIX shell")
@each_step
def test_command_works(reader: Reader, step: Step) -> None:
    reason = step.why_not()
    if reason is not None:
        pytest.skip(reason)
    reader.follow(step)


@each_step
def test_a_mark_gives_its_reason(step: Step) -> None:
    assert step.mark is None or MARK.fullmatch(step.mark)


def test_every_effect_belongs_to_a_step_that_is_run() -> None:
    assert [
        word
        for word in EFFECTS
        if not any(word in step.script and step.mark is None for step in STEPS)
    ] == []


def test_every_block_of_commands_is_marked_as_bash() -> None:
    languages = re.findall(r"^```(\w*)$", TEXT, re.MULTILINE)[::2]
    assert languages.count("bash") == len([step for step in STEPS if "\n" in step.text])
    assert set(languages) <= {"bash", "mermaid", "python", ""}


def test_continuous_integration_runs_the_test_command() -> None:
    (command,) = re.findall(
        r"^python3 -m venv .* pytest$", TEXT, re.MULTILINE
    )  # as .ci/run looks for it
    assert [step.mark for step in STEPS if step.text == f"{command}\n"] == ["run by .ci/run"]


def test_the_tree_of_files_is_complete() -> None:
    tree = re.search(r"^## Files\n+```\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert tree
    folders: list[str] = []
    named = set()
    for indent, name in re.findall(r"^( *)(\S+)", tree[1], re.MULTILINE):
        folders[len(indent) // 2 :] = [name]
        named.add("".join(folders))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    scripts = [path for folder in ("stages", "tools") for path in (ROOT / folder).rglob("*.py")]
    expected = {path.relative_to(ROOT).as_posix() for path in scripts if path.name != "__init__.py"}
    assert sorted(expected - named) == []


def test_links_lead_somewhere() -> None:
    links = [
        link
        for link in re.findall(r"\]\(([^)#]+)", TEXT)
        if not link.startswith(("https://", "http://"))
    ]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_parameters_exist() -> None:
    params = read_yaml(ROOT / "params.yaml")
    named = set(re.findall(rf"\b(?:{'|'.join(params)})(?:\.(?!(?:py|png)\b)[a-z_]+)+", TEXT))
    assert named
    for name in named:
        section: Any = params
        for key in name.split("."):
            assert key in section, name
            section = section[key]
