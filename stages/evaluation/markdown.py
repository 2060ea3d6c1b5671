"""Pieces of Markdown in which names from outside are only text."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from common.errors import printable

# What is markup in CommonMark or on GitHub, where some of it has no escape but its number: a link
# needs its colon, an e-mail address its @, a list or a heading begins a line.
MARKUP = re.compile(r"(?P<backslash>[\\`*_\[\]#]|^[-+]|^\d+[.)](?=\s|$))|[&<>|~$@]|^=|:(?=\S)")
ALIGNMENT = {"text": "---", "number": "---:"}


def escape(value: object) -> str:
    """Return ``value`` as text on one line that is no markup, in a table neither."""
    return MARKUP.sub(literal, printable(str(value)).strip())


def literal(match: re.Match[str]) -> str:
    """Return what ``MARKUP`` found, with its last character as one that is no markup."""
    before, last = match.group()[:-1], match.group()[-1]
    return f"{before}\\{last}" if match["backslash"] else f"&#{ord(last)};"


def table(columns: Mapping[str, tuple[str, str]], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a table.

    Args:
        columns: by heading, the kind of the cells (text or number) and a format string for a row.
        rows: the values that the format strings name.
    """
    lines = [list(columns), [ALIGNMENT[kind] for kind, _ in columns.values()]]
    for row in rows:
        lines.append([escape(template.format_map(row)) for _, template in columns.values()])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def bullets(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {escape(sentence)}" for sentence in sentences)
