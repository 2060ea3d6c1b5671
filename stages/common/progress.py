"""A progress bar on a terminal; elsewhere a plain line every few seconds.

It goes to standard error, since standard output is for results.
"""

import os
import sys
from typing import Any

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0


class Progress(tqdm):  # type: ignore[type-arg]
    """A tqdm that does not fill a log file with bars."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.on_terminal = sys.stderr.isatty()
        kwargs["disable"] = (
            os.environ.get("RANK", "0") != "0"
        )  # of several processes, rank 0 prints
        kwargs["file"], kwargs["dynamic_ncols"] = sys.stderr, self.on_terminal
        kwargs["mininterval"] = 0.1 if self.on_terminal else SECONDS_BETWEEN_LINES
        super().__init__(*args, **kwargs)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw the bar; in a log, print what stands left and right of it, as soon as there is any
        progress.
        """
        if self.on_terminal:
            super().display(msg, pos)
        elif self.n:
            parts = (msg or str(self)).split("|")
            line = f"{parts[0]} {parts[-1]}" if len(parts) > 2 else "".join(parts)
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        if not self.on_terminal and not self.disable:
            self.display()
            self.disable = True  # tqdm's own closing would add an empty line
        super().close()
