"""Attention of each image position to the 3x3 around it, in place of a convolution.

The published GANformer code has it as an option, for both networks. Simplex attention with an
additive update (equations 1 and 2 of `attention.py`), in which keys of places beyond the border
come from zeros.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganformer_jax.nn.layers import Dropout, EqualizedConvolution, EqualizedDense
from ganformer_jax.nn.microbatch import FULL_BATCH, Microbatch

if TYPE_CHECKING:
    from jaxtyping import Array, Float

SIDE = 3
NEIGHBORS = SIDE * SIDE
POSITION_WIDTH = 16


def neighborhoods(x_BxHxWxC: Float[Array, "b h w c"]) -> Float[Array, "b h w 9 c"]:
    """Return the 3x3 around each position, row by row, with zeros beyond the border."""
    height, width = x_BxHxWxC.shape[1:3]
    margin = SIDE // 2
    padded = jnp.pad(x_BxHxWxC, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    offsets = [(row, column) for row in range(SIDE) for column in range(SIDE)]
    shifted = [padded[:, row : row + height, column : column + width] for row, column in offsets]
    return jnp.stack(shifted, 3)


def local_positions(module: nn.Module) -> Float[Array, "9 d"]:
    """Return the parameter `local_positions` of a network: positions of the 3x3, uniform in [0, 1).

    All its layers with local attention share it.
    """
    shape = NEIGHBORS, POSITION_WIDTH
    return module.param("local_positions", jax.random.uniform, shape)


class LocalAttention(nn.Module):
    """A 1x1 convolution, then each position attends to the 3x3 around it.

    Attributes:
        features: Output channels, a multiple of the heads.
        heads: Attention heads.
        dropout: Attention dropout rate in training, applied twice at half the rate.
    """

    features: int
    heads: int = 4
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        x_BxHxWxC: Float[Array, "b h w c"],
        position_9xD: Float[Array, "9 d"],
        *,
        train: bool = False,
        microbatch: Microbatch = FULL_BATCH,
    ) -> Float[Array, "b h w o"]:
        """Return updated features in the type of x.

        Args:
            x_BxHxWxC: Features.
            position_9xD: Positions of the 3x3, added to keys.
            train: Apply dropout, from the "dropout" stream.
            microbatch: Microbatch of gradient accumulation that these images are;
                dropout is drawn for the full batch.

        Raises:
            ValueError: The output channels are not a multiple of the heads.
        """
        features, heads = self.features, self.heads
        if features % heads:
            raise ValueError(f"local attention's {heads} heads do not divide {features} channels")
        dtype = x_BxHxWxC.dtype
        reshaped = EqualizedConvolution(features, 1, use_bias=False, name="channels")(x_BxHxWxC)
        x = reshaped.astype(jnp.float32)
        queries = EqualizedDense(features, name="queries")(x)
        # In the published code the queries have positions, which are zeros: their bias remains.
        bias_C = self.param("query_positions_bias", nn.initializers.zeros, (features,))
        queries += bias_C[None, None, None]
        keys = self._of_neighbors(x, "keys")
        keys += EqualizedDense(features, name="key_positions")(position_9xD)[None, None, None]
        values = self._of_neighbors(x, "values")
        queries, keys, values = (_split(part, heads) for part in (queries, keys, values))
        scores = jnp.einsum("bhwnd,bhwtnd->bhwnt", queries, keys)
        shares = jax.nn.softmax(scores / math.sqrt(features // heads), -1)
        if train:
            for _ in range(2):
                shares = Dropout(self.dropout / 2)(shares, microbatch)
        gathered = jnp.einsum("bhwnt,bhwtnd->bhwnd", shares, values).reshape(x.shape)
        return (x + EqualizedDense(features, name="modulation")(gathered)).astype(dtype)

    def _of_neighbors(self, x: Array, name: str) -> Float[Array, "b h w 9 c"]:
        """Apply a dense layer, then take its results around each position."""
        kernel, bias_C = EqualizedDense(self.features, name=name).weights(self.features)
        return neighborhoods(x @ kernel) + bias_C[None, None, None, None]


def _split(x: Float[Array, "*batch c"], heads: int) -> Float[Array, "*batch n d"]:
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)
