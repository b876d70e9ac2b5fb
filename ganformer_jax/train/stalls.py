"""Detection of stalled training, as when storage hangs or a process waits for another."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

from ganformer_jax import hosts
from ganformer_jax.storage import TEMPORARY_FAILURE

WARN_MINUTES = 10.0
POLL = 10.0  # seconds


class Stalls:
    """A thread that warns when nothing was done for long, and later ends several processes.

    jax ends all processes when one is gone, but not when one only waits. All of training counts,
    whatever it waits for: data, a checkpoint, or another process in a metric.

    Args:
        minutes: Minutes without progress after which several processes end, to be started again;
            0 for never. A process by itself is only warned of, after `WARN_MINUTES`.
        say: Receives the warning.
    """

    def __init__(self, minutes: float, say: Callable[[str], None]):
        self._minutes, self._say = minutes, say
        self._since = time.monotonic()
        self._ended = threading.Event()

    def __enter__(self) -> Stalls:
        threading.Thread(target=self._watch, name="stalls", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()

    def progress(self) -> None:
        """Count from now on: a step, or a part of a metric, is done."""
        self._since = time.monotonic()

    def _watch(self) -> None:
        warned = None
        while not self._ended.wait(POLL):
            since = self._since
            minutes = (time.monotonic() - since) / 60
            waiting = "waiting for data, devices, storage or another host"
            for_long = f"no progress for {minutes:.0f} minutes: {waiting}"
            if minutes >= WARN_MINUTES and warned != since:
                self._say(f"warning: {for_long}")
                warned = since
            if self._minutes and minutes >= self._minutes:
                message = f"{for_long} (train.stall_minutes)"
                if hosts.count() > 1:  # they may all notice at once, and then none tells another
                    print(f"error: {message}", file=sys.stderr, flush=True)
                hosts.end_all(message, TEMPORARY_FAILURE)
