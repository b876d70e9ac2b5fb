"""Projection: the search for latents, and optionally noise, whose images are close to given ones.

The method of StyleGAN2 (arXiv 1912.04958, appendix D), with three differences: all components are
optimized, each in units of its own spread, since these differ; any distance may be used; and the
strength of exploration is relative to the spread of one number of w, not of the entire vector.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.models import num_layers
from ganformer_jax.models.by_seed import apply_sampling
from ganformer_jax.models.noise_maps import noise_maps, with_noise_maps
from ganformer_jax.projection.noise_prior import correlation, normalized
from ganformer_jax.projection.start import LatentStatistics
from ganformer_jax.random_keys import seeded_key

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    Distance = Callable[[Any, Any], Float[Array, " b"]]


@dataclasses.dataclass(frozen=True)
class ProjectionOptions:
    """Options of the search.

    Attributes:
        steps: Number of steps.
        learning_rate: Learning rate of Adam, at its highest.
        per_layer: Find a latent for each layer (w+) instead of one for all layers.
        noise: Also optimize the noise of each image, instead of using the generator's fixed noise.
        exploration: Standard deviation of the noise that is added to w at first, in units of w's
            own spread; it falls to 0 in the first three quarters of the steps.
        noise_weight: Weight of the term that keeps noise from becoming an image.
    """

    steps: int = 500
    learning_rate: float = 0.1
    per_layer: bool = False
    noise: bool = False
    exploration: float = 0.05
    noise_weight: float = 1e5


class Projection(NamedTuple):
    """A state of the search.

    Attributes:
        step: Number of steps done.
        w_BxKxLxD: Latents for every layer.
        noise_maps: Noise by the path of its layer, [B, H, W] each; empty unless it is optimized.
        distance_B: Distance of the images of this step, before its update, with exploration.
    """

    step: int
    w_BxKxLxD: Float[Array, "b k l d"]
    noise_maps: Mapping[str, Float[Array, "b h w"]]
    distance_B: Float[Array, " b"]


def project(
    config: GeneratorConfig,
    variables: Mapping[str, Any],
    targets_BxHxWxC: Float[np.ndarray, "b h w c"],
    distance: Distance,
    statistics: LatentStatistics,
    options: ProjectionOptions = ProjectionOptions(),
    first: int = 0,
    start_BxKxD: Float[np.ndarray, "b k d"] | None = None,
) -> Iterator[Projection]:
    """Search for the latents of a batch of images; each result is independent of the others.

    Args:
        config: Config of the generator.
        variables: Variables of the generator.
        targets_BxHxWxC: Images in [-1, 1], of the generator's shape.
        distance: Function of generated images and targets that returns a distance for each pair.
        statistics: Mean and spread of w, for the label of the images.
        options: Options of the search.
        first: Number of the first image, which decides its exploration.
        start_BxKxD: Latents of each image to start from; by default the mean, as published.

    Yields:
        The state after each step.

    Raises:
        ValueError: If the images are of another shape than the generator's.
        TypeError: If they are not floating point.
    """
    size = (*config.image_size, config.image_channels)
    if targets_BxHxWxC.shape[1:] != size:
        inner = ", ".join(map(str, size))
        raise ValueError(f"images are {list(targets_BxHxWxC.shape)}: give [batch, {inner}]")
    if not jnp.issubdtype(targets_BxHxWxC.dtype, jnp.floating):
        raise TypeError(f"images must be floating point, in -1..1, not {targets_BxHxWxC.dtype}")
    count, layers = len(targets_BxHxWxC), num_layers(config)
    shape = (count, config.num_w, layers if options.per_layer else 1, config.w_size)
    start = jnp.zeros(()) if start_BxKxD is None else _units(start_BxKxD, statistics)
    found: dict[str, Any] = {"units": jnp.zeros(shape) + start}
    if options.noise:
        found["noise"] = noise_maps(variables, count)
    moments, numbers_B = _optimizer(options).init(found), jnp.arange(first, first + count)
    inputs = found, moments, targets_BxHxWxC, numbers_B
    # Place inputs with the variables, as in later steps, or the second step would compile again.
    variables = jax.tree.map(jnp.asarray, variables)
    where = jax.tree.leaves(variables)[0].sharding
    found, moments, targets, numbers_B = jax.device_put(inputs, where)
    update = _update(config, options, distance)
    for step in range(options.steps):
        found, moments, distance_B = update(
            found, moments, variables, targets, statistics, numbers_B, jnp.int32(step)
        )
        w_BxKxLxD = _latents(config, found["units"], statistics)
        yield Projection(step + 1, w_BxKxLxD, found.get("noise", {}), distance_B)


def _optimizer(options: ProjectionOptions) -> optax.GradientTransformation:
    return optax.adam(functools.partial(_learning_rate, options))


@functools.lru_cache(maxsize=4)  # a distance may hold the weights of a network
def _update(
    config: GeneratorConfig, options: ProjectionOptions, distance: Distance
) -> Callable[..., Any]:
    """Return one step, compiled once for all searches with equal arguments."""
    optimizer = _optimizer(options)

    @jax.jit
    @jax.default_matmul_precision("highest")
    def update(found, moments, variables, targets, statistics, numbers_B, step):
        def loss(found: dict[str, Any]) -> tuple[Any, Any]:
            moved = found["units"] + _exploration(options, found["units"].shape, numbers_B, step)
            w_BxKxLxD = _latents(config, moved, statistics)
            own = with_noise_maps(variables, found["noise"]) if options.noise else variables
            images, _ = apply_sampling(config, own, w_BxKxLxD, noise="const", method="synthesize")
            distance_B = distance(images, targets)
            total_B = distance_B
            if options.noise:
                total_B += options.noise_weight * correlation(found["noise"])
            return total_B.sum(), distance_B  # of a sum, each image has its own gradient

        gradients, distance_B = jax.grad(loss, has_aux=True)(found)
        changes, moments = optimizer.update(gradients, moments)
        found = cast(dict[str, Any], optax.apply_updates(found, changes))
        if options.noise:
            found = {**found, "noise": normalized(found["noise"])}
        return found, moments, distance_B

    return update


def _units(w_BxKxD: Any, statistics: LatentStatistics) -> Float[Array, "b k 1 d"]:
    """Return latents as multiples of their deviation around the mean; 0 for constant latents."""
    deviation_1xKx1 = statistics.deviation_K[None, :, None]
    varies = deviation_1xKx1 > 0
    moved_BxKxD = w_BxKxD - statistics.mean_KxD[None]
    return jnp.where(varies, moved_BxKxD / jnp.where(varies, deviation_1xKx1, 1.0), 0.0)[:, :, None]


def _latents(
    config: GeneratorConfig, units: Any, statistics: LatentStatistics
) -> Float[Array, "b k l d"]:
    """Return latents from multiples of their deviation around the mean; labels in w stay."""
    mean, deviation = statistics.mean_KxD[None, :, None], statistics.deviation_K
    searched_D = jnp.arange(config.w_size) < (config.truncated_w_size or config.w_size)
    w = mean + deviation[None, :, None, None] * units * searched_D[None, None, None]
    return jnp.broadcast_to(w, (*w.shape[:2], num_layers(config), w.shape[3]))


def _exploration(
    options: ProjectionOptions, shape: tuple[int, ...], numbers_B: Any, step: Any
) -> Array:
    """Return noise for w; that of an image depends on its number and the step."""
    strength = jnp.square(jnp.maximum(0.0, 1 - step / (0.75 * options.steps)))

    def draw(number: Any) -> Array:
        key = jax.random.fold_in(jax.random.fold_in(seeded_key(0), number), step)
        return jax.random.normal(key, shape[1:])

    return options.exploration * strength * jax.vmap(draw)(numbers_B)


def _learning_rate(options: ProjectionOptions, step: Any) -> Any:
    """Rise in the first twentieth of the steps, and fall by half a cosine in the last quarter."""
    share = step / options.steps
    fall = 0.5 - 0.5 * jnp.cos(math.pi * jnp.minimum(1.0, (1 - share) / 0.25))
    return options.learning_rate * fall * jnp.minimum(1.0, (share + 1 / options.steps) / 0.05)
