"""How every stage starts and ends: no arguments, one-line errors, exit statuses for signals."""

import errno
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from common.errors import UserError, printable

# What a full disk or a limit, a read-only folder, a missing permission, or a path that leads to something else than
# expected raises: the user can mend it, so there is no traceback.
USER_ERRNOS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENODEV,
    errno.ENXIO,
    errno.EIO,
}


def exit_on_interrupt() -> None:
    """Let Ctrl-C end the process with status 130 and without a traceback, until ``run`` takes over.

    A script calls this before it imports libraries, which takes seconds in which nothing can be lost.
    """

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored
        signal.signal(signal.SIGINT, leave)


def leave(number: int, frame: FrameType | None) -> None:
    os._exit(130)  # an exception could be swallowed by a library that is being imported


def run(main: Callable[[], None]) -> None:
    """Run a stage, which takes no arguments, and end the process as ``run_tool`` does.

    ``--help`` prints the docstring of the script that calls this.
    """
    arguments = sys.argv[1:]
    if arguments in (["--help"], ["-h"]):
        print((sys.modules["__main__"].__doc__ or "").strip())
        return
    if arguments:
        sys.exit(
            f"error: {printable(' '.join(arguments))}: a stage takes no arguments but --help; edit params.yaml, or use "
            "dvc exp run -S KEY=VALUE"
        )
    run_tool(main)


def run_tool(main: Callable[[], None]) -> None:
    """Call ``main`` and end the process: status 0, 1 after a user's error, 130 after Ctrl-C.

    Any other exception is a fault of this project and keeps its traceback.
    """
    try:
        if signal.getsignal(signal.SIGINT) is leave:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        main()
    except UserError as error:
        sys.exit("\n".join(f"error: {line}" for line in error.args))
    except OSError as error:
        if error.errno not in USER_ERRNOS:
            raise
        name = printable(str(error.filename or "output"))
        sys.exit(f"error: {name}: {error.strerror}; make room or allow writing, then run again")
    except KeyboardInterrupt:
        # DVC looks only at the exit status: 0 here would record a half-done stage as done.
        sys.exit(130)
