"""Detection of stalled training, as when storage hangs or a process waits for another."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from ganformer_jax import hosts

WARN_MINUTES = 10.0
POLL = 10.0  # seconds


class Stalls:
    """A thread that warns when no step was done for long, and later ends several processes.

    jax ends all processes when one is gone, but not when one only waits.

    Args:
        minutes: Minutes without a step after which several processes end, to be started again; 0
            for never. A process by itself is only warned of, after `WARN_MINUTES`.
        say: Receives the warning.
    """

    def __init__(self, minutes: float, say: Callable[[str], None]):
        self._minutes, self._say = minutes, say
        self._since: float | None = None  # no step yet, or something else is done
        self._ended = threading.Event()

    def __enter__(self) -> Stalls:
        threading.Thread(target=self._watch, name="stalls", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()

    def step_done(self) -> None:
        """Count from now on."""
        self._since = time.monotonic()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count inside, nor afterwards up to the next step."""
        self._since = None
        yield

    def _watch(self) -> None:
        warned = None
        while not self._ended.wait(POLL):
            since = self._since
            if since is None:
                continue
            minutes = (time.monotonic() - since) / 60
            for_long = f"no step for {minutes:.0f} minutes: waiting for data, devices or hosts"
            if minutes >= WARN_MINUTES and warned != since:
                self._say(f"warning: {for_long}")
                warned = since
            if self._minutes and minutes >= self._minutes:
                hosts.end_all(f"{for_long} (train.stall_minutes)", 1)
