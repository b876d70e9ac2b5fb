"""Planning: structure latents to a layout, by a recurrent GANformer (arXiv 2111.08960).

Every segment has a latent, from which one small network makes its shape and depth, given the layout
so far and, by bipartite attention, the latents of earlier segments. The same weights make all
segments; those of one step do not see each other.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from ganformer_jax.config import MappingConfig
from ganformer_jax.config.ganformer2 import PlanningConfig
from ganformer_jax.models.input_checks import check_shape
from ganformer_jax.models.mapping import MappingBranch
from ganformer_jax.nn.attention import BipartiteAttention
from ganformer_jax.nn.layers import (
    EqualizedConvolution,
    EqualizedDense,
    ModulatedConvolution,
    add_float32,
    leaky_relu,
    rms_normalize,
)
from ganformer_jax.nn.layouts import compose, shrink
from ganformer_jax.nn.places import HEIGHT, SPREAD, SPREAD_RANGE, Places, place_scores

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, Key

FIRST_GRID = 4
SHAPE_GAIN = 2.0
"""Factor of the logits of shapes, which makes their edges sharp early in training."""
PLACE_GAIN = 0.5
"""Initial weight of latents in the places of segments."""
FIRST_DEPTH = 3.0
"""Depth of a segment before training, where that of the background is 0: segments cover it."""


class Plan(NamedTuple):
    """Segments of a batch in the order in which they were added, and what they make together."""

    shape_BxHxWxK: Float[Array, "b h w k"]
    """Logarithm of the probability that a pixel is in the shape of a segment."""
    depth_BxHxWxK: Float[Array, "b h w k"]
    """Nearness: see `nn.layouts.compose`."""
    present_BxK: Float[Array, "b k"]
    """1 for segments that are there, 0 for others; the background, the first, is always there."""
    layout_SxBxHxWxK: Float[Array, "s b h w k"]
    """The layout before the first step, which is the background alone, and after every step."""


def draw_present(config: PlanningConfig, key: Key[Array, ""], batch: int) -> Float[Array, "b k"]:
    """Draw how many segments each step adds, from 1 up; 1 for segments that are there.

    A number that varies, as in arXiv 2111.08960; here it is uniform.
    """
    steps, most = config.steps, config.step_segments
    count_BxSx1: Int[Array, "b s 1"] = jax.random.randint(key, (batch, steps, 1), 1, most + 1)
    there_BxSxK = (jnp.arange(most)[None, None] < count_BxSx1).astype(jnp.float32)
    return jnp.concatenate([jnp.ones((batch, 1)), there_BxSxK.reshape(batch, -1)], 1)


class SegmentNetwork(nn.Module):
    """One structure latent to the shape and depth of a segment, given the layout so far."""

    config: PlanningConfig
    resolution: int

    @nn.compact
    def __call__(
        self,
        u_BxD: Float[Array, "b d"],
        layout_BxHxWx1: Float[Array, "b h w 1"],
        earlier_BxKxD: Float[Array, "b k d"],
        mask_BxK: Float[Array, "b k"],
    ) -> tuple[Float[Array, "b h w"], Float[Array, "b h w"]]:
        """Return the logarithm of the probability of the shape, and the depth, float32."""
        config, size = self.config, FIRST_GRID
        channels = config.channels_at(size)
        x = EqualizedDense(size * size * channels, activation=True, name="stem")(u_BxD)
        x = x.reshape(-1, size, size, channels).astype(config.dtype)
        while True:
            x = self._layer(x, size, u_BxD, layout_BxHxWx1, earlier_BxKxD, mask_BxK)
            if size == self.resolution:
                break
            size *= 2
        maps = EqualizedConvolution(2, 1, name="maps")(x).astype(jnp.float32)
        logits = SHAPE_GAIN * maps[..., 0]
        if config.places:
            logits = logits + self._place_scores(u_BxD)
        return jax.nn.log_sigmoid(logits), FIRST_DEPTH + maps[..., 1]

    def _place_scores(self, u_BxD: Array) -> Float[Array, "b h w"]:
        """Return scores that fall with the distance from a place, made from the latent."""
        raw_BxKxD = EqualizedDense(4, gain=PLACE_GAIN, name="place")(u_BxD)[:, None]
        spread = SPREAD * jnp.exp(math.log(SPREAD_RANGE) * jnp.tanh(raw_BxKxD[..., 2:] / 2))
        height_BxK = jnp.full(raw_BxKxD.shape[:2], HEIGHT)
        places = Places(jnp.tanh(raw_BxKxD[..., :2]), spread, height_BxK)
        scores_BxFxK = place_scores(places, self.resolution, self.resolution)
        return scores_BxFxK.reshape(-1, self.resolution, self.resolution)

    def _layer(
        self,
        x: Array,
        size: int,
        u_BxD: Array,
        layout_BxHxWx1: Array,
        earlier_BxKxD: Array,
        mask_BxK: Array,
    ) -> Float[Array, "b h w c"]:
        """Convolve, read the layout so far, attend to latents, and activate."""
        channels, first = self.config.channels_at(size), size == FIRST_GRID
        convolution = ModulatedConvolution(
            channels, 3, resampling="none" if first else "up", name=f"convolution_{size}"
        )
        x = convolution(x, u_BxD)
        so_far = shrink(layout_BxHxWx1, size).astype(x.dtype)
        x = x + EqualizedConvolution(channels, 3, use_bias=False, name=f"layout_{size}")(so_far)
        if size <= self.config.attention_largest:
            flat = x.reshape(x.shape[0], size * size, channels)
            attend = BipartiteAttention(integration="both", norm="layer", name=f"attention_{size}")
            flat, _, _ = attend(flat, earlier_BxKxD, mask_BxT=mask_BxK)
            x = flat.reshape(x.shape)
        bias_C = self.param(f"bias_{size}", nn.initializers.zeros, (channels,))
        return leaky_relu(add_float32(x, bias_C[None, None, None]))


class Planner(nn.Module):
    """Structure latents to a plan, step by step.

    Attributes:
        config: Planning.
        resolution: Height and width of layouts.
    """

    config: PlanningConfig
    resolution: int

    @nn.compact
    def __call__(self, z_BxKxD: Float[Array, "b k d"], present_BxK: Float[Array, "b k"]) -> Plan:
        """Plan layouts.

        Args:
            z_BxKxD: Normally distributed structure latents, that of the background first.
            present_BxK: 1 for segments that are there, as `draw_present` returns them.

        Raises:
            ValueError: If arguments are of another shape.
        """
        config, size = self.config, self.resolution
        check_shape("z", z_BxKxD, (z_BxKxD.shape[0], config.segments, config.latent_size))
        check_shape("present segments", present_BxK, (z_BxKxD.shape[0], config.segments))
        mapping = MappingConfig(num_layers=2, self_attention=False)
        branch = MappingBranch(mapping, config.latent_size, name="mapping")
        u_BxKxD = branch(rms_normalize(z_BxKxD))
        steps = self.param("steps", nn.initializers.normal(0.5), (config.steps, config.latent_size))
        numbers = jnp.repeat(jnp.arange(config.steps), config.step_segments)
        u_BxKxD = u_BxKxD.at[:, 1:].add(steps[numbers][None])
        network = SegmentNetwork(config, size, name="segment")
        count = config.step_segments

        def add(network: SegmentNetwork, so_far: Any, done: Array) -> tuple[Any, Array]:
            """Add the segments of a step after the first `done`, each made by itself."""
            shape, depth, layout = so_far
            there_BxK = present_BxK * (jnp.arange(config.segments) < done)[None]
            own_BxKxD = lax.dynamic_slice_in_dim(u_BxKxD, done, count, 1)
            covered = 1.0 - layout[..., :1]
            maps = network(
                own_BxKxD.reshape(-1, config.latent_size),
                jnp.repeat(covered, count, 0),
                jnp.repeat(u_BxKxD, count, 0),
                jnp.repeat(there_BxK, count, 0),
            )
            split = (each.reshape(-1, count, size, size) for each in maps)
            new_shape, new_depth = (jnp.moveaxis(each, 1, -1) for each in split)
            shape = lax.dynamic_update_slice_in_dim(shape, new_shape, done, 3)
            depth = lax.dynamic_update_slice_in_dim(depth, new_depth, done, 3)
            there_BxK = present_BxK * (jnp.arange(config.segments) < done + count)[None]
            layout = compose(shape, depth, there_BxK)
            return (shape, depth, layout), layout

        # The background is everywhere, behind all segments.
        zeros = jnp.zeros((z_BxKxD.shape[0], size, size, config.segments))
        first = zeros.at[..., 0].set(1.0)
        scan = nn.scan(add, variable_broadcast="params", split_rngs={"params": False})
        done_S = 1 + count * jnp.arange(config.steps)
        (shape, depth, _), layouts = scan(network, (zeros, zeros, first), done_S)
        return Plan(shape, depth, present_BxK, jnp.concatenate([first[None], layouts]))
