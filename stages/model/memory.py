"""How the process keeps the memory that it has freed."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # mallopt's options, from glibc's malloc.h


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next step; other C libraries are left as they are.

    By default glibc returns large blocks to the system, which then maps the same pages anew and
    fills them with zeros in every step.
    """
    if platform.libc_ver()[0] == "glibc":
        glibc = ctypes.CDLL(None)
        glibc.mallopt(M_MMAP_MAX, 0)  # large blocks come from the heap, too
        glibc.mallopt(M_TRIM_THRESHOLD, -1)  # the heap never shrinks
