"""Images by seed: image i depends on seed i alone, as pure functions of the variables."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.models.generator import Generator
from ganformer_jax.random_keys import seeded_key

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


def draw_z(config: GeneratorConfig, seeds_B: Int[Array, " b"]) -> Float[Array, "b k d"]:
    """Draw normally distributed latents, those of each image by its seed."""
    key = seeded_key(0)

    def draw(seed: jax.Array) -> Float[Array, "k d"]:
        z_key = jax.random.split(jax.random.fold_in(key, seed))[0]
        return jax.random.normal(z_key, (config.num_latents, config.z_size))

    return jax.vmap(draw)(seeds_B)


def apply_sampling(
    config: GeneratorConfig, variables: Mapping[str, Any], *inputs: Any, **settings: Any
) -> Any:
    """Apply a generator as for samples: float32 activations, and noise by seed if it is random.

    Arguments after the variables are those of `Generator`.
    """
    generator = Generator(dataclasses.replace(config, dtype="float32"))
    rngs = {"noise": seeded_key(0)}
    return generator.apply(variables, *inputs, **settings, rngs=rngs)


def generate_by_seed(
    config: GeneratorConfig,
    variables: Mapping[str, Any],
    seeds_B: Int[Array, " b"],
    labels_BxY: Float[Array, "b y"],
    noise: str,
    psi: Float[Array, ""],
    cutoff: Int[Array, ""] | None = None,
) -> tuple[Float[Array, "b h w c"], dict[str, Any]]:
    """Generate images by seed.

    Args:
        config: Config of the generator.
        variables: Variables of the generator.
        seeds_B: Seed of each image, uint32.
        labels_BxY: One-hot labels or conditions; not read without labels.
        noise: "random", "const" or "none".
        psi: Truncation psi.
        cutoff: Number of layers to truncate, from the first; None for all.

    Returns:
        Images and a dict, as `Generator` returns them.
    """
    return apply_sampling(
        config,
        variables,
        draw_z(config, seeds_B),
        labels_BxY if config.label_size else None,
        truncation_psi=psi,
        truncation_cutoff=cutoff,
        noise=noise,
        noise_seeds_B=seeds_B,
    )
