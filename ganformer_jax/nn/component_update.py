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

    With Y the image this is the bottom-up half of duplex attention (arXiv 2103.01209, 3.1.2). The
    update of the components X is additive, without normalization, equations (1) and (2) of
    `nn.attention`; then two dense layers follow with a residual connection to X as it was:

        X' = leaky_relu(MLP(X + beta(a(X, Y))) + X)

    Attributes:
        heads: Attention heads, 1 or more; must divide D, the width of a component.
        dropout: Attention dropout rate in training, from 0 to below 1; half of it drops single
            weights, half whole elements of Y.
        gate_x: Gate what each component receives.
        gate_y: Gate what each element of Y sends.
    """

    heads: int = 1
    dropout: float = 0.0
    gate_x: bool = False
    gate_y: bool = False

    @nn.compact
    def __call__(
        self,
        components_BxKxD: Float[Array, "b k d"],
        y_BxTxC: Float[Array, "b t c"],
        position_KxD: Float[Array, "k d2"] | None = None,
        y_position_TxD: Float[Array, "t d3"] | None = None,
        *,
        mask_BxT: Float[Array, "b t"] | None = None,
        train: bool = False,
        microbatch: Microbatch = FULL_BATCH,
    ) -> Float[Array, "b k d"]:
        """Update the components.

        Args:
            components_BxKxD: Components X.
            y_BxTxC: Elements that they attend to: image features or the components themselves.
            position_KxD: Positions of the components, added to queries; None for none.
            y_position_TxD: Positions of Y, added to keys; None for none.
            mask_BxT: 0 hides an element of Y, 1 shows it; None shows all.
            train: Apply dropout, from the "dropout" stream.
            microbatch: Microbatch of gradient accumulation that these images are;
                dropout is drawn for the full batch.

        Returns:
            Updated components, of the dtype of X.

        Raises:
            ValueError: Heads do not divide D, or shapes do not belong together.
            TypeError: X or Y are not floating point.
        """
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
