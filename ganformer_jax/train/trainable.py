"""The interface of a model to the training loop: its state, its updates in order, its images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

State = Any
"""A pytree with int32 scalars `step` (steps done) and `images_seen`."""
Batch = dict[str, Any]
"""Arrays by name, whose first axis is the batch."""
Info = dict[str, jax.Array]
"""Float32 scalars to log, averaged over the full batch."""


class Position(NamedTuple):
    """Progress of training."""

    step: int
    """Steps done."""
    images_seen: int
    """Real images shown."""

    @property
    def kimg(self) -> float:
        """Thousands of real images shown."""
        return self.images_seen / 1000

    @classmethod
    def of(cls, state: State) -> Position:
        """Read the position of a state, which waits for the devices."""
        return cls(int(state.step), int(state.images_seen))


@dataclasses.dataclass(frozen=True)
class Update:
    """One change of the state, as a pure function that is compiled as one program.

    Attributes:
        name: Name in logs, profiles and messages.
        function: Takes the state and a batch; returns the new state and scalars to log.
        interval: Steps from one call to the next, 1 or more; it is due at step 0 too.
        from_images: Images seen from which on it is part of steps.
        until_images: Images seen from which on it is not part of them any more.

    Raises:
        ValueError: The interval is below 1.
    """

    name: str
    function: Callable[[State, Batch], tuple[State, Info]]
    interval: int = 1
    from_images: float = 0
    until_images: float = math.inf

    def __post_init__(self):
        if self.interval < 1:
            wanted = "it should be 1 or more; leave the update out if it is never due"
            raise ValueError(f"the interval of {self.name} is {self.interval}: {wanted}")


def due_updates(updates: Sequence[Update], step: int, images_seen: int = 0) -> list[Update]:
    """Return the updates that make up step `step`, counted from 0, in order."""
    stage = (u for u in updates if u.from_images <= images_seen < u.until_images)
    return [update for update in stage if step % update.interval == 0]


def train_step(
    updates: Sequence[Update], state: State, batch: Batch, step: int, images_seen: int = 0
) -> tuple[State, Info]:
    """Apply the updates that are due, one after the other.

    Args:
        updates: The updates, in order. Compile the function of each, or this whole function for a
            given step.
        state: State before the step; `state.step` is `step`.
        batch: The full batch, or the share of one device under a mapped axis.
        step: Steps done so far, a Python integer.
        images_seen: `state.images_seen`, a Python integer; 0 will do where no update has stages.
    """
    info: Info = {}
    for update in due_updates(updates, step, images_seen):
        state, more = update.function(state, batch)
        info |= more
    return state, info


@dataclasses.dataclass(frozen=True)
class Trainable:
    """A model as the training loop sees it; the loop knows nothing else of it.

    Attributes:
        init: Makes the first state from a key; no two leaves may share memory. Checkpoints hold no
            empty arrays, complex numbers or numbers of 64 bits. Jitted.
        updates: Updates of a training step, in order. The last one that is due counts `step` and
            `images_seen`.
        batch: Shape and dtype of every array of a full batch, over all devices.
        sample: Takes a state and indices; returns uint8 images [M, H, W, C], image i decided by
            index i and the state alone. Every process calls it and gets all images.
        reseed: Takes a state and a number; returns the state with other random numbers to come.
            Jitted.
        diagnose: Takes a state and the batch of a step that is not finite; names the first layer
            whose activations or gradients are not, or "".
        state_version: Version of the state's structure, which checkpoints store.
        added_leaves: Dotted path, or the start of it, of what later versions of the state have,
            and the version that added it. An older checkpoint resumes with the values of `init`.
    """

    init: Callable[[jax.Array], State]
    updates: Sequence[Update]
    batch: Mapping[str, jax.ShapeDtypeStruct]
    sample: Callable[[State, Sequence[int]], np.ndarray]
    reseed: Callable[[State, jax.Array], State] = lambda state, number: state
    diagnose: Callable[[State, Batch], str] = lambda state, batch: ""
    state_version: int = 1
    added_leaves: Mapping[str, int] = dataclasses.field(default_factory=dict)
