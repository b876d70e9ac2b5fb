"""One place where image and components meet, and what such places hand on to each other."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.nn.attention import BipartiteAttention, KMeans
from ganformer_jax.nn.component_update import ComponentUpdate
from ganformer_jax.nn.positions import GridPositions

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Carried(NamedTuple):
    """What one attention layer hands to the next.

    Attributes:
        components_BxTxW: Components as updated by earlier layers; None to read them from w.
        assignments_BxNxTxF: Shares of image positions in the components' centroids.
    """

    components_BxTxW: Array | None = None
    assignments_BxNxTxF: Array | None = None


@dataclasses.dataclass(frozen=True)
class Call:
    """What every layer of one call shares: noise, components' positions and mask, dropout."""

    noise: str
    noise_seeds_B: Array | None
    position_TxP: Array | None
    mask_BxT: Array | None
    train: bool


class AttentionLayer(nn.Module):
    """The image attends to the components; then, by choice, components to each other and to it."""

    config: GeneratorConfig

    @nn.compact
    def __call__(
        self, x_BxHxWxC: Array, components_BxTxW: Array, carried: Carried, call: Call
    ) -> tuple[Array, Float[Array, "b t n h w"], Carried]:
        """Updated image features, attention maps, and what the next layer needs."""
        config, attention = self.config, self.config.attention
        batch, height, width, channels = x_BxHxWxC.shape
        x = x_BxHxWxC.reshape(batch, height * width, channels)
        grid = self._grid_positions(height, width)
        kmeans = None
        if attention.kmeans_iterations:
            kmeans = KMeans(
                attention.kmeans_iterations,
                attention.kmeans_carried,
                attention.kmeans_weight_per_iteration,
            )
        top_down = BipartiteAttention(
            heads=attention.heads,
            integration=attention.integration,
            norm=attention.norm,
            dropout=attention.dropout,
            gate_x=attention.gate_image,
            gate_y=attention.gate_latents,
            kmeans=kmeans,
            name="top_down",
        )
        x, probabilities, shares = top_down(
            x,
            components_BxTxW,
            grid,
            call.position_TxP,
            carried_BxNxTxG=carried.assignments_BxNxTxF,
            grid=(height, width),
            mask_BxT=call.mask_BxT,
            train=call.train,
        )
        updated = self._update_components(components_BxTxW, x, grid, call)
        maps = probabilities.reshape(batch, attention.heads, height, width, config.components)
        maps = jnp.transpose(maps, (0, 4, 1, 2, 3))
        return x.reshape(x_BxHxWxC.shape), maps, Carried(updated, shares)

    def _grid_positions(self, height: int, width: int) -> Array:
        positions = self.config.positions
        shape = height, width, positions.size or self.config.w_size
        module = GridPositions(
            *shape, positions.kind, positions.directions, positions.init, name="positions"
        )
        return module()

    def _update_components(self, components, x, grid, call: Call) -> Array | None:
        """Components after attending to each other and to the image; None if they do neither."""
        attention = self.config.attention
        settings = {"heads": attention.heads, "dropout": attention.dropout}
        updated = None
        if self.config.components_attend_components:
            update = ComponentUpdate(
                **settings,
                gate_x=attention.gate_latents,
                gate_y=attention.gate_latents,
                name="among_components",
            )
            position = call.position_TxP
            updated = update(
                components, components, position, position, mask_BxF=call.mask_BxT, train=call.train
            )
        if self.config.components_attend_image:
            update = ComponentUpdate(
                **settings,
                gate_x=attention.gate_latents,
                gate_y=attention.gate_image,
                name="bottom_up",
            )
            start = components if updated is None else updated
            updated = update(start, x, call.position_TxP, grid, train=call.train)
        return updated
