"""Perceptual path length of a generator: its steps, drawn by number, and LPIPS over each."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from ganformer_jax.metrics.lpips import lpips
from ganformer_jax.metrics.perceptual_path_length import STEP, lerp, path_length_of, slerp
from ganformer_jax.models import Generator, broadcast_layers

if TYPE_CHECKING:
    from jaxtyping import Array, Float

LARGEST = 256
"""Most pixels a side that LPIPS sees; larger images are halved until they fit, as published."""


def perceptual_path_length(
    generator: Generator,
    variables: Mapping[str, Any],
    lpips_variables: Mapping[str, Any],
    *,
    space: Literal["z", "w"] = "w",
    sampling: Literal["full", "end"] = "end",
    count: int = 50_000,
    batch_size: int = 16,
    seed: int = 0,
    divided: jax.sharding.Sharding | None = None,
) -> float:
    """Mean squared perceptual speed along paths between random latents (arXiv 1812.04948, 4.1).

    Args:
        generator: The network.
        variables: Its weights.
        lpips_variables: What `metrics.lpips.lpips_variables` makes.
        space: "z", along great circles, component by component; "w", along straight lines.
        sampling: "full", anywhere on a path; "end", at its beginning.
        count: Paths; path i is decided by `seed` and i.
        batch_size: Paths at once.
        seed: Of the paths.
        divided: How to divide a batch over devices; the variables must live on the same ones.

    Raises:
        ValueError: If an option is not known, or images are smaller than LPIPS allows.
    """
    if space not in ("z", "w") or sampling not in ("full", "end"):
        raise ValueError(f"space is z or w, sampling full or end; got {space!r}, {sampling!r}")
    if count < 1 or batch_size < 1:
        raise ValueError(f"count and batch_size must be positive, got {count} and {batch_size}")
    step = functools.partial(_distances, generator, (space, sampling))
    parts = []
    with tqdm(total=count, unit=" paths", desc=f"path length in {space}, {sampling}") as bar:
        for start in range(0, count, batch_size):
            paths = jax.device_put(np.arange(start, start + batch_size, dtype=np.uint32), divided)
            parts.append(np.asarray(step(variables, lpips_variables, jax.random.key(seed), paths)))
            bar.update(min(batch_size, count - start))
    return path_length_of(np.concatenate(parts)[:count])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _distances(
    generator: Generator,
    how: tuple[str, str],
    variables: Mapping[str, Any],
    lpips_variables: Mapping[str, Any],
    key: jax.Array,
    paths_B: jax.Array,
) -> Float[Array, " batch"]:
    space, sampling = how
    config = generator.config
    shape = (2, config.num_latents, config.z_size)
    keys_Bx3 = jax.vmap(lambda path: jax.random.split(jax.random.fold_in(key, path), 3))(paths_B)
    z_Bx2xKxD = jax.vmap(lambda keys: jax.random.normal(keys[0], shape))(keys_Bx3)
    labels = None
    if config.label_size:
        classes = jax.vmap(lambda keys: jax.random.randint(keys[1], (), 0, config.label_size))
        labels = jax.nn.one_hot(classes(keys_Bx3), config.label_size)
    t_Bx1x1 = jnp.zeros((len(paths_B), 1, 1))
    if sampling == "full":
        t_Bx1x1 = jax.vmap(lambda keys: jax.random.uniform(keys[2], (1, 1)))(keys_Bx3)

    def mapped(z_BxKxD: jax.Array) -> jax.Array:
        w_BxKxW = generator.apply(variables, z_BxKxD, labels, method="map")
        assert isinstance(w_BxKxW, jax.Array)
        return w_BxKxW

    one, other = z_Bx2xKxD[:, 0], z_Bx2xKxD[:, 1]
    if space == "w":
        one, other = mapped(one), mapped(other)
        ends = [lerp(one, other, t) for t in (t_Bx1x1, t_Bx1x1 + STEP)]
    else:
        ends = [mapped(slerp(one, other, t)) for t in (t_Bx1x1, t_Bx1x1 + STEP)]
    images = [_images(generator, variables, w_BxKxW) for w_BxKxW in ends]
    return lpips(lpips_variables, images[0], images[1])


def _images(generator: Generator, variables: Mapping[str, Any], w_BxKxW: jax.Array) -> jax.Array:
    """Images in color, with fixed noise, no larger than LPIPS sees them."""
    w_BxKxLxW = broadcast_layers(w_BxKxW, generator.num_layers)
    made = generator.apply(variables, w_BxKxLxW, noise="const", method="synthesize")
    assert isinstance(made, tuple)
    images = jnp.broadcast_to(made[0], (*made[0].shape[:3], 3))
    batch, height, width, colors = images.shape
    factor = 1 << (math.ceil(max(height, width) / LARGEST) - 1).bit_length()
    blocks = images.reshape(batch, height // factor, factor, width // factor, factor, colors)
    return blocks.mean((2, 4))
