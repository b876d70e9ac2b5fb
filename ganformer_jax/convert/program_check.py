"""Comparison of the images of a generator's programs with those of the generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.convert.programs import PREFIX
from ganformer_jax.models import broadcast_layers, num_layers, truncate_w
from ganformer_jax.models.by_seed import draw_z, generate_by_seed
from ganformer_jax.pixels import to_uint8

SEEDS, PSI = 2, 0.7


def check_inputs(config: GeneratorConfig) -> dict[str, np.ndarray]:
    """Return inputs of the program `sample` by name, in order."""
    size = config.label_size
    labels = np.eye(size, dtype=np.float32)[np.arange(SEEDS) % size] if size else None
    if count := config.text.vocabulary:  # captions of different lengths, padded at the end only
        tokens = 1 + np.arange(size) % max(count - 1, 1)
        labels = np.stack([tokens * (np.arange(size) < size - i) for i in range(SEEDS)])
        labels = labels.astype(np.float32)
    return {
        "seeds": np.arange(SEEDS, dtype=np.uint32),
        **({} if labels is None else {"labels": labels}),
        "truncation_psi": np.asarray(PSI, np.float32),
    }


def expected_images(
    config: GeneratorConfig,
    variables: Mapping[str, Any],
    noise: str,
    inputs: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Return the generator's own images for these inputs, uint8 [B, H, W, C]."""

    @jax.jit
    @jax.default_matmul_precision("highest")
    def images(variables: Any, seeds_B: Any, labels_BxY: Any, psi: Any) -> jax.Array:
        return to_uint8(generate_by_seed(config, variables, seeds_B, labels_BxY, noise, psi)[0])

    given = inputs["seeds"], inputs.get("labels"), inputs["truncation_psi"]
    return np.asarray(images(variables, *given))


def largest_differences(
    config: GeneratorConfig,
    noise: str,
    programs: Mapping[str, Callable[..., dict[str, Any]]],
    weights: Mapping[str, Any],
    inputs: Mapping[str, np.ndarray],
    expected: np.ndarray,
) -> dict[str, int]:
    """Run each program; return the largest difference of its images in levels of 255.

    All programs generate the same images: `generate` from the z of the seeds, `synthesize` from the
    w that `sample` returns.
    """
    seeds_B, *rest = inputs.values()
    noise_seeds = (seeds_B,) if noise == "random" else ()
    z_BxKxD = jax.jit(draw_z, static_argnums=0)(config, seeds_B)
    sampled = programs["sample"](weights, seeds_B, *rest)
    w_BxKxLxD = broadcast_layers(sampled["w"], num_layers(config))
    psi = jnp.asarray(inputs["truncation_psi"])
    truncated = truncate_w(config, w_BxKxLxD, weights[PREFIX + "moments/w_average"], psi)
    generated = programs["generate"](weights, z_BxKxD, *rest, *noise_seeds)
    synthesized = programs["synthesize"](weights, truncated, *noise_seeds)
    found = {
        "sample": np.asarray(sampled["images"]),
        "generate": to_uint8(np.asarray(generated["images"])),
        "synthesize": to_uint8(np.asarray(synthesized["images"])),
    }
    return {name: _levels(images, expected) for name, images in found.items()}


def _levels(images: np.ndarray, expected: np.ndarray) -> int:
    if images.shape != expected.shape:
        return 255
    return int(np.abs(images.astype(np.int32) - expected).max())
