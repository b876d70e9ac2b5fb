"""Settings of the C allocator that CPU training profits from."""

from __future__ import annotations

import ctypes
import sys

# Parameters of mallopt(3) and values for them.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_NEVER, _PAD = 2**31 - 1, 256 << 20


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory for reuse instead of returning it to the system.

    XLA's CPU backend allocates every temporary anew in each call; without this, page faults
    take about a sixth of the processor time of a 32x32 training step (docs/performance.md).

    Returns:
        Whether it took effect: only where the C library is glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: _NEVER, _TOP_PAD: _PAD}
    return all([mallopt(name, value) == 1 for name, value in settings.items()])
