"""The events of a run: each start, stop and change, in `<run>/history.jsonl`."""

from __future__ import annotations

import contextlib
import json
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from ganformer_jax import hosts
from ganformer_jax.files import json_line
from ganformer_jax.train.logs.writers import BestEffort, append

HISTORY_FILE = "history.jsonl"


class History:
    """The events of a run, which are only ever added; the first process writes.

    An event that cannot be written, as on a full disk, is a warning.

    Args:
        run: The run's folder.
        facts: What every event of this process tells, such as its devices.
        say: Receives the warning.
    """

    def __init__(
        self, run: pathlib.Path, facts: Mapping[str, Any], say: Callable[[str], None] = print
    ):
        self._path, self._attempt = run / HISTORY_FILE, BestEffort(say)
        self._facts = {**facts, "processes": hosts.count(), "jax": jax.__version__}

    def add(self, event: str, step: int, images_seen: int, **details: Any) -> None:
        """Append an event that happened after these steps and images seen."""
        if not hosts.is_first():
            return
        line = {"time": time.time(), "event": event, "step": step, "kimg": images_seen / 1000}
        text = json_line(line | self._facts | details)
        self._attempt(HISTORY_FILE, append, self._path, text.encode())


def observers_skipped(run: pathlib.Path, step: int) -> bool:
    """Return whether a signal ended the run after `step` steps and skipped observers there."""
    ends = [event for event in events(run) if event.get("event") in ("stopped", "completed")]
    return bool(ends) and ends[-1].get("step") == step and bool(ends[-1].get("left_out"))


def events(run: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a run, oldest first; a damaged line is left out."""
    path = run / HISTORY_FILE
    for line in path.read_text(errors="replace").splitlines() if path.is_file() else []:
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and _is_sound(event):
                yield event


def _is_sound(event: Mapping[str, Any]) -> bool:
    """Return whether what commands read of an event is of the type that `History` writes."""
    identities = event.get("identities", {})
    return (
        isinstance(event.get("event", ""), str)
        and isinstance(event.get("step", 0), int)
        and isinstance(event.get("devices", ""), str)
        and isinstance(identities, dict)
        and all(isinstance(value, str) for value in identities.values())
    )
