"""A bar on a terminal; elsewhere a plain line every few seconds. On standard error: standard output is for results."""

import os
import sys
from typing import Any

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0


class Progress(tqdm):  # type: ignore[type-arg]
    """tqdm that does not fill a log file with a thousand bars."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.on_terminal = sys.stderr.isatty()
        kwargs["disable"] = (
            os.environ.get("RANK", "0") != "0"
        )  # of several processes, the first one speaks
        kwargs["file"], kwargs["dynamic_ncols"] = sys.stderr, self.on_terminal
        kwargs["mininterval"] = 0.1 if self.on_terminal else SECONDS_BETWEEN_LINES
        super().__init__(*args, **kwargs)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if self.on_terminal:
            super().display(msg, pos)
        elif self.n:
            # The bar itself says nothing in a log; what stands left and right of it does.
            parts = (msg or str(self)).split("|")
            print(
                f"{parts[0]} {parts[-1]}" if len(parts) > 2 else "".join(parts),
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        if not self.on_terminal and not self.disable:
            self.display()
            self.disable = True  # tqdm's own closing would add an empty line
        super().close()
