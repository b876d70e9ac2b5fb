"""Signals that end training: heard at any time, agreed between processes."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ganformer_jax import hosts
from ganformer_jax.signals import Stopped, end_signals, first_signal, interruptibly

T = TypeVar("T")


class Stop:
    """A flag that a signal to end sets (`signals.end_signals`), on any process.

    With one process a signal also interrupts what runs inside `interruptible`. With several, jax's
    preemption service, which hears SIGTERM, makes all of them stop at the same call of `requested`.
    """

    def __init__(self, say: Callable[[str], None]):
        self._say, self._usual = say, contextlib.ExitStack()
        self._interruptible, self._requested = False, False

    def __enter__(self) -> Stop:
        if threading.current_thread() is not threading.main_thread():
            return self  # other threads may not handle signals
        if hosts.count() == 1:
            self._usual.enter_context(first_signal(self._handle))
        else:
            for number in set(end_signals()) - {signal.SIGTERM}:
                usual = signal.signal(number, self._as_preemption)
                self._usual.callback(signal.signal, number, usual)
        return self

    def __exit__(self, *error: object) -> None:
        self._usual.close()

    def requested(self) -> bool:
        """Return whether to stop now; all processes must call this equally often."""
        if not self._requested and hosts.stop_agreed():
            self._requested = True
            self._say("another process was asked to stop: stopping all")
        return self._requested

    def check(self) -> None:
        """Raise `Stopped` if `requested`."""
        if self.requested():
            raise Stopped

    def check_notice(self) -> None:
        """Raise `Stopped` if a process is to end; unlike `check`, processes may differ in this.

        So they must agree afterwards. With one process a signal raises by itself.
        """
        if hosts.preemption_noticed():
            raise Stopped

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Raise `Stopped` at once when a signal arrives inside, or has arrived before."""
        if self._requested:
            raise Stopped
        self._interruptible = True
        try:
            yield
        finally:
            self._interruptible = False

    def call(self, function: Callable[[], T]) -> T:
        """Call what may compile for long, inside `interruptible`."""
        return interruptibly(function) if hosts.count() == 1 else function()

    def _handle(self, name: str) -> None:
        if not self._requested:
            self._say(f"{name}: stopping")
        self._requested = True
        if self._interruptible:
            raise Stopped

    def _as_preemption(self, number: int, frame: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
