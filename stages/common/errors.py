"""Errors that a user can put right, and how they are worded."""

import difflib
import re

# Control characters (terminal escapes and line breaks among them), line and paragraph separators, marks that reverse
# the direction of text, and halves of surrogate pairs, which no encoding can print.
HARMFUL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class UserError(Exception):
    """A fault that the user can put right, in one or more lines, each made printable.

    Each line names the value, the rule, the choices and the way out.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*map(printable, lines))

    def __str__(self) -> str:
        return "\n".join(self.args)


def printable(text: str) -> str:
    """Return ``text`` on one line, with what could change a terminal or mislead a reader as escape sequences."""
    return HARMFUL.sub(lambda match: ascii(match[0])[1:-1], text)


def choose(word: str, choices: list[str]) -> str:
    """Return the spelling nearest to ``word``, if one is near, and all choices."""
    by_lowercase = {choice.lower(): choice for choice in choices}
    nearest = difflib.get_close_matches(word.lower(), by_lowercase, n=1)
    hint = f"did you mean {by_lowercase[nearest[0]]!r}? " if nearest else ""
    return f"{hint}choose from {', '.join(choices)}"
