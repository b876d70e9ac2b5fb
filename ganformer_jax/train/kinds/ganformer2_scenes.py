"""Real and generated scenes of a step of a GANformer2, and the random key of every draw."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from ganformer_jax.config.ganformer2 import GANformer2Config
from ganformer_jax.models.planner import draw_present
from ganformer_jax.nn.layouts import (
    harden,
    hierarchical_noise,
    one_hot_layout,
    shuffle_segments,
)
from ganformer_jax.pixels import from_uint8
from ganformer_jax.train.data_parallel import DataParallel
from ganformer_jax.train.kinds.ganformer2_state import (
    GANformer2State,
    Tree,
    latent_shapes,
    make_networks,
)
from ganformer_jax.train.trainable import Batch, Info

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Key


class Scenes(NamedTuple):
    """Images and their layouts; what the discriminators are to tell apart."""

    images_BxHxWxC: Float[Array, "b h w c"]
    """In [-1, 1]."""
    layout_BxHxWxK: Float[Array, "b h w k"]
    """Of these images."""
    seen_BxHxWxK: Float[Array, "b h w k"]
    """Layouts as the discriminator of layouts sees them; of generated scenes, the planned ones."""


KEYS = ("structure", "present", "style", "noise", "share", "real_order", "real_noise")
KEYS += ("fake_order", "fake_noise")
"""Draws of a step, in the order of the numbers that are folded into its key. Only append."""


def _key(key: Key[Array, ""], name: str) -> Key[Array, ""]:
    return jax.random.fold_in(key, KEYS.index(name))


def real_scenes(
    config: GANformer2Config, parallel: DataParallel, batch: Batch, key: Key[Array, ""]
) -> Scenes:
    """Return the scenes of a batch."""
    layout = one_hot_layout(batch["layouts"].astype(jnp.int32), config.planning.segments)
    seen = _as_seen(config, parallel, layout, key, "real")
    return Scenes(from_uint8(batch["images"]), layout, seen)


def generate_scenes(
    config: GANformer2Config,
    parallel: DataParallel,
    state: GANformer2State,
    generators: dict[str, Tree],
    reals: Scenes,
    key: Key[Array, ""],
) -> tuple[Scenes, Info]:
    """Plan layouts, and make images from them or from real ones, as `loss.together_kimg` says."""
    networks, count = make_networks(config), len(reals.images_BxHxWxC)
    structure, style = latent_shapes(config, count)

    def normal(name: str, shape: tuple[int, ...]) -> Array:
        return parallel.local_shard(jax.random.normal(_key(key, name), shape))

    present_BxK = parallel.local_shard(draw_present(config.planning, _key(key, "present"), count))
    plan: Any = networks.planner.apply(
        {"params": generators["planner"]}, normal("structure", structure), present_BxK
    )
    planned = parallel.constrain_batch(plan.layout_SxBxHxWxK[-1])
    given, options = reals.layout_BxHxWxK, config.loss
    if options.together_kimg is not None:
        started = state.images_seen >= options.together_kimg * 1000
        drawn_B = jax.random.bernoulli(_key(key, "share"), options.planned_share, (count,))
        takes_B = parallel.local_shard(drawn_B) & started
        given = jnp.where(takes_B[:, None, None, None], harden(planned), given)
    images: Any = networks.executor.apply(
        {"params": generators["executor"], "constants": state.constants},
        normal("style", style),
        given,
        rngs={"noise": _key(key, "noise")},
    )
    seen = _as_seen(config, parallel, planned, key, "fake")
    # How sure layouts are: 1 if every pixel is of one segment.
    info = {"layout/largest_share": planned.max(-1).mean()}
    info["layout/background"] = planned[..., 0].mean()
    return Scenes(parallel.constrain_batch(images), given, seen), info


def _as_seen(
    config: GANformer2Config, parallel: DataParallel, layout: Array, key: Key[Array, ""], kind: str
) -> Float[Array, "b h w k"]:
    """Return layouts with noise, in a random order of their segments, of a mean square of 1."""
    count, segments = len(layout), layout.shape[-1]
    order = jax.random.uniform(_key(key, f"{kind}_order"), (count, segments))
    noise = hierarchical_noise(_key(key, f"{kind}_noise"), layout.shape, config.loss.layout_noise)
    layout = shuffle_segments(layout, parallel.local_shard(order)) + parallel.local_shard(noise)
    return parallel.constrain_batch(layout * math.sqrt(segments))
