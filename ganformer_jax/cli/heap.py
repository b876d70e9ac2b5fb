"""The C library's heap, from which XLA's CPU backend takes every temporary; glibc only.

XLA allocates temporaries anew in each call of a program. How the C library serves these requests
decides a quarter of the speed of training small networks on a CPU (docs/performance.md).
"""

from __future__ import annotations

import ctypes
import sys

import jax

COMPILATION = "/jax/core/compile/backend_compile_duration"
"""Event that jax records after every compilation, of a cached program too."""
LONG = 0.1  # seconds of a compilation after which it is worth looking at the heap
# Parameters of mallopt(3) and values for them.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_NEVER, _PAD = -1, 256 << 20
_SMALLEST, _SHRINK = 24, 1.3


class _HeapInfo(ctypes.Structure):
    """`struct mallinfo2` of mallinfo(3), which needs glibc 2.33."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
        )
    ]


def tune_heap() -> None:
    """Set the heap up for training on a CPU, for the rest of this process.

    Call it before jax looks for devices: threads that have allocated keep a heap of their own,
    where large temporaries do not fit. After every compilation that is not very short,
    fragments are taken out of use.
    """

    def after_event(event: str, seconds: float, **_: object) -> None:
        if event == COMPILATION and seconds > LONG:
            leave_fragments()

    if keep_freed_memory():
        jax.monitoring.register_event_duration_secs_listener(after_event)


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory for reuse instead of returning it to the system.

    Otherwise every step gives its temporaries back and meets a page fault on each page of the
    next step's.

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


def leave_fragments() -> int:
    """Take all free fragments of the heap out of use, as if the process had just begun.

    A compilation leaves a quarter of a million of them, and as long as they are there, glibc
    searches them at every request of a later step. Their pages go back to the system first, so
    that what is lost is address space, not memory. Meant for the time after a compilation, and
    after `keep_freed_memory`. Takes less than a second.

    Returns:
        How many fragments were taken; 0 where the C library does not offer what this needs.
    """
    libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    if libc is None or not all(hasattr(libc, name) for name in ("mallinfo2", "malloc_trim")):
        return 0
    libc.mallinfo2.restype = _HeapInfo
    libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
    libc.malloc.argtypes = libc.malloc_trim.argtypes = [ctypes.c_size_t]
    libc.sbrk.argtypes, libc.free.argtypes = [ctypes.c_ssize_t], [ctypes.c_void_p]
    libc.malloc_trim(0)
    heap, taken = libc.mallinfo2(), 0
    top = libc.sbrk(0) - heap.keepcost  # whatever lies above was never handed out
    size = heap.fordblks - heap.keepcost
    while size >= _SMALLEST:
        block = libc.malloc(size)
        if block is not None and block < top:
            taken += 1
            continue
        libc.free(block)  # no fragment is as large as this
        size = int(size / _SHRINK)
    return taken
