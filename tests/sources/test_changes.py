"""Images that are removed, replaced or changed while download reads them are named."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from downloads import bring_folder, fails, images, packed
from helpers import lay_out, solid
from sources.archives import Tree, open_tree

NAME = "cat/002.png"


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def replace_its_folder(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_bytes(b"")


CHANGES: dict[str, Callable[[Path], object]] = {
    "removed": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "appended to": lambda path: path.write_bytes(path.read_bytes() + b"more"),
    "overwritten": lambda path: path.write_bytes(solid((9, 9, 9))),
    "its folder removed": lambda path: shutil.rmtree(path.parent),
    "replaced by a folder": replace_by_folder,
    "replaced by a pipe": replace_by_pipe,
    "replaced by a device": replace_by_device,
    "its folder replaced": replace_its_folder,
}


def act_before(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], object]) -> None:
    """Let another process, as it were, do something just before an image is read."""
    read = Tree.read

    def act_and_read(self: Tree, wanted: str) -> bytes:
        if wanted == name:
            act()
        return read(self, wanted)

    monkeypatch.setattr(Tree, "read", act_and_read)


@pytest.mark.timeout(20)  # reading a pipe or a device waits forever
@pytest.mark.parametrize("change", CHANGES)
def test_an_image_changed_before_it_is_read_is_named(
    mine: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    lay_out(mine, images(cat=5, dog=5))
    bring_folder(mine)
    act_before(monkeypatch, NAME, lambda: CHANGES[change](mine / NAME))
    line = fails(dataset="folder", source=str(mine))
    assert f"{NAME!r} was added, removed or changed while the images were read" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "change", ["removed", "overwritten", "replaced by a folder", "its folder removed"]
)
def test_an_image_changed_after_it_was_read_is_named(
    mine: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Otherwise DVC would take the arrays for those of the changed images."""
    lay_out(mine, images(cat=5, dog=5))
    act_before(monkeypatch, "dog/004.png", lambda: CHANGES[change](mine / NAME))
    line = fails(dataset="folder", source=str(mine))
    assert "cat/00" in line
    assert "was added, removed or changed" in line


def test_an_image_added_meanwhile_is_named(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(mine, images(cat=5, dog=5))
    act_before(monkeypatch, NAME, lambda: lay_out(mine, {"cat/new.png": solid(1)}))
    assert "'cat/new.png' was added" in fails(dataset="folder", source=str(mine))


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_changed_meanwhile_is_named(
    mine: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = mine.with_name(f"mine.{kind}")
    path.write_bytes(packed(kind, images(cat=5, dog=5)))
    other = packed(kind, images(cat=5, dog=6))

    def replace() -> None:
        path.with_suffix(".new").write_bytes(other)
        path.with_suffix(".new").replace(path)

    act_before(monkeypatch, NAME, replace)
    line = fails(dataset="folder", source=str(path))
    assert f"{path}: changed while it was read" in line


def test_an_image_removed_while_files_are_listed_is_named(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(mine, images(cat=5, dog=5))
    stat = os.stat

    def remove_and_stat(path: Any, **options: Any) -> os.stat_result:
        if str(path).endswith(NAME):
            Path(path).unlink()
        return stat(path, **options)

    monkeypatch.setattr("sources.directory.os.stat", remove_and_stat)
    line = fails(dataset="folder", source=str(mine))
    assert "cat/002.png' was added, removed or changed" in line


def test_nothing_changed_is_no_error(mine: Path) -> None:
    lay_out(mine, images(cat=5, dog=5))
    with open_tree(mine) as tree:
        tree.check_unchanged()
        assert len(tree) == 10
