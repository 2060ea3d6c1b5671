"""How every stage starts and ends: one-line errors for what a user can put right, exit statuses for signals."""

import errno
import sys
from collections.abc import Callable

from common.errors import UserError

# What a full disk or a limit, a read-only folder, a missing permission or a file in a folder's place raises: the user's
# to mend, so no traceback.
USER_ERRNOS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
}


def run(main: Callable[[], None]) -> None:
    """Call ``main`` and end the process: status 0, 1 after a user's error, 130 after Ctrl-C.

    Any other exception is a fault of this project and keeps its traceback.
    """
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in USER_ERRNOS:
            raise
        sys.exit(
            f"error: {error.filename or 'output'}: {error.strerror}; make room or allow writing, then run again"
        )
    except KeyboardInterrupt:
        # DVC looks only at the exit status: 0 here would record a half-done stage as done.
        sys.exit(130)
