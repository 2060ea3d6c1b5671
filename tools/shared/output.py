"""Where a tool may write: in place of an earlier file, but never of one that it reads."""

from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError


def check_output(option: str, path: Path, suffix: str, given: Sequence[Path | str]) -> None:
    """Check, before anything is computed, that ``path`` can be written and is no file to read.

    A file of that name is replaced otherwise, as by any program that is told where to write.

    Args:
        option: the command-line option that named the path.
        path: the file to write; ``<path>.part`` is written first and renamed.
        suffix: how its name must end.
        given: the files that the tool was told to read.

    Raises:
        UserError: The name has another suffix; its folder does not exist; the name belongs to a
            folder, link, pipe or device, or to one of the files given.
    """
    if path.suffix.lower() != suffix:
        raise UserError(f"{option} {path}: name a file that ends in {suffix}")
    if not path.parent.is_dir():
        raise UserError(f"{option} {path}: there is no folder {path.parent}; correct it or make it")
    for taken in (path, path.with_name(path.name + ".part")):
        if taken.is_symlink() or (taken.exists() and not taken.is_file()):
            raise UserError(
                f"{option} {path}: {taken} is a folder, link, pipe or device; name another file"
            )
        if taken.exists() and any(is_same(Path(each), taken) for each in given):
            raise UserError(f"{option} {path}: {taken} is a file to read; name another")


def is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:  # reading it will report the error
        return False
