"""What a user can put right, and how it is said."""

import difflib


class UserError(Exception):
    """Something the user can put right. Its text is one line: the value, the rule, the choices, the way out."""


def choose(word: str, choices: list[str]) -> str:
    """Name the nearest spelling, if one is near, and all the choices."""
    by_lowercase = {choice.lower(): choice for choice in choices}
    nearest = difflib.get_close_matches(word.lower(), by_lowercase, n=1)
    hint = f"did you mean {by_lowercase[nearest[0]]!r}? " if nearest else ""
    return f"{hint}choose from {', '.join(choices)}"
