"""Attention between image and components at one layer of the synthesis network."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.models.captions import visible_words
from ganformer_jax.models.grid_positions import grid_positions
from ganformer_jax.nn.attention import BipartiteAttention, KMeans, upsample_assignments
from ganformer_jax.nn.component_update import ComponentUpdate
from ganformer_jax.nn.layouts import layout_scores
from ganformer_jax.nn.microbatch import FULL_BATCH, Microbatch
from ganformer_jax.nn.places import Places, place_scores

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


class AttentionState(NamedTuple):
    """State that attention layers pass on to the next ones beside features.

    Attributes:
        components_BxKxD: Components as updated by earlier layers; None to read them from w.
        assignments_BxNxKxF: Shares of image positions in the components' centroids.
        maps: Attention maps of all layers so far, [B, K, N, H, W] each.
        word_maps: The same of the words of captions, [B, T, N, H, W] each.
        merged_BxKxHxW: The share of each image where images were merged.
    """

    components_BxKxD: Float[Array, "b k d"] | None = None
    assignments_BxNxKxF: Float[Array, "b n k f"] | None = None
    maps: tuple[Float[Array, "b k n h w"], ...] = ()
    merged_BxKxHxW: Float[Array, "b k h w"] | None = None
    word_maps: tuple[Float[Array, "b t n h w"], ...] = ()


@dataclasses.dataclass(frozen=True)
class SynthesisContext:
    """Inputs that all layers of the synthesis network share.

    Attributes:
        noise: "random", "const" or "none".
        noise_seeds_B: Seed of each image's random noise; None to draw for the batch as a whole.
        position_KxD: Trained positions of the components; None without.
        local_position_9xD: Trained positions of the 3x3 that local attention sees.
        places: Places of the components; None without `attention.places`.
        shift_BxKx2: Distances by which to move them, in columns and rows; None for not at all.
        layout_BxHxWxK: Shares of the components in every pixel, which then are the attention.
        mask_BxK: 0 hides a component from attention, 1 shows it; None shows all.
        train: Apply attention dropout.
        microbatch: Microbatch of gradient accumulation that these images are;
            noise and dropout are drawn for the full batch.
    """

    noise: str
    noise_seeds_B: Int[Array, " b"] | None = None
    position_KxD: Float[Array, "k d"] | None = None
    local_position_9xD: Float[Array, "9 d"] | None = None
    places: Places | None = None
    shift_BxKx2: Float[Array, "b k 2"] | None = None
    layout_BxHxWxK: Float[Array, "b h w k"] | None = None
    mask_BxK: Float[Array, "b k"] | None = None
    train: bool = False
    microbatch: Microbatch = FULL_BATCH

    def place_scores(self, height: int, width: int) -> Float[Array, "b f k"] | None:
        """Return scores of components by their places or a layout; None to compare features."""
        if self.layout_BxHxWxK is not None:
            return layout_scores(self.layout_BxHxWxK, height, width)
        return self.places and place_scores(self.places, height, width)


class Attended(NamedTuple):
    """Elements that the image attends to: components and words."""

    y_BxTxD: Float[Array, "b t d"]
    position_TxD: Float[Array, "t d2"] | None
    mask_BxT: Float[Array, "b t"] | None


def with_words(components: Attended, words_BxTxD: Float[Array, "b t d"]) -> Attended:
    """Return components and, behind them, words; those of padding are hidden.

    Words have positions of zeros, as their encoder gave them their own.
    """
    y_BxKxD, position_KxD, mask_BxK = components
    count = words_BxTxD.shape[1]
    if position_KxD is not None:
        position_KxD = jnp.pad(position_KxD, ((0, count), (0, 0)))
    if mask_BxK is None:
        mask_BxK = jnp.ones(y_BxKxD.shape[:2], jnp.float32)
    mask_BxT = jnp.concatenate([mask_BxK, visible_words(words_BxTxD)], 1)
    y_BxTxD = jnp.concatenate([y_BxKxD, words_BxTxD.astype(y_BxKxD.dtype)], 1)
    return Attended(y_BxTxD, position_KxD, mask_BxT)


class AttentionLayer(nn.Module):
    """The image attends to the components; optionally, these to each other and to the image.

    With captions, the image attends to the words too.

    Attributes:
        config: The generator.
        resolution: Longer side of the image's grid, which decides who attends.
    """

    config: GeneratorConfig
    resolution: int

    @nn.compact
    def __call__(
        self,
        x_BxHxWxC: Float[Array, "b h w c"],
        components_BxKxD: Float[Array, "b k d"],
        state: AttentionState,
        context: SynthesisContext,
        words_BxTxD: Float[Array, "b t d"] | None = None,
    ) -> tuple[Float[Array, "b h w c"], AttentionState]:
        """Return updated image features and the state for the next layer."""
        config = self.config
        batch, height, width, channels = x_BxHxWxC.shape
        x_BxFxC = x_BxHxWxC.reshape(batch, height * width, channels)
        position_FxD = grid_positions(config.positions, height, width, config.w_size, stored=True)
        if self.resolution in config.attended_resolutions:
            grid = height, width
            x_BxFxC, state = self._components(
                x_BxFxC, components_BxKxD, words_BxTxD, position_FxD, grid, state, context
            )
        else:
            state = state._replace(components_BxKxD=None)
        if self.resolution in config.self_attended_resolutions:
            x_BxFxC = self._among_pixels(x_BxFxC, position_FxD, context)
        return x_BxFxC.reshape(x_BxHxWxC.shape), state

    def _components(
        self,
        x_BxFxC: Array,
        components_BxKxD: Array,
        words_BxTxD: Array | None,
        position_FxD: Array,
        grid: tuple[int, int],
        state: AttentionState,
        context: SynthesisContext,
    ) -> tuple[Float[Array, "b f c"], AttentionState]:
        """Let the image attend to components and words, and components to each other and it."""
        config, attention = self.config, self.config.attention
        carried = state.assignments_BxNxKxF if attention.kmeans_carried else None
        if carried is not None:
            carried = upsample_assignments(carried, grid)
        attended = Attended(components_BxKxD, context.position_KxD, context.mask_BxK)
        if words_BxTxD is not None:
            attended = with_words(attended, words_BxTxD)
        x_BxFxC, probabilities, shares = self._top_down()(
            x_BxFxC,
            attended.y_BxTxD,
            position_FxD,
            attended.position_TxD,
            assignments_BxNxTxF=carried,
            mask_BxT=attended.mask_BxT,
            place_scores_BxFxT=context.place_scores(*grid),
            train=context.train,
            microbatch=context.microbatch,
        )
        updated = self._update_components(components_BxKxD, x_BxFxC, position_FxD, context)
        count = attended.y_BxTxD.shape[1]
        maps = probabilities.reshape(x_BxFxC.shape[0], attention.heads, *grid, count)
        maps_BxTxNxHxW = jnp.transpose(maps, (0, 4, 1, 2, 3))
        if words_BxTxD is not None:
            words_BxTxNxHxW = maps_BxTxNxHxW[:, config.components :]
            maps_BxTxNxHxW = maps_BxTxNxHxW[:, : config.components]
            state = state._replace(word_maps=(*state.word_maps, words_BxTxNxHxW))
        return x_BxFxC, state._replace(
            components_BxKxD=updated,
            assignments_BxNxKxF=shares,
            maps=(*state.maps, maps_BxTxNxHxW),
        )

    def _among_pixels(
        self, x_BxFxC: Array, position_FxD: Array, context: SynthesisContext
    ) -> Float[Array, "b f c"]:
        """Let image positions attend to each other, as in SAGAN (arXiv 1805.08318)."""
        attention = self.config.attention
        among = BipartiteAttention(
            heads=attention.heads,
            dropout=attention.dropout,
            gate_x=attention.gate_image,
            gate_y=attention.gate_image,
            name="among_pixels",
        )
        x_BxFxC, _, _ = among(
            x_BxFxC,
            x_BxFxC,
            position_FxD,
            position_FxD,
            train=context.train,
            microbatch=context.microbatch,
        )
        return x_BxFxC

    def _top_down(self) -> BipartiteAttention:
        attention, kmeans = self.config.attention, None
        if attention.kmeans_iterations:
            kmeans = KMeans(attention.kmeans_iterations, attention.kmeans_weight_per_iteration)
        return BipartiteAttention(
            heads=attention.heads,
            integration=attention.integration,
            norm=attention.norm,
            dropout=attention.dropout,
            gate_x=attention.gate_image,
            gate_y=attention.gate_latents,
            kmeans=kmeans,
            name="top_down",
        )

    def _update_components(
        self, components: Array, x_BxFxC: Array, position_FxD: Array, context: SynthesisContext
    ) -> Array | None:
        """Return components that attended to each other and the image; None if they do neither."""
        attention = self.config.attention
        position_KxD = context.position_KxD
        training = {"train": context.train, "microbatch": context.microbatch}
        settings = {
            "heads": attention.heads,
            "dropout": attention.dropout,
            "gate_x": attention.gate_latents,
        }
        updated = None
        if self.config.components_attend_components:
            among = ComponentUpdate(
                **settings, gate_y=attention.gate_latents, name="among_components"
            )
            updated = among(
                components,
                components,
                position_KxD,
                position_KxD,
                mask_BxT=context.mask_BxK,
                **training,
            )
        if self.config.components_attend_image:
            bottom_up = ComponentUpdate(**settings, gate_y=attention.gate_image, name="bottom_up")
            start = components if updated is None else updated
            updated = bottom_up(start, x_BxFxC, position_KxD, position_FxD, **training)
        return updated
