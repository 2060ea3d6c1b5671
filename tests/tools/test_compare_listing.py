"""tools/compare.py --runs: one line per run, with what was changed and what came out."""

import sys
from collections.abc import Callable

import pytest

import compare
from common.errors import UserError
from fabricated import Fabricated, metrics, params

Listing = Callable[..., list[str]]


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Listing:
    """Return the lines that compare.py --runs prints with these arguments."""

    def call(*arguments: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["compare.py", "--runs", *arguments])
        compare.main()
        return capsys.readouterr().out.splitlines()

    return call


@pytest.fixture
def three(experiments: Fabricated) -> None:
    """Three experiments beside HEAD's run, whose seed is 0 and accuracy 57.9."""
    experiments.experiment(params(seed=1), metrics(58.3) | {"val_acc": 59.0, "val_loss": 1.2})
    experiments.experiment(
        params(seed=2, recipes__quick__label_smoothing=0.1),
        metrics(57.0) | {"val_acc": 61.5, "val_loss": 1.125},
    )
    experiments.experiment(params(seed=3), metrics(58.0) | {"val_acc": 60.0, "val_loss": 1.3})


@pytest.mark.usefixtures("three")
def test_runs_are_listed_in_their_order_with_seed_metrics_and_change(listing: Listing) -> None:
    heads, *rows = listing()
    assert heads.split() == ["run", "seed", "val_acc", "val_loss", "accuracy", "changed"]
    assert [row.split()[1:] for row in rows] == [
        ["0", "57.90", "label_smoothing=0.0"],  # HEAD has no validation images
        ["1", "59.00", "1.2000", "58.30", "label_smoothing=0.0"],
        ["2", "61.50", "1.1250", "57.00", "label_smoothing=0.1"],
        ["3", "60.00", "1.3000", "58.00", "label_smoothing=0.0"],
    ]
    assert all(len(row) <= 120 for row in rows)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("metric", "seeds"), [("val_acc", "2310"), ("val_loss", "2130"), ("accuracy", "1302")]
)
def test_the_best_by_the_metric_comes_first_and_runs_without_it_last(
    listing: Listing, metric: str, seeds: str
) -> None:
    assert "".join(row.split()[1] for row in listing("--metric", metric)[1:]) == seeds


@pytest.mark.usefixtures("three")
def test_who_chooses_by_validation_images_does_not_see_the_test_images(listing: Listing) -> None:
    assert listing("--metric", "val_acc")[0].split() == [
        "run", "seed", "val_acc", "val_loss", "changed",
    ]  # fmt: skip


def test_a_long_change_is_wrapped_whole_and_what_does_not_count_is_named(
    experiments: Fabricated, listing: Listing
) -> None:
    long = "a" * 90
    experiments.experiment(params(download__source=long, download__fit="crop"), metrics(58.0))
    experiments.experiment(params(seed=0), metrics(57.9), "again")
    experiments.experiment(params(seed=4), metrics(58.0), "unfinished", evaluated=False)
    lines = listing()
    assert all(len(line) <= 120 for line in lines)
    assert "a" * 80 in "".join(line.strip() for line in lines)
    text = " ".join(line.strip() for line in lines)
    assert "fit=crop" in text
    assert "Counted once: again repeats main." in text
    assert "Left out: unfinished (" in text


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--metric", "val_accuracy"], "--metric is 'val_accuracy'; did you mean"),
        (["--experiments"], "--experiments and --runs are two lists; choose one"),
        (["--csv"], "--csv is for groups of experiments; add --experiments"),
        (["--json"], "--json is for two models or for --experiments"),
        (["HEAD"], "HEAD: --runs takes no revisions; leave it out"),
    ],
)
def test_what_does_not_fit_is_refused(listing: Listing, arguments: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        listing(*arguments)
