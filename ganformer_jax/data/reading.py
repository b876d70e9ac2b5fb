"""Concurrent reading of records, to hide the latency of storage."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

THREADS = 16


def read_all(read: Callable[[int], T], indices: Iterable[int]) -> list[T]:
    """Call a function for every index in several threads; return its results in order.

    An error or a signal ends the call at once: reads that have not started are canceled.
    """
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="reading")
    try:
        return list(pool.map(read, map(int, indices)))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
