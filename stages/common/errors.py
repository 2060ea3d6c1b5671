"""Errors that a user can put right, and how they are worded."""

import difflib
import errno
import re

LONGEST_VALUE = 100  # characters
# Control characters (terminal escapes and line breaks among them), line and paragraph separators,
# marks that reverse the direction of text, and halves of surrogate pairs, which cannot be encoded.
HARMFUL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
# How PyTorch, which has no MemoryError, says that there is none left on the CPU or a GPU.
NO_MEMORY = re.compile("can't allocate memory|not enough memory|out of memory")
# What the user can do about an error of the operating system. Others are faults of this project.
REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "allow access"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.ENOMEM), "close other programs"),
    **dict.fromkeys((errno.EIO, errno.ESTALE), "check the disk"),
    errno.EPIPE: "read all of it",
    **dict.fromkeys(
        (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EBUSY, errno.ETXTBSY),
        "move away what is there",
    ),
    **dict.fromkeys(
        (errno.ELOOP, errno.ENAMETOOLONG, errno.EILSEQ, errno.ENODEV, errno.ENXIO),
        "choose another path",
    ),
}


class UserError(Exception):
    """A fault that the user can put right, in one or more lines, each made printable.

    Each line names the value, the rule, the choices and the way out.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*map(printable, lines))

    def __str__(self) -> str:
        return "\n".join(self.args)


def explain_failure(error: Exception) -> UserError | None:
    """Return a failure of the system as an error of the user; None for a fault of this project."""
    if isinstance(error, MemoryError) or NO_MEMORY.search(str(error)):
        reason = str(error).partition("\n")[0] or "for this process"
        return UserError(
            f"not enough memory ({reason}); close other programs, or choose a smaller image_size, "
            "batch_size or network"
        )
    if not isinstance(error, OSError) or error.errno not in REMEDIES:
        return None
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    where = " -> ".join(names) or "the output"
    return UserError(f"{where}: {error.strerror}; {REMEDIES[error.errno]}, then run again")


def printable(text: str) -> str:
    """Return ``text`` on one line, with escape sequences for what could change a terminal."""
    return HARMFUL.sub(lambda match: ascii(match[0])[1:-1], text)


def shown(value: object) -> str:
    """Return a value as Python writes it, cut off where it is long."""
    text = repr(value)
    if len(text) <= LONGEST_VALUE:
        return text
    return f"{text[:LONGEST_VALUE]}… ({len(text):,} characters)"


def choose(word: str, choices: list[str]) -> str:
    """Return the spelling nearest to ``word``, if one is near, and all choices."""
    by_lowercase = {choice.lower(): choice for choice in choices}
    nearest = difflib.get_close_matches(word.lower(), by_lowercase, n=1)
    hint = f"did you mean {by_lowercase[nearest[0]]!r}? " if nearest else ""
    return f"{hint}choose from {', '.join(choices)}"
