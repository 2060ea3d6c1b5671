"""An edit runs again exactly the stages whose result it can change."""

import json
from collections.abc import Callable

import pytest

from clone import Clone

BEHIND_FIGURES = ["evaluate", "preview", "test-sample"]
EVALUATED = ["evaluate", "test-sample"]
BEHIND_TRAIN = ["evaluate", "test-sample", "train"]


def comment(module: str) -> Callable[[Clone], None]:
    """Append a comment to a module."""

    def edit(clone: Clone) -> None:
        with (clone.path / "stages" / module).open("a", encoding="utf-8") as file:
            file.write("# a comment\n")

    return edit


def params(**changes: object) -> Callable[[Clone], None]:
    """Change params.yaml."""
    return lambda clone: clone.set(**changes)  # type: ignore[arg-type]


def cache(clone: Clone) -> None:
    """Leave beside the code what Python leaves there."""
    folder = clone.path / "stages" / "common" / "__pycache__"
    folder.mkdir(exist_ok=True)
    (folder / "other.cpython-311.pyc").write_bytes(b"compiled")


@pytest.mark.parametrize(
    ("edit", "ran"),
    [
        pytest.param(comment("figures/style.py"), BEHIND_FIGURES, id="figures"),
        pytest.param(comment("sources/decode.py"), ["download"], id="sources"),
        pytest.param(comment("evaluation/charts.py"), ["evaluate"], id="evaluation"),
        pytest.param(comment("inspection/duplicates.py"), ["preview"], id="inspection"),
        pytest.param(comment("training/loop.py"), ["train"], id="training"),
        pytest.param(cache, [], id="Python's cache"),
        pytest.param(
            params(
                machine={
                    "device": "auto",
                    "processes": "auto",
                    "threads": 2,
                    "checkpoint_minutes": 9.0,
                    "predict_batch_size": 7,
                    "mirrors": ["http://127.0.0.1:9/"],
                }
            ),
            [],
            id="machine",
        ),
        pytest.param(
            params(evaluate={"test_time_augmentation": "mirror"}), EVALUATED, id="augmentation"
        ),
        pytest.param(
            params(recipes={"quick": {"label_smoothing": 0.1}}), BEHIND_TRAIN, id="recipe in use"
        ),
        pytest.param(
            params(recipes={"tutorial": {"label_smoothing": 0.1}}), [], id="recipe not in use"
        ),
        # The report shows what both draw.
        pytest.param(params(preview={"seed": 5}), ["evaluate", "preview"], id="preview"),
        pytest.param(params(test_sample={"seed": 5}), EVALUATED, id="test-sample"),
    ],
)
def test_an_edit_runs_what_it_can_change(
    quick: Clone, edit: Callable[[Clone], None], ran: list[str]
) -> None:
    edit(quick)
    assert sorted(quick.repro()) == ran


def test_machine_settings_are_shown_as_changes_although_nothing_runs(base: Clone) -> None:
    base.set(machine={"predict_batch_size": 7})
    assert "up to date" in base.dvc("status")
    changes = json.loads(base.dvc("params", "diff", "--json"))["params.yaml"]
    assert changes["machine.predict_batch_size"]["new"] == 7
