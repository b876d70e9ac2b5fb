"""SIGINT and SIGTERM, which ask a command to end."""

from __future__ import annotations

import contextlib
import gc
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


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

    def stop(number: int, frame: Any) -> None:
        if put_off(number, frame):
            return
        end_at_the_next()
        raise Stopped(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def end_at_the_next() -> None:
    """Let the next signal end the process, as it does by default."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def put_off(number: int, frame: Any) -> bool:
    """Send a signal again, soon, if an exception raised in this frame would be ignored.

    Python ignores what is raised in finalizers and in callbacks of its garbage collector, such as
    jax's.
    """
    ignored = {getattr(callback, "__code__", None) for callback in gc.callbacks}
    while frame is not None:
        if frame.f_code in ignored or frame.f_code.co_name == "__del__":
            threading.Timer(0.05, os.kill, (os.getpid(), number)).start()
            return True
        frame = frame.f_back
    return False


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
