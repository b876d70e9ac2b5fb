"""The images themselves."""

from __future__ import annotations

from collections.abc import Iterator

from ganformer_jax.experiment.figures.context import CELL, FigureContext, Still
from ganformer_jax.visualize import image_grid


def samples(context: FigureContext) -> Iterator[Still]:
    """Draw all images in a grid, small ones enlarged."""
    images = context.images(context.latents)
    yield Still("samples", image_grid(images, scale=max(1, CELL // images.shape[2])))
