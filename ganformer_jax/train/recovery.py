"""The return to the last checkpoint after numbers that are not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ganformer_jax import hosts
from ganformer_jax.errors import UserError, one_line
from ganformer_jax.train.checkpoints.checkpoints import Checkpoints
from ganformer_jax.train.checkpoints.checksums import all_finite, by_path
from ganformer_jax.train.compile import Programs
from ganformer_jax.train.prefetch import prefetch
from ganformer_jax.train.trainable import Position, State

HINT = (
    "lower the learning rate, raise the weight of a penalty if there is one, as loss.r1_gamma, set "
    "the optimizer's gradient_clip, or use float32"
)


class NonFinite(Exception):
    """Numbers of training that are not finite, seen after some step."""

    def __init__(self, names: Sequence[str], step: int):
        self.step = step
        super().__init__(f"{', '.join(names)} not finite by step {step}")


def refuse_non_finite(values: Mapping[str, float], step: int) -> None:
    """Raise `NonFinite` if a number that a step reported is not finite."""
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        raise NonFinite(wrong, step)


def refuse_non_finite_state(state: State, step: int) -> None:
    """Raise `NonFinite` if a number of the state is not finite."""
    if not all_finite(state):
        raise NonFinite(["parameters or averages"], step)


class Recovery:
    """Returns to the last checkpoint, a limited number of times in a row.

    Args:
        programs: The compiled updates.
        checkpoints: The checkpoints of the run.
        batches: See `session.Batches`.
        limit: Number of returns to one checkpoint.
        repeated_step: Called before each step that is repeated to find what fails; may raise
            `Stopped`.
        say: Receives a line before steps are repeated, which may take long.
    """

    def __init__(
        self,
        programs: Programs,
        checkpoints: Checkpoints,
        batches: Callable[[int], Iterator[Mapping[str, np.ndarray]]],
        limit: int,
        repeated_step: Callable[[], None],
        say: Callable[[str], None],
    ):
        self._programs, self._checkpoints, self._batches = programs, checkpoints, batches
        self._limit, self._returns, self._from = limit, 0, None
        self._repeated_step, self._say = repeated_step, say

    def recover(self, error: NonFinite, init: Callable[[], State]) -> State:
        """Return the last good state, with other random numbers to come.

        Args:
            error: The numbers that are not finite.
            init: Makes the first state, for a run without checkpoints.

        Raises:
            UserError: If the limit is reached; the message names the first layer that is not
                finite, if the step can be repeated.
        """
        self._checkpoints.last_failed()  # after a failed save, an older checkpoint will do
        newest = hosts.first(lambda: max(self._checkpoints.steps(), default=None))
        if newest != self._from:
            self._from, self._returns = newest, 0
        if self._returns >= self._limit:
            self._say("repeating the steps since the last checkpoint, to find what fails first")
            layer = self._report(error.step, init)
            kept = "no checkpoint yet" if newest is None else f"checkpoint {newest} is kept"
            raise UserError(f"{error}, {self._returns} recoveries in a row; {layer}{kept}; {HINT}")
        self._returns += 1
        return self._last_good(init)

    def _last_good(self, init: Callable[[], State]) -> State:
        state = self._checkpoints.restore(self._programs.abstract_state(), init)
        state = init() if state is None else state
        return self._programs.reseed(state, self._returns) if self._returns else state

    def _report(self, last_step: int, init: Callable[[], State]) -> str:
        try:
            return self._first_layer(last_step, init)
        except Exception as error:  # the report takes memory, which must not hide what is reported
            return f"the first layer was not found ({one_line(error)}); "

    def _first_layer(self, last_step: int, init: Callable[[], State]) -> str:
        """Repeat the steps up to the first that fails, and name what fails in it."""
        programs, state = self._programs, self._last_good(init)
        trainable, at = programs.trainable, Position.of(state)
        stream = prefetch(
            self._batches(at.images_seen), trainable.batch, programs.placement.batch, depth=0
        )
        count = next(iter(trainable.batch.values())).shape[0]
        for step in range(at.step, last_step):
            self._repeated_step()
            batch, images_seen = next(stream), at.images_seen + (step - at.step) * count
            before = programs.copy(state)
            state, info = programs.step(state, batch, step, images_seen)
            numbers: Any = jax.device_get(info)
            finite = all(np.isfinite(value).all() for value in numbers.values())
            if not finite or not all_finite(state):
                layer = trainable.diagnose(before, batch) or _first_leaf(state)
                return f"first in step {step + 1}: {layer}; " if layer else ""
        return ""


def _first_leaf(state: State) -> str:
    """Name what an update left that is not finite, where all that it computed from is finite."""
    wrong = (path for path, leaf in by_path(state).items() if not all_finite(leaf))
    return next((f"{path} after the update" for path in wrong), "")
