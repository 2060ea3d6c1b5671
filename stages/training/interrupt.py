"""Ctrl-C and SIGTERM during training: the current step is finished, then the state is saved."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Interrupt:
    """The last signal received, SIGINT or SIGTERM; 0 if there was none."""

    signal: int = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.signal = number


@contextmanager
def deferred_signals() -> Iterator[Interrupt]:
    """Note SIGINT and SIGTERM instead of ending the process, until the block ends."""
    interrupt = Interrupt()
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield interrupt
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
