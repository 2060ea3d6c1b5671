"""How every stage starts and ends: no arguments, one-line errors, exit statuses for signals."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from common.errors import UserError, explain_failure, printable

INTERRUPTED = 130  # 128 + SIGINT; DVC would record a half-done stage that ends with 0 as done


def exit_on_interrupt() -> None:
    """Let Ctrl-C end the process without a traceback until ``run`` or ``run_tool`` takes over.

    A script calls this before it imports libraries, which takes seconds.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored
        signal.signal(signal.SIGINT, leave)


def leave(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)  # on an exception, a library that is being imported may go on, or abort


@contextmanager
def importing() -> Iterator[None]:
    """Let Ctrl-C end the process without a traceback while libraries are imported in mid-run."""
    handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    exit_on_interrupt()
    try:
        yield
    finally:
        if handled:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def run(main: Callable[[], None]) -> None:
    """Run a stage, which takes no arguments, and end the process as ``run_tool`` does.

    ``--help`` prints the script's docstring.
    """
    arguments = sys.argv[1:]
    if arguments in (["--help"], ["-h"]):
        print((sys.modules["__main__"].__doc__ or "").strip())
    elif arguments:
        sys.exit(
            f"error: {printable(' '.join(arguments))}: a stage takes no arguments; edit "
            "params.yaml or use dvc exp run -S KEY=VALUE"
        )
    else:
        run_tool(main)


def run_tool(main: Callable[[], None]) -> None:
    """Call ``main`` and end the process: status 0, 1 after a user's error, 130 after Ctrl-C.

    Any other exception is a fault of this project and keeps its traceback.
    """
    try:
        if signal.getsignal(signal.SIGINT) is leave:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        main()
        sys.stdout.flush()
    except UserError as error:
        exit_with(error)
    except (OSError, MemoryError, RuntimeError) as error:
        if (explained := explain_failure(error)) is None:
            raise
        exit_with(explained)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def exit_with(error: UserError) -> None:
    with suppress(OSError):
        sys.stdout.close()  # what cannot be written is not tried again at the end of the process
    sys.exit("\n".join(f"error: {line}" for line in error.args))
