"""README and docs/ say what is true: commands are run, outputs compared, files and links looked up.

Each page is followed by a reader of its own, from its first command to its last. A command is a
block marked as bash, or stands in the first column of a table. A block marked as text behind it
shows what it prints, shortened by lines of ``...``. Numbers may differ, since they depend on the
machine. A block that cannot be run here says why above it:

    <!-- not run by the tests: needs the network -->
    <!-- run by .ci/run -->
"""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from checkout import Checkout
from common.yaml12 import read_yaml
from helpers import ROOT, lay_out, snapshot, solid

PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
STEP = re.compile(
    r"^(?:<!-- (?P<mark>.*) -->\n)?```bash\n(?P<block>(?s:.*?))^```$"
    r"(?:\n+```text\n(?P<output>(?s:.*?))^```$)?"
    r"|^\| (?P<cell>`(?:dvc|python) [^|]*) \|",
    re.MULTILINE,
)
MARK = re.compile(r"not run by the tests: \S.*|run by \.ci/run")
# Whoever runs the tests has a Python with everything installed.
SETUP = re.compile(
    r"(?:python3 -m venv \.venv && \. \.venv/bin/activate && )?"
    r"pip install -q -e (?:'\.\[(?P<extras>.+)\]'|\.)(?: &&(?: \\)?)?\s+"
)


@dataclass(frozen=True)
class Step:
    """A block of commands, or a command in a table; what it prints, as the page shows it."""

    page: str
    number: int
    text: str
    mark: str | None = None
    output: str = ""

    @property
    def script(self) -> str:
        return SETUP.sub("", self.text, count=1)

    def why_not(self) -> str | None:
        """Return why the step is not run; None if it is."""
        setup = SETUP.match(self.text)
        missing = missing_packages(setup["extras"].split(",")) if setup and setup["extras"] else []
        return self.mark or (f"not installed: {', '.join(missing)}" if missing else None)


def missing_packages(extras: list[str]) -> list[str]:
    """Return the packages of this project's extras that are not installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {each.name for each in importlib.metadata.distributions()}
    installed = {re.sub("[-_.]+", "-", name).lower() for name in names}
    needed = {
        Requirement(each).name
        for extra in extras
        for each in project["optional-dependencies"][extra]
    }
    return sorted(needed - installed)


def steps(page: str) -> Iterator[Step]:
    number = 0
    for found in STEP.finditer(TEXTS[page]):
        blocks = [found["block"]] if found["block"] else re.findall(r"`(.+?)`", found["cell"])
        for block in blocks:
            yield Step(page, number, block, found["mark"], found["output"] or "")
            number += 1


STEPS = [step for page in PAGES for step in steps(page)]
each_step = pytest.mark.parametrize(
    "step", STEPS, ids=lambda step: f"{step.page}: {(step.script or step.text).splitlines()[0]}"
)
each_page = pytest.mark.parametrize("page", PAGES)


class Reader:
    """Somebody who follows a page from the beginning, in a clone."""

    def __init__(self, page: str, checkout: Checkout) -> None:
        self.steps = list(steps(page))
        self.checkout = checkout
        self.at = 0

    def follow(self, last: Step) -> None:
        """Do everything up to this step that has not been done yet."""
        while self.at <= last.number:
            step = self.steps[self.at]
            self.at += 1
            if step.why_not() is None:
                printed = self.run(step.script)
                assert shown(step.output, printed), f"{step.output}\n--- is not in\n{printed}"
                for phrase in EFFECTS:
                    if phrase in step.script:
                        EFFECTS[phrase](self.checkout, printed)

    def run(self, script: str) -> str:
        """Run a script and return what it prints; to a file, since DVC's queue keeps pipes open."""
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


def shown(output: str, printed: str) -> bool:
    """Return True if ``printed`` has the lines of ``output`` in this order, but for numbers."""
    lines = iter([without_numbers(line) for line in printed.splitlines()])
    wanted = [line for line in output.splitlines() if line.strip() not in ("", "...")]
    return all(any(without_numbers(line) == found for found in lines) for line in wanted)


def without_numbers(line: str) -> str:
    """Return a line with each number as 0, and white space, rules of tables and hashes as one."""
    line = re.sub(r"\b[0-9a-f]{7,64}\b", "0", line)
    line = re.sub(r"[-+]?\d[\d,]*(\.\d+)?([eE][-+]?\d+)?", "0", line)
    return " ".join(re.sub(r"[─━-]{3,}", "-", line).split())


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory, programs: str) -> Checkout:
    """A clone with images of somebody's own."""
    checkout = Checkout.of_working_tree(
        tmp_path_factory.mktemp("docs") / "clone", tmp_path_factory.mktemp("home")
    )
    checkout.environment["PATH"] = programs + checkout.environment["PATH"]
    checkout.start_repository()
    images = {
        f"{name}/{n}.png": solid((red, n, 0))
        for name, red in {"red": 250, "dark": 9}.items()
        for n in range(20)
    }
    lay_out(checkout.path / "path" / "to" / "images", images)
    lay_out(checkout.path, {"photo.png": solid((250, 0, 0))})
    return checkout


