"""The C library's heap, from which XLA's CPU backend takes every temporary; glibc only.

XLA allocates temporaries anew in each call of a program. How the C library serves these requests
decides a quarter of the speed of training small networks on a CPU (docs/performance.md).
"""

from __future__ import annotations

import ctypes
import sys

import jax

from ganformer_jax.train.compile import PAUSE_EVENT

COMPILATION = "/jax/core/compile/backend_compile_duration"
"""Event that jax records for every compilation, of a cached program too."""
LONG = 0.1  # seconds
# Parameters of mallopt(3) and values for them.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_NEVER, _PAD = -1, 256 << 20
_SMALLEST, _SHRINK = 24, 1.3


_HEAP_INFO = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class _HeapInfo(ctypes.Structure):
    """`struct mallinfo2` of mallinfo(3), which needs glibc 2.33."""

    _fields_ = [(name, ctypes.c_size_t) for name in _HEAP_INFO.split()]


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform.startswith("linux") else None


def tune_heap() -> None:
    """Set the heap up for training on a CPU, for the rest of this process.

    Call it before jax looks for devices: threads that have allocated keep a heap of their own,
    where large temporaries do not fit. Fragments are taken out of use in the first pause of
    training after a long compilation; when jax records its end, XLA has not freed its memory yet.
    """
    compiled = False

    def after_compilation(event: str, duration_secs: float, **_: str | int) -> None:
        nonlocal compiled
        compiled |= event == COMPILATION and duration_secs > LONG

    def in_pause(event: str, **_: str | int) -> None:
        nonlocal compiled
        if event == PAUSE_EVENT and compiled:
            compiled = False
            leave_fragments()

    if keep_freed_memory():
        jax.monitoring.register_event_duration_secs_listener(after_compilation)
        jax.monitoring.register_event_listener(in_pause)


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory for reuse, and return whether this is glibc and it did.

    Otherwise every step returns its temporaries to the system, and the next step has a page fault
    on each page of its own.
    """
    mallopt = getattr(_libc(), "mallopt", None)
    if mallopt is None:
        return False
    settings = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: _NEVER, _TOP_PAD: _PAD}
    return all([mallopt(name, value) == 1 for name, value in settings.items()])


def leave_fragments() -> int:
    """Take all free fragments of the heap out of use, and return their number.

    A compilation leaves a quarter of a million of them, which glibc would search at every request
    of a later step. Their pages go back to the system first, so that what is lost is address
    space, not memory. Meant for the time after `keep_freed_memory`. Takes less than a second.
    """
    libc = _libc()
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
