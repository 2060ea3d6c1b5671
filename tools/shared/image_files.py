"""The image files that a command line names."""

import os
import sys
from pathlib import Path

from common.errors import UserError
from sources.hidden import report_hidden, visible


def list_images(argument: str) -> list[str]:
    """Return the files that an argument stands for, sorted.

    A path that does not exist and a folder without images are kept; reading them reports the error.
    """
    if argument == "-" or not os.path.isdir(argument):  # noqa: PTH112 - Path's raises for a long name
        return [argument]
    folder = Path(argument)
    entries = [entry for entry in folder.rglob("*") if entry.is_symlink() or not entry.is_dir()]
    inside = sorted(entry.relative_to(folder).as_posix() for entry in entries)
    report_hidden(inside, folder)
    return [str(folder / path) for path in visible(inside)] or [argument]


def read_image(name: str) -> bytes:
    """Return the bytes of a file, or of standard input.

    Raises:
        UserError: It cannot be read, or is not a file.
    """
    if name == "-":
        return sys.stdin.buffer.read()
    path = Path(name)
    try:
        if path.is_dir():
            raise UserError("a folder without images, or a link to a folder, which is not followed")
        if path.exists() and not path.is_file():
            raise UserError("neither a file nor a folder")  # reading a pipe might never end
        return path.read_bytes()
    except OSError as error:
        raise UserError(str(error.strerror)) from None
