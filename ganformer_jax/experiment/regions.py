"""Regions of components in generated images, by one attention layer."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.figures.context import FigureContext
from ganformer_jax.pixels import enlarge, strongest_in_layer
from ganformer_jax.sampling import ImageLatents, Synthesized

if TYPE_CHECKING:
    from jaxtyping import Int


def make_with_attention(context: FigureContext, latents: ImageLatents) -> Synthesized:
    """Make images of latents, and attention maps if the generator has attention."""
    attention = bool(context.config.attended_resolutions)
    synthesizer = dataclasses.replace(context.synthesizer, attention=attention)
    return synthesizer(context.variables, latents)


def component_regions(
    made: Synthesized, layer: int | None = None
) -> Int[np.ndarray, "b h w"] | None:
    """Return the component that each pixel attends to most (`pixels.strongest_in_layer`).

    The result has the size of the images; it is None without attention.

    Args:
        made: Images and their attention.
        layer: Attention layer, from 0, the coarsest; by default the last.

    Raises:
        UserError: If there is no such layer.
    """
    if not made.attention:
        return None
    count = len(made.attention)
    check_layer(count, layer)
    return enlarge(strongest_in_layer(made.attention, layer), made.images.shape[1])


def attention_layers(config: GeneratorConfig) -> int:
    """Return the number of attention layers: two for each resolution, one for the first."""
    first = max(config.base_grid)
    return sum(1 if resolution == first else 2 for resolution in config.attended_resolutions)


def check_layer(count: int, layer: int | None) -> None:
    """Raise `UserError` if there is no such attention layer; `count` is their number."""
    if layer is not None and not 0 <= layer < count:
        has = f"the attention layers of this generator are 0 to {count - 1}"
        raise UserError(f"--layer {layer}: {has if count else 'this generator has no attention'}")
