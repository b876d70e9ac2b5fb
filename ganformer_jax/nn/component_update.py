"""The other direction of duplex attention: components gather from the image, or each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn

from ganformer_jax.nn.attention import BipartiteAttention
from ganformer_jax.nn.layers import EqualizedDense

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class ComponentUpdate(nn.Module):
    """Latent components attend to Y (the image, or each other) and pass a residual MLP.

    With Y the image this is the bottom-up half of duplex attention (arXiv 2103.01209, 3.1.2):
    additive integration without normalization, then two dense layers added to the original.
    """

    heads: int
    dropout: float
    gate_x: bool
    gate_y: bool

    @nn.compact
    def __call__(
        self,
        x_BxTxD: Float[Array, "b t d"],
        y_BxFxC: Float[Array, "b f c"],
        x_position_TxP: Float[Array, "t p"] | None,
        y_position_FxP: Float[Array, "f p"] | None,
        *,
        mask_BxF: Float[Array, "b f"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b t d"]:
        """Updated components, float32."""
        attention = BipartiteAttention(
            heads=self.heads,
            dropout=self.dropout,
            gate_x=self.gate_x,
            gate_y=self.gate_y,
            name="attention",
        )
        x, _, _ = attention(
            x_BxTxD, y_BxFxC, x_position_TxP, y_position_FxP, mask_BxT=mask_BxF, train=train
        )
        width = x_BxTxD.shape[-1]
        x = EqualizedDense(width, activation=True, name="dense_0")(x)
        x = EqualizedDense(width, name="dense_1")(x)
        return nn.leaky_relu(x + x_BxTxD, 0.2)
