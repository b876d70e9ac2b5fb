"""SIGINT, SIGTERM and, when a terminal is lost, SIGHUP, which ask a command to end."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


def end_signals() -> list[signal.Signals]:
    """Return the signals to take; `nohup` has SIGHUP ignored, which stays so."""
    lost = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []
    kept = [number for number in lost if signal.getsignal(number) is not signal.SIG_IGN]
    return [signal.SIGINT, signal.SIGTERM, *kept]


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end, which is not an error.

    Attributes:
        agreed: Whether all processes of a job raise it.
    """

    def __init__(self, *words: str, agreed: bool = False):
        super().__init__(*words)
        self.agreed = agreed


@contextlib.contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise `Stopped` in the main thread at the first signal; a second one ends the process."""

    def stop(name: str) -> None:
        raise Stopped(name)

    if threading.current_thread() is not threading.main_thread():
        yield  # other threads may not handle signals
        return
    with first_signal(stop):
        yield


@contextlib.contextmanager
def first_signal(handle: Callable[[str], None]) -> Iterator[None]:
    """Call a function with the name of the first signal; a second one ends the process.

    Python ignores what is raised in finalizers and in callbacks of weak references and of its
    garbage collector. If a `Stopped` is lost there, the signal is sent again 50 ms later.
    """
    sent_again: list[threading.Timer] = []
    numbers = end_signals()

    def first(number: int, frame: Any) -> None:
        for each in numbers:
            again = each in (signal.SIGINT, signal.SIGTERM)
            # When a terminal is lost, both the system and the shell may send SIGHUP.
            signal.signal(each, signal.SIG_DFL if again else signal.SIG_IGN)
        handle(signal.Signals(number).name)

    def ignored(error: sys.UnraisableHookArgs) -> None:
        if not isinstance(error.exc_value, Stopped):
            usual_hook(error)
            return
        for each in numbers:
            signal.signal(each, first)
        sent_again.append(threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)))
        sent_again[-1].start()

    usual_hook, sys.unraisablehook = sys.unraisablehook, ignored
    usual = {number: signal.signal(number, first) for number in numbers}
    try:
        yield
    finally:
        for timer in sent_again:
            timer.cancel()
        for number, handler in usual.items():
            signal.signal(number, handler)
        sys.unraisablehook = usual_hook


_cleanups: dict[object, Callable[[], object]] = {}


@contextlib.contextmanager
def at_end(clean: Callable[[], object]) -> Iterator[None]:
    """Call a function at the end of a block, or in `clean_up` if a signal comes before it.

    A signal ends the process while the block of another thread, that of `interruptibly`, has not
    ended.
    """
    key = object()
    _cleanups[key] = clean
    try:
        yield
    finally:
        if _cleanups.pop(key, None) is not None:
            clean()


def clean_up() -> None:
    """Call the functions of blocks of `at_end` that have not ended, the last one first."""
    while _cleanups:
        _, clean = _cleanups.popitem()
        with contextlib.suppress(OSError):
            clean()


_jobs: queue.SimpleQueue[Callable[[], None]] | None = None


def interruptibly(function: Callable[[], T]) -> T:
    """Run a function in another thread, so that this one hears a signal while XLA compiles.

    It is always the same thread, as libraries keep what they open for each thread. If a signal
    raises here, that thread is left to itself and the next call starts another one.
    """
    global _jobs
    if threading.current_thread() is not threading.main_thread():
        return function()
    if _jobs is None:
        _jobs = queue.SimpleQueue()
        threading.Thread(target=_work, args=(_jobs,), name="interruptible", daemon=True).start()
    future: Future[T] = Future()

    def job() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    _jobs.put(job)
    try:
        return future.result()
    except Stopped:
        _jobs = None
        raise


def _work(jobs: queue.SimpleQueue[Callable[[], None]]) -> None:
    while True:
        jobs.get()()
