"""Files that are left out: hidden ones, and those that are evidently no images."""

import sys
from collections.abc import Iterable, Iterator
from itertools import filterfalse
from pathlib import Path

from common.errors import printable

# What cameras, file managers and data sets put beside images; a short list, since all else is worth
# an error: an archive may hold images, and a drawing may have been meant as one.
NAMES = ("thumbs.db", "desktop.ini", "readme", "license")
TEXTS = (".doc", ".docx", ".htm", ".html", ".ipynb", ".log", ".md", ".pdf", ".py", ".rtf", ".txt")
TABLES = (".csv", ".json", ".jsonl", ".tsv", ".xls", ".xlsx", ".xml", ".yaml", ".yml")
FILMS = (".3gp", ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
SOUNDS = (".m4a", ".mp3", ".ogg", ".wav")
EDITS = (".aae", ".xmp")  # of an image, by Apple and Adobe
NO_IMAGES = (*TEXTS, *TABLES, *FILMS, *SOUNDS, *EDITS)


def report_hidden(names: Iterable[str], path: Path) -> None:
    """Say on standard error how many files are left out; of a .gitignore nothing need be said."""
    count, example = 0, ""
    for name in filter(is_hidden, names):
        if not name.endswith(".gitignore"):
            count, example = count + 1, example or name
    if count:
        files = "1 file" if count == 1 else f"{count:,} files"
        line = f"{path}: {files} left out, hidden or no images, such as {example}"
        print(printable(line), file=sys.stderr)


def visible(names: Iterable[str]) -> Iterator[str]:
    """Yield the names that are not hidden and may be images."""
    return filterfalse(is_hidden, names)


def is_hidden(name: str) -> bool:
    """Return whether a file, or a folder that it is in, is hidden or evidently no image."""
    parts = name.split("/")
    file = parts[-1].lower()
    return (
        file.endswith(NO_IMAGES)
        or file in NAMES
        or any(part.startswith((".", "__MACOSX")) for part in parts)
    )
