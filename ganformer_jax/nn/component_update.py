"""The other direction of duplex attention: components gather from the image, or each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn

from ganformer_jax.nn.attention import BipartiteAttention
from ganformer_jax.nn.layers import EqualizedDense
from ganformer_jax.nn.microbatch import FULL_BATCH, Microbatch

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class ComponentUpdate(nn.Module):
    """Latent components attend to Y (the image, or each other) and pass a residual MLP.

    With Y the image this is the bottom-up half of duplex attention (arXiv 2103.01209, 3.1.2):
    additive attention without normalization, then two dense layers added to the original.
    """

    heads: int
    dropout: float
    gate_x: bool
    gate_y: bool

    @nn.compact
    def __call__(
        self,
        components_BxKxD: Float[Array, "b k d"],
        y_BxTxC: Float[Array, "b t c"],
        position_KxD: Float[Array, "k d2"] | None,
        y_position_TxD: Float[Array, "t d3"] | None,
        *,
        mask_BxT: Float[Array, "b t"] | None = None,
        train: bool = False,
        microbatch: Microbatch = FULL_BATCH,
    ) -> Float[Array, "b k d"]:
        """Return updated components, of the dtype of the given ones."""
        attention = BipartiteAttention(
            heads=self.heads,
            dropout=self.dropout,
            gate_x=self.gate_x,
            gate_y=self.gate_y,
            name="attention",
        )
        x, _, _ = attention(
            components_BxKxD,
            y_BxTxC,
            position_KxD,
            y_position_TxD,
            mask_BxT=mask_BxT,
            train=train,
            microbatch=microbatch,
        )
        width = components_BxKxD.shape[-1]
        x = EqualizedDense(width, activation=True, name="dense_0")(x)
        x = EqualizedDense(width, name="dense_1")(x)
        return nn.leaky_relu(x + components_BxKxD, 0.2)
