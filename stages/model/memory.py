"""How the process holds its memory."""

import ctypes
import platform


def keep_freed_memory() -> None:
    """Let glibc keep what is freed: otherwise each step has the same pages mapped anew, and filled with zeros."""
    if platform.libc_ver()[0] == "glibc":
        glibc = ctypes.CDLL(None)
        glibc.mallopt(-4, 0)  # M_MMAP_MAX: no mapping of its own for a large tensor
        glibc.mallopt(-1, -1)  # M_TRIM_THRESHOLD: never give back
