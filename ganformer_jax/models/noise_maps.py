"""Noise of single images in place of the fixed noise of a generator."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.models.generator import Generator

if TYPE_CHECKING:
    from jaxtyping import Array, Float


SUFFIX = "/noise/noise"


def noise_shapes(config: GeneratorConfig) -> dict[str, tuple[int, ...]]:
    """Return height and width of the noise of every layer, by its place, computing nothing.

    With the number of images that are merged before them, in layers of a k-GAN.
    """
    z_1xKxD = jax.ShapeDtypeStruct((1, config.num_latents, config.z_size), jnp.float32)
    labels = jax.ShapeDtypeStruct((1, config.label_size), jnp.float32)
    init = functools.partial(Generator(config).init, noise="const")
    shapes: Any = jax.eval_shape(
        init, jax.random.key(0), z_1xKxD, labels if config.label_size else None
    )
    constants: dict[str, Any] = flatten_dict(shapes.get("constants", {}), sep="/")
    return {name: leaf.shape for name, leaf in constants.items() if name.endswith(SUFFIX)}


def noise_maps(variables: Mapping[str, Any], count: int) -> dict[str, Float[Array, "b *k h w"]]:
    """Return the fixed noise of every layer, by its place, for `count` images; none without."""
    fixed: dict[str, Any] = flatten_dict(variables.get("constants", {}), sep="/")
    return {
        name: jnp.broadcast_to(noise, (count, *noise.shape))
        for name, noise in fixed.items()
        if name.endswith(SUFFIX)
    }


def with_noise_maps(
    variables: Mapping[str, Any], maps: Mapping[str, Float[Array, "b *k h w"]]
) -> dict[str, Any]:
    """Return variables of which every image of a batch has noise of its own."""
    if not maps:
        return dict(variables)
    constants = flatten_dict(variables["constants"], sep="/") | dict(maps)
    return {**variables, "constants": unflatten_dict(constants, sep="/")}
