"""The image files that a command line names."""

import os
import sys
from pathlib import Path

from common.errors import UserError
from sources.directory import LARGEST_FILE
from sources.hidden import report_hidden, visible

TOO_LARGE = f"more than {LARGEST_FILE:,} bytes, which no image needs"


def list_images(argument: str) -> list[str]:
    """Return the files that an argument stands for, sorted.

    A path that does not exist and a folder without images are kept; reading them reports the error.
    """
    if argument == "-" or not os.path.isdir(argument):  # noqa: PTH112 - Path's raises for a long name
        return [argument]
    folder = Path(argument)
    inside = sorted(
        entry.relative_to(folder).as_posix()
        for entry in folder.rglob("*")
        if entry.is_symlink() or not entry.is_dir()
    )
    report_hidden(inside, folder)
    return [str(folder / path) for path in visible(inside)] or [argument]


def read_image(name: str) -> bytes:
    """Return the bytes of a file, or of standard input.

    Raises:
        UserError: It cannot be read, is not a file, or is larger than an image can be.
    """
    path = Path(name)
    try:
        if name == "-":
            content = sys.stdin.buffer.read(LARGEST_FILE + 1)
        elif path.is_dir():
            raise UserError("a folder without images, or a link to a folder, which is not followed")
        elif path.exists() and not path.is_file():
            raise UserError("neither a file nor a folder")  # reading a pipe might never end
        elif path.exists() and path.stat().st_size > LARGEST_FILE:
            raise UserError(TOO_LARGE)
        else:
            content = path.read_bytes()
    except OSError as error:
        raise UserError(str(error.strerror)) from None
    if len(content) > LARGEST_FILE:
        raise UserError(TOO_LARGE)
    return content