@pytest.fixture(scope="session")
def begun(started: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A clone in which the README's first run is committed: where the other pages begin."""
    checkout = copy(started, tmp_path_factory.mktemp("begun") / "clone")
    Reader("README.md", checkout).run(FIRST_RUN)
    commit_results(checkout)
    return checkout


def copy(checkout: Checkout, path: Path) -> Checkout:
    shutil.copytree(checkout.path, path)
    return Checkout(path, checkout.environment)


@pytest.fixture(scope="module")
def readers(
    started: Checkout, begun: Checkout, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Reader]]:
    """Return one reader per page."""
    found: dict[str, Reader] = {}

    def reader(page: str) -> Reader:
        if page not in found:
            beginning = started if page == "README.md" else begun
            path = tmp_path_factory.mktemp(Path(page).stem) / "clone"
            found[page] = Reader(page, copy(beginning, path))
        return found[page]

    yield reader
    for each in found.values():
        each.checkout.dvc("queue", "stop", "--kill")


FIRST_RUN = next(step.script for step in STEPS if "download.dataset=digits" in step.script)


def commit_results(checkout: Checkout) -> None:
    checkout.call("git", "add", "params.yaml", "dvc.lock", "reports")
    checkout.call("git", "commit", "-qm", "the results to compare with")


def digits_are_learnt(checkout: Checkout, printed: str) -> None:
    metrics = json.loads((checkout.path / "reports/metrics.json").read_text(encoding="utf-8"))
    assert metrics["accuracy"] > 93


def all_rates_are_tried(checkout: Checkout, printed: str) -> None:
    """Check that the table shows each experiment."""
    found = {}
    for commit in json.loads(checkout.dvc("exp", "show", "--json")):
        for experiment in commit["experiments"] or []:
            data = experiment["revs"][0]["data"]
            rate = data["params"]["params.yaml"]["data"]["recipes"]["digits"]["learning_rate"]
            found[rate] = data["metrics"]["reports/metrics.json"]["data"]["val_acc"]
    assert found.keys() >= {0.02, 0.1}
    assert len(set(found.values())) > 1, "the sweep changes nothing"
    assert all(
        re.search(rf"^[\w-]+ +0 +{found[rate]:.2f} .*learning_rate={rate}\b", printed, re.MULTILINE)
        for rate in (0.02, 0.1)
    )


def the_copy_has_everything(checkout: Checkout, printed: str) -> None:
    assert "up to date" in printed
    assert "Running stage" not in printed
    copy = checkout.path.parent / "copy"
    for path in ("models/classifier.safetensors", "data/arrays", "reports"):
        assert snapshot(copy / path) == snapshot(checkout.path / path)


def own_images_are_used(checkout: Checkout, printed: str) -> None:
    dataset = json.loads((checkout.path / "data/arrays/dataset.json").read_text(encoding="utf-8"))
    assert dataset["classes"] == ["dark", "red"]


# After a step with these words: what must be so.
EFFECTS: dict[str, Callable[[Checkout, str], None]] = {
    "download.dataset=digits": digits_are_learnt,
    "--metric val_acc": all_rates_are_tried,
    "dvc pull": the_copy_has_everything,
    "download.dataset=folder": own_images_are_used,
}


@pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")
@each_step
def test_command_works(readers: Callable[[str], Reader], step: Step) -> None:
    reason = step.why_not()
    if reason is not None:
        pytest.skip(reason)
    readers(step.page).follow(step)


@each_step
def test_a_mark_gives_its_reason(step: Step) -> None:
    assert step.mark is None or MARK.fullmatch(step.mark)


def test_every_effect_belongs_to_a_step_that_is_run() -> None:
    run = [step.script for step in STEPS if step.mark is None]
    assert [word for word in EFFECTS if not any(word in script for script in run)] == []


@each_page
def test_every_block_is_marked_with_its_language(page: str) -> None:
    languages = re.findall(r"^```(\w*)$", TEXTS[page], re.MULTILINE)[::2]
    assert languages.count("bash") == len([step for step in steps(page) if "\n" in step.text])
    assert set(languages) <= {"bash", "text", "mermaid", "python", "yaml", ""}


def test_commands_fit_80_columns() -> None:
    lines = [line for step in STEPS for line in step.text.splitlines()]
    assert [line for line in lines if len(line) > 80] == []


def test_continuous_integration_runs_the_test_command() -> None:
    (command,) = [step for step in STEPS if step.mark == "run by .ci/run"]
    assert command.page == "README.md"
    assert "python -m pytest" in command.text


@each_page
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"(?:\]\(|src=\")([^)#\" ]+)", TEXTS[page]):
        if not link.startswith(("https://", "http://", "../../actions/")):  # GitHub's own
            assert (ROOT / page).parent.joinpath(link).exists(), link


def test_every_page_is_linked_from_the_readme() -> None:
    assert [page for page in PAGES[1:] if f"({page})" not in TEXTS["README.md"]] == []


@each_page
def test_parameters_exist(page: str) -> None:
    params = read_yaml(ROOT / "params.yaml")
    sections = "|".join(params)
    for name in set(
        re.findall(rf"(?<![+~.'\w])(?:{sections})(?:\.(?!(?:py|png)\b)[a-z_]+)+", TEXTS[page])
    ):
        section: Any = params
        for key in name.split("."):
            assert key in section, name
            section = section[key]


@each_page
def test_files_exist(page: str) -> None:
    made = ("data/", "models/", "reports/")
    for name in set(re.findall(r"`((?:stages|tools|tests|docs)/[\w/.-]+)`", TEXTS[page])):
        assert name.startswith(made) or (ROOT / name).exists(), name
