"""Microbatches of gradient accumulation, and their random draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from jax import lax

if TYPE_CHECKING:
    from jaxtyping import Array, Int, Shaped


@dataclasses.dataclass(frozen=True)
class Microbatch:
    """One of `count` equal parts of a batch: its images `index`, `index + count` and so on.

    By default the full batch. The images are strided so that devices which divide the batch into
    contiguous shares hold an equal share of every microbatch, and so that groups of the minibatch
    standard deviation, which are strided too, are not divided.

    Attributes:
        index: Number of this microbatch, from 0; may be traced.
        count: Number of microbatches, which divides the batch.
    """

    index: int | Int[Array, ""] = 0
    count: int = 1

    def take(self, batch: Shaped[Array, "b ..."]) -> Shaped[Array, "b2 ..."]:
        """Return the images of this microbatch from an array of the full batch."""
        if self.count == 1:
            return batch
        split = batch.reshape(batch.shape[0] // self.count, self.count, *batch.shape[1:])
        return lax.dynamic_index_in_dim(split, self.index, 1, keepdims=False)

    def draw(
        self, sample: Callable[[tuple[int, ...]], Array], shape: tuple[int, ...]
    ) -> Shaped[Array, "b2 ..."]:
        """Draw values for the full batch and return those of this microbatch.

        Each image thus gets the values that it would get without accumulation.

        Args:
            sample: Draws values of the shape that it is given.
            shape: Shape of this microbatch, images first.
        """
        return self.take(sample((shape[0] * self.count, *shape[1:])))


FULL_BATCH = Microbatch()
