"""DVC runs download again when images in the source change, wherever they are, and only then."""

import re
from pathlib import Path

import pytest

from checkout import Checkout
from downloads import images, packed
from helpers import DIGITS, lay_out, solid, write_params


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    home = tmp_path_factory.mktemp("home")
    checkout = Checkout.of_working_tree(tmp_path_factory.mktemp("source") / "checkout", home)
    write_params(checkout.path, DIGITS)
    checkout.start_repository()
    return checkout


def runs(checkout: Checkout) -> bool:
    """Return whether ``dvc repro`` runs download, or restores an earlier result of it."""
    printed = checkout.dvc("repro", "download")
    unchanged = "Stage 'download' didn't change, skipping" in printed
    assert unchanged != bool(re.search(r"Running stage 'download'|is cached - skip", printed))
    return not unchanged


def test_digits_ask_for_no_source(checkout: Checkout) -> None:
    assert runs(checkout)
    assert not runs(checkout)
    checkout.commit("digits")


def test_every_change_in_the_default_folder_is_noticed(checkout: Checkout) -> None:
    write_params(checkout.path, DIGITS, {"download": {"dataset": "folder"}})
    place = lay_out(checkout.path / "data" / "images", images(cat=4, dog=4))
    assert runs(checkout)
    assert not runs(checkout)
    lay_out(place, {"cat/added.png": solid((1, 2, 3))})
    assert runs(checkout)
    (place / "cat" / "added.png").rename(place / "cat" / "renamed.png")
    assert runs(checkout)
    lay_out(place, {"cat/renamed.png": solid((3, 2, 1))})
    assert runs(checkout)
    (place / "cat" / "renamed.png").unlink()
    assert runs(checkout)
    assert not runs(checkout)
    # Git is not asked to keep the images.
    assert "data/images" not in checkout.call("git", "status", "--short")


@pytest.mark.parametrize("kind", ["directory", "zip"])
def test_a_change_in_a_source_outside_is_noticed(
    checkout: Checkout, tmp_path: Path, kind: str
) -> None:
    place = tmp_path / f"mine.{kind}"

    def write(cats: int) -> None:
        if kind == "directory":
            lay_out(place, images(cat=cats, dog=4))
        else:
            place.write_bytes(packed("zip", images(cat=cats, dog=4)))

    write(5)
    settings = ["download.dataset=folder", f"download.source={place}"]
    overrides = [part for setting in settings for part in ("-S", setting)]
    assert "Running stage 'download'" in checkout.dvc("exp", "run", *overrides, "download")
    assert not runs(checkout)
    write(6)
    assert runs(checkout)
    assert not runs(checkout)


def test_images_that_dvc_tracks_are_there_in_an_experiment_s_copy(checkout: Checkout) -> None:
    checkout.call("git", "checkout", "-q", "--force", "main")
    lay_out(checkout.path / "tracked", images(cat=4, dog=4))
    checkout.dvc("add", "tracked")
    checkout.commit("tracked images")
    settings = ["-S", "download.dataset=folder", "-S", "download.source=tracked"]
    printed = checkout.dvc("exp", "run", "--temp", *settings, "download")
    assert "tracked: " in printed
    assert "images of 32 x 32, 2 classes" in printed


def test_images_where_the_arrays_go_are_refused_by_dvc_before_it_deletes_them(
    checkout: Checkout,
) -> None:
    lay_out(checkout.path / "data" / "arrays", images(cat=4, dog=4))
    write_params(
        checkout.path, DIGITS, {"download": {"dataset": "folder", "source": "data/arrays"}}
    )
    printed = checkout.dvc("repro", "download", status=None)
    assert "both a dependency and an output" in printed
    assert (checkout.path / "data" / "arrays" / "cat" / "000.png").exists()
