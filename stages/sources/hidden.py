"""What file managers hide among images."""

import sys
from collections.abc import Iterable, Iterator
from itertools import filterfalse
from pathlib import Path


def report_hidden(names: Iterable[str], path: Path) -> None:
    count = sum(map(is_hidden, names))
    if count:
        print(
            f"{path}: {count} hidden files left out, such as {next(filter(is_hidden, names))}",
            file=sys.stderr,
        )


def visible(names: Iterable[str]) -> Iterator[str]:
    """Leave out what file managers hide among pictures."""
    return filterfalse(is_hidden, names)


def is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
