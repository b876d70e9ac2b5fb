"""Parts of a batch that are computed one after the other, and their random draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from jax import lax

if TYPE_CHECKING:
    from jaxtyping import Array, Int, Shaped


@dataclasses.dataclass(frozen=True)
class Rows:
    """Which images of a batch are computed: `index`, `index + parts`, `index + 2 parts` and so on.

    By default all of them. Parts are strided so that devices which divide the batch into contiguous
    shares hold an equal share of every part, and so that groups of the minibatch standard
    deviation, which are strided too, stay whole in each part.

    Attributes:
        index: Number of this part, from 0; may be traced.
        parts: Number of parts, which divides the batch.
    """

    index: int | Int[Array, ""] = 0
    parts: int = 1

    def take(self, batch: Shaped[Array, "b ..."]) -> Shaped[Array, "b2 ..."]:
        """Return this part of an array that has the whole batch."""
        if self.parts == 1:
            return batch
        split = batch.reshape(batch.shape[0] // self.parts, self.parts, *batch.shape[1:])
        return lax.dynamic_index_in_dim(split, self.index, 1, keepdims=False)

    def draw(
        self, sample: Callable[[tuple[int, ...]], Array], shape: tuple[int, ...]
    ) -> Shaped[Array, "b2 ..."]:
        """Draw values for the whole batch and return those of this part.

        A part thus draws what the whole batch would, image by image.

        Args:
            sample: Draws values of the shape that it is given.
            shape: Shape of this part, images first.
        """
        return self.take(sample((shape[0] * self.parts, *shape[1:])))


WHOLE = Rows()
"""The whole batch."""
