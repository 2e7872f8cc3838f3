"""Freed memory that a process keeps, so that timed calls do not wait for more.

A GPU's allocator in torch does so by itself. On a CPU a large result is given back when it is
freed, and the next call asks for it again, page by page, to be found and cleared: more than the
work itself where results are hundreds of megabytes.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Two settings of the GNU C library, by their numbers in ``mallopt(3)``."""


def keep_freed_memory() -> bool:
    """From now on this process keeps what it frees. False where the C library cannot be asked."""
    try:
        setting = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    never_trim, no_maps = setting(_TRIM_THRESHOLD, -1), setting(_MMAP_MAX, 0)
    return bool(never_trim and no_maps)
