"""Perceptual path length: the LPIPS distance of images that are a short step apart in latent space.

T. Karras, S. Laine, T. Aila, "A Style-Based Generator Architecture for Generative Adversarial
Networks", CVPR 2019 (arXiv 1812.04948), section 4.1, equations 2 and 3. As in the published code
and in StyleGAN2 (arXiv 1912.04958), steps are either at the start of paths (t = 0, "end") or
anywhere on them ("full").
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from tqdm import tqdm

from ganformer_jax import hosts
from ganformer_jax.metrics.lpips import lpips
from ganformer_jax.models import Generator, broadcast_layers
from ganformer_jax.random_keys import seeded_key

LARGEST = 256
"""Largest height and width for LPIPS; larger images are halved until they fit, as in the published
code."""
STEP = 1e-4
"""Length of the step, epsilon in the paper."""


def perceptual_path_length(
    generator: Generator,
    variables: Mapping[str, Any],
    lpips_variables: Mapping[str, Any],
    *,
    space: str = "w",
    sampling: str = "end",
    count: int = 50_000,
    batch_size: int = 16,
    seed: int = 0,
    sharding: jax.sharding.Sharding | None = None,
    conditions: Callable[[Sequence[int]], Float[np.ndarray, "b y"]] | None = None,
) -> float:
    """Return the perceptual path length (arXiv 1812.04948, equations 2 and 3).

    Args:
        generator: The network.
        variables: Its variables.
        lpips_variables: Result of `metrics.lpips.lpips_variables`.
        space: "z" for paths on great circles, one per component; "w" for straight lines.
        sampling: "full" for steps anywhere on a path, "end" for steps at its start.
        count: Number of paths; path i is a function of `seed` and i.
        batch_size: Paths per batch.
        seed: Seed of the paths.
        sharding: Sharding of a batch over devices, which must be those of the variables.
        conditions: Function from indices of paths to their conditions; by default a conditional
            generator gets uniformly drawn classes.

    Raises:
        ValueError: If an option is unknown, or images are too small for LPIPS.
    """
    if space not in ("z", "w") or sampling not in ("full", "end"):
        raise ValueError(f"space is z or w, sampling full or end; got {space!r}, {sampling!r}")
    if count < 1 or batch_size < 1:
        raise ValueError(f"count and batch_size must be positive, got {count} and {batch_size}")
    key, own, distances = seeded_key(seed), hosts.own_rows(count), []
    words, quiet = f"path length in {space}, {sampling}", not hosts.is_first()
    with tqdm(total=len(own), unit=" paths", desc=words, disable=quiet) as bar:
        for start in range(0, len(own), batch_size):
            rows = own[start : start + batch_size]
            paths = np.resize(np.asarray(rows, np.uint32), batch_size)  # one size, one program
            labels = None if conditions is None else conditions(paths.tolist())
            paths_B, labels_BxY = jax.device_put((paths, labels), sharding)
            distances_B = _distances(
                generator, space, sampling, variables, lpips_variables, key, paths_B, labels_BxY
            )
            distances.append(np.asarray(distances_B)[: len(rows)])
            bar.update(len(rows))
    return path_length_of(hosts.gather_rows(np.concatenate(distances), count))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
@jax.default_matmul_precision("highest")  # a step of 1e-4 is below the rounding of TF32
def _distances(
    generator: Generator,
    space: str,
    sampling: str,
    variables: Mapping[str, Any],
    lpips_variables: Mapping[str, Any],
    key: jax.Array,
    paths_B: jax.Array,
    labels_BxY: jax.Array | None,
) -> Float[Array, " b"]:
    """Return LPIPS between the two ends of one step on each path."""
    config = generator.config
    shape = (2, config.num_latents, config.z_size)
    keys_Bx3 = jax.vmap(lambda path: jax.random.split(jax.random.fold_in(key, path), 3))(paths_B)
    z_Bx2xKxD = jax.vmap(lambda keys: jax.random.normal(keys[0], shape))(keys_Bx3)
    if config.label_size and labels_BxY is None:
        classes = jax.vmap(lambda keys: jax.random.randint(keys[1], (), 0, config.label_size))
        labels_BxY = jax.nn.one_hot(classes(keys_Bx3), config.label_size)
    t_Bx1x1 = jnp.zeros((len(paths_B), 1, 1))
    if sampling == "full":
        t_Bx1x1 = jax.vmap(lambda keys: jax.random.uniform(keys[2], (1, 1)))(keys_Bx3)

    def mapped(z_BxKxD: jax.Array) -> jax.Array:
        w_BxKxD = generator.apply(variables, z_BxKxD, labels_BxY, method="map")
        assert isinstance(w_BxKxD, jax.Array)
        return w_BxKxD

    one, other = z_Bx2xKxD[:, 0], z_Bx2xKxD[:, 1]
    if space == "w":
        one, other = mapped(one), mapped(other)
        ends = [lerp(one, other, t) for t in (t_Bx1x1, t_Bx1x1 + STEP)]
    else:
        ends = [mapped(along_z(one, other, t)) for t in (t_Bx1x1, t_Bx1x1 + STEP)]
    images = [images_for_lpips(generator, variables, w_BxKxD) for w_BxKxD in ends]
    return lpips(lpips_variables, images[0], images[1])


def images_for_lpips(
    generator: Generator, variables: Mapping[str, Any], w_BxKxD: Float[Array, "b k d"]
) -> Float[Array, "b h w 3"]:
    """Synthesize images in color with constant noise, of at most `LARGEST` pixels per side."""
    w_BxKxLxD = broadcast_layers(w_BxKxD, generator.num_layers)
    synthesized = generator.apply(variables, w_BxKxLxD, noise="const", method="synthesize")
    assert isinstance(synthesized, tuple)
    return fit_lpips(synthesized[0])


def fit_lpips(images: Float[Array, "b h w c"]) -> Float[Array, "b h w 3"]:
    """Return images in color, of at most `LARGEST` pixels per side.

    Of more than three channels the first three are used; with two, the third one is black.
    """
    if images.shape[-1] == 2:
        images = jnp.pad(images, [(0, 0)] * 3 + [(0, 1)], constant_values=-1.0)
    images = jnp.broadcast_to(images[..., :3], (*images.shape[:3], 3))
    batch, height, width, channels = images.shape
    factor = 1 << (math.ceil(max(height, width) / LARGEST) - 1).bit_length()
    blocks = images.reshape(batch, height // factor, factor, width // factor, factor, channels)
    return blocks.mean((2, 4))


def along_z(
    one: Float[Array, "... d"], other: Float[Array, "... d"], t: Float[Array, "... 1"]
) -> Float[Array, "... d"]:
    """Interpolate directions, scaled to the length of random z, as not all networks normalize z."""
    return math.sqrt(one.shape[-1]) * unit_slerp(one, other, t)


def unit_slerp(
    one: Float[Array, "... d"], other: Float[Array, "... d"], t: Float[Array, "... 1"]
) -> Float[Array, "... d"]:
    """Interpolate directions on the great circle, as unit vectors: `one` at t = 0.

    `sampling.slerp` keeps the lengths of vectors, and computes on the host.
    """
    one, other = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (one, other))
    cosine = jnp.sum(one * other, axis=-1, keepdims=True)
    angle = t * jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
    across = other - cosine * one
    length = jnp.linalg.norm(across, axis=-1, keepdims=True)
    across = across / jnp.maximum(length, jnp.finfo(across.dtype).tiny)
    return one * jnp.cos(angle) + across * jnp.sin(angle)


def lerp(
    one: Float[Array, "... d"], other: Float[Array, "... d"], t: Float[Array, "... 1"]
) -> Float[Array, "... d"]:
    """Interpolate on the straight line: `one` at t = 0, `other` at t = 1."""
    return one + (other - one) * t


def path_length_of(distances_M: Float[np.ndarray, " m"], step: float = STEP) -> float:
    """Return the mean distance over the squared step, excluding the lowest and highest 1%."""
    distances = np.asarray(distances_M, np.float64)
    if distances.ndim != 1 or not distances.size:
        raise ValueError(f"distances must be a list of numbers, got {list(distances.shape)}")
    if not np.isfinite(distances).all():
        raise ValueError("distances are not finite: look for NaN in images or weights")
    low = np.percentile(distances, 1, method="lower")
    high = np.percentile(distances, 99, method="higher")
    return float(distances[(distances >= low) & (distances <= high)].mean() / step**2)
