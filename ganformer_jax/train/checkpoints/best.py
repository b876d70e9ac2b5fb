"""The best checkpoint: the lowest value of one metric, which is stored under its own name.

The metric in use is that of the newest checkpoint that has one, so values of another metric, or of
another number of images, are not compared after `train.metrics` or `train.metric_images` has
changed. Version 0.1 stored every metric as "swd", the default; such values count as swd of any
number of images, whatever they were.
"""

from __future__ import annotations

import json
import math
import os
import pathlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import PreservationContext, PreservationPolicy

from ganformer_jax import hosts
from ganformer_jax.errors import UserError
from ganformer_jax.files import write_atomically
from ganformer_jax.storage import with_retries
from ganformer_jax.train.checkpoints.reading import Damage, reading

CHECKSUM = "crc32"
Stored = Mapping[str, Any] | None
"""The metric of a checkpoint as Orbax stores it; None without one."""


class Best(NamedTuple):
    """The checkpoint with the lowest metric."""

    step: int
    metric: str
    value: float

    def __str__(self) -> str:
        """Say what decided."""
        return f"checkpoint {self.step} has the lowest {self.metric}, {self.value:.6g}"


def encode(metric: tuple[str, float] | None) -> dict[str, float] | None:
    """Return what to store of a metric, with its checksum; None if it is not finite."""
    if metric is None or not math.isfinite(metric[1]):
        return None
    name, value = metric[0], float(metric[1])
    return {name: value, CHECKSUM: _checksum(name, value)}


def write_metric(checkpoint: pathlib.Path, metric: tuple[str, float]) -> None:
    """Store the metric of a finished checkpoint as Orbax would have stored it."""
    if encoded := encode(metric):
        (checkpoint / "metrics").mkdir(exist_ok=True)
        write_atomically(checkpoint / "metrics" / "metrics", json.dumps(encoded))


def decode(stored: Stored) -> tuple[str, float] | None:
    """Return name and value of what `encode` or version 0.1 stored.

    Raises:
        ValueError: If it was stored otherwise, or is damaged.
    """
    if stored is None:
        return None
    if set(stored) == {"swd"}:  # of version 0.1
        return "swd", float(stored["swd"])
    names = [name for name in stored if name != CHECKSUM]
    if len(names) != 1 or _checksum(names[0], stored[names[0]]) != stored.get(CHECKSUM):
        raise ValueError("its checksum is wrong")
    return names[0], float(stored[names[0]])


def find_best(stored: Mapping[int, Stored]) -> Best | None:
    """Find the checkpoint with the lowest value of the metric in use.

    Args:
        stored: What each step's checkpoint stores; nothing damaged.
    """
    found = {step: metric for step, values in stored.items() if (metric := decode(values))}
    if not found:
        return None
    in_use = found[max(found)][0]
    values = {step: value for step, (name, value) in found.items() if _comparable(name, in_use)}
    step = min(values, key=values.__getitem__)
    return Best(step, in_use, values[step])


def _comparable(name: str, other: str) -> bool:
    """Return whether two names are of one metric; swd without a number is of version 0.1."""
    of_any_number = "swd" in (name, other) and name.startswith("swd") and other.startswith("swd")
    return name == other or of_any_number


class KeepBest(PreservationPolicy):
    """Orbax's policy that keeps the best checkpoint."""

    def should_preserve(
        self, checkpoints: Sequence[Any], *, context: PreservationContext
    ) -> Sequence[bool]:
        """Tell for each checkpoint whether it is the best one."""
        best = find_best({checkpoint.step: checkpoint.metrics for checkpoint in checkpoints})
        return [best is not None and checkpoint.step == best.step for checkpoint in checkpoints]


class Manager(ocp.CheckpointManager):
    """Orbax's manager, for which a checkpoint whose metric is damaged has none.

    Orbax reads all metrics when it opens a folder, and would end there.
    """

    def __init__(self, *arguments: Any, warn: Callable[[str], None], **options: Any):
        self._warn, self._warned = warn, set[int]()
        super().__init__(*arguments, **options)

    def reached_preemption(self, step: int) -> bool:
        """Return False: `train.stopping` handles preemption.

        jax's service has one counter, which Orbax would set to the number of the step.
        """
        return False

    def metrics(self, step: int) -> Stored:
        """Read what is stored of the metric of a checkpoint.

        Raises:
            UserError: If the disk or the network fails, which says nothing of the checkpoint: it
                would no longer be protected as the best one, and be deleted.
        """

        def read() -> Stored:
            with reading(f"the metric of checkpoint {step}"):
                stored = super(Manager, self).metrics(step)
                decode(stored)
                return stored

        try:
            return with_retries(read, f"the metric of checkpoint {step}")
        except Damage as error:
            if step not in self._warned:
                reason = f"the metric of checkpoint {step} is damaged ({error})"
                self._warn(f"warning: {reason}; it is ignored when the best one is chosen")
            self._warned.add(step)
            return None


def _checksum(name: str, value: Any) -> int:
    return zlib.crc32(f"{name} {value!r}".encode())


def step_of(best: Best | None, run: str | os.PathLike[str], say: Callable[[str], None]) -> int:
    """Return the step of the best checkpoint of a run, and say which it is and why.

    Raises:
        UserError: If there is none, as no checkpoint has a metric.
    """
    if best is None:
        raise UserError(f"no checkpoint in {run} has a metric")
    if hosts.is_first():
        say(f"{best} ({run})")
    return best.step
