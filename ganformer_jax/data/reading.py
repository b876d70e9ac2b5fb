"""Reading of many records at once, as storage may take long to answer each request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

THREADS = 16


def read_all(read: Callable[[int], T], indices: Iterable[int]) -> list[T]:
    """Return what a function returns for each index, in order; threads call it.

    An error or a signal ends it at once: what was not begun is not read.
    """
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="reading")
    try:
        return list(pool.map(read, map(int, indices)))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
