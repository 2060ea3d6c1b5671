"""Image files that cannot become arrays: which they are, and why."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from common.errors import UserError
from common.files import ARRAYS, remove
from common.tables import write_csv

LIST = ARRAYS.with_name("unreadable.csv")
SHOWN = 3  # names per reason


class Unreadable(NamedTuple):
    """An image file, and why it cannot become an array."""

    file: str
    reason: str


def write_unreadable(path: Path, files: Sequence[Unreadable]) -> None:
    """Write a table of files and reasons; of no files, its header."""
    write_csv(path, [file._asdict() for file in files], Unreadable._fields)


def refusal(files: Sequence[Unreadable], source: str, count: int) -> UserError:
    """Return an error with a line per reason; if that cannot name all files, LIST does."""
    remove(LIST)
    by_reason = defaultdict(list)
    for file in files:
        by_reason[re.sub(r"\d+", "0", file.reason)].append(file)
    lines = [
        f"{source}: {len(files):,} of {count:,} image files cannot be read; repair them, take them "
        "out, or set download.unreadable to skip"
    ]
    for group in sorted(by_reason.values(), key=len, reverse=True):
        names = ", ".join(file.file for file in group[:SHOWN])
        more = f" and {len(group) - SHOWN:,} more" if len(group) > SHOWN else ""
        lines.append(f"  {group[0].reason}: {names}{more}")
    if any(len(group) > SHOWN for group in by_reason.values()):
        write_unreadable(LIST, files)
        lines.append(f"  all of them are in {LIST}")
    return UserError(*lines)
