"""Attention in the discriminator: aggregators gather from the image, as in the published code.

Aggregators are trained vectors. At every resolution in range they attend to the image
(bottom-up); optionally the image attends to them (top-down), they to each other, and image
positions to each other, as in SAGAN (arXiv 1805.08318).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn
import jax.numpy as jnp

from ganformer_jax.config import DiscriminatorConfig
from ganformer_jax.models.grid_positions import grid_positions
from ganformer_jax.nn.attention import BipartiteAttention
from ganformer_jax.nn.component_update import ComponentUpdate
from ganformer_jax.nn.layers import EqualizedDense, minibatch_stddev
from ganformer_jax.nn.microbatch import Microbatch

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class DiscriminatorAttention(nn.Module):
    """Attention among the image and the aggregators at one resolution.

    Attributes:
        config: The discriminator.
        resolution: Longer side of the image's grid, which decides who attends.
    """

    config: DiscriminatorConfig
    resolution: int

    @nn.compact
    def __call__(
        self,
        x_BxHxWxC: Float[Array, "b h w c"],
        aggregators_BxKxD: Float[Array, "b k d"] | None,
        position_KxD: Float[Array, "k d"] | None,
        train: bool,
        microbatch: Microbatch,
    ) -> tuple[Float[Array, "b h w c"], Float[Array, "b k d"] | None]:
        """Return updated features and aggregators."""
        config, options = self.config, self.config.aggregators
        batch, height, width, channels = x_BxHxWxC.shape
        x_BxFxC = x_BxHxWxC.reshape(batch, height * width, channels)
        grid_FxD = grid_positions(config.positions, height, width, options.width, stored=False)
        training = {"train": train, "microbatch": microbatch}
        if aggregators_BxKxD is not None and config.aggregates_at(self.resolution):
            gates = {"gate_x": options.gate, "gate_y": options.gate_image}
            gather = self._attention("bottom_up", **gates)
            aggregators_BxKxD, _, _ = gather(
                aggregators_BxKxD, x_BxFxC, position_KxD, grid_FxD, **training
            )
            if options.image_attends:
                gates = {"gate_x": options.gate_image, "gate_y": options.gate}
                receive = self._attention("top_down", **gates)
                x_BxFxC, _, _ = receive(
                    x_BxFxC, aggregators_BxKxD, grid_FxD, position_KxD, **training
                )
            if options.attend_each_other:
                aggregators_BxKxD = self._among_aggregators()(
                    aggregators_BxKxD, aggregators_BxKxD, position_KxD, position_KxD, **training
                )
        if self.resolution == config.image_attention_resolution:
            gates = {"gate_x": options.gate_image, "gate_y": options.gate_image}
            among = self._attention("among_pixels", width=options.width, **gates)
            x_BxFxC, _, _ = among(x_BxFxC, x_BxFxC, grid_FxD, grid_FxD, **training)
        return x_BxFxC.reshape(x_BxHxWxC.shape), aggregators_BxKxD

    def _attention(
        self, name: str, gate_x: bool, gate_y: bool, width: int | None = None
    ) -> BipartiteAttention:
        options = self.config.aggregators
        return BipartiteAttention(
            heads=options.heads,
            dropout=options.dropout,
            gate_x=gate_x,
            gate_y=gate_y,
            width=width,
            name=name,
        )

    def _among_aggregators(self) -> ComponentUpdate:
        options = self.config.aggregators
        return ComponentUpdate(
            heads=options.heads,
            dropout=options.dropout,
            gate_x=options.gate,
            gate_y=options.gate,
            name="among_aggregators",
        )


class AggregatorScores(nn.Module):
    """One number from each aggregator, for the layer that makes the logit."""

    config: DiscriminatorConfig

    @nn.compact
    def __call__(self, aggregators_BxKxD: Float[Array, "b k d"]) -> Float[Array, "b k"]:
        """Return the numbers, after minibatch standard deviations if the image has them."""
        config, x = self.config, aggregators_BxKxD
        if config.minibatch_stddev_channels:
            group, channels = config.minibatch_stddev_group, config.minibatch_stddev_channels
            x = minibatch_stddev(x[:, :, None], group, channels)[:, :, 0]
        x = EqualizedDense(config.aggregators.width, activation=True, name="dense")(x)
        return jnp.squeeze(EqualizedDense(1, name="output")(x), -1)
