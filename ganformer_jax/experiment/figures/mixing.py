"""Mixtures of images: layers or components of another image, and components removed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ganformer_jax.experiment.figures.cells import CHANGE, change_cell, region_cell
from ganformer_jax.experiment.figures.context import FigureContext, Still, Unsuitable, lay_out
from ganformer_jax.pixels import as_rgb, enlarge
from ganformer_jax.sampling import layer_thirds, swap_components, swap_layers
from ganformer_jax.visualize import attention_segments, finest_attention

SOURCES, ROWS = 6, 3


def layer_mixing(context: FigureContext) -> Iterator[Still]:
    """Give the first image coarse, middle or fine layers of the others (arXiv 1812.04948, 3.1)."""
    context.need_images(2)
    w_BxKxLxD, made = context.latents.w_BxKxLxD[: 1 + SOURCES], context.first.made.images
    rows = [[np.full_like(made[0], 255), *made[1 : 1 + SOURCES]]]
    first, names = context.latents.take([0]), ["from"]
    for name, layers in layer_thirds(w_BxKxLxD.shape[2]).items():
        mixed = swap_layers(w_BxKxLxD[:1], w_BxKxLxD[1:], layers)
        rows.append([made[0], *context.images(first.with_w(mixed))])
        span = f"{layers[0] + 1}-{layers[-1] + 1}" if layers else "none"
        names.append(f"{name}: layers {span}")
    yield Still("mixing-layers", lay_out(rows, row_headings=names))


def component_mixing(context: FigureContext) -> Iterator[Still]:
    """Give the first image one component of each of the others."""
    components = context.components()
    context.need_images(2)
    w_BxKxLxD, made = context.latents.w_BxKxLxD[: 1 + SOURCES], as_rgb(context.first.made.images)
    regions = _regions(context)
    rows = [[np.full_like(made[0], 255), made[0], *made[1 : 1 + SOURCES]]]
    first = context.latents.take([0])
    for component in components:
        mixed = swap_components(w_BxKxLxD[:1], w_BxKxLxD[1:], [component])
        images = as_rgb(context.images(first.with_w(mixed)))
        rows.append([regions[component], made[0], *images])
    names = ["from", *(f"component {component + 1}" for component in components)]
    headings = ["region", "image", *[""] * (len(rows[0]) - 2)]
    yield Still("mixing-components", lay_out(rows, headings, names))


def removal(context: FigureContext) -> Iterator[Still]:
    """Hide one component after the other from attention, and draw what changes."""
    components = context.components()
    if context.config.components < 2 and not context.config.attention.places:
        raise Unsuitable("a single component cannot be hidden")
    kept = context.latents.take(range(min(ROWS, len(context.latents))))
    made = as_rgb(context.first.made.images[: len(kept)])
    try:
        hidden = [kept.without(component) for component in components]
    except ValueError as error:
        raise Unsuitable(str(error)) from error
    without = [as_rgb(context.images(latents)) for latents in hidden]
    rows = []
    for row, image in enumerate(made):
        rows.append([image, *(images[row] for images in without)])
        rows.append(
            [change_cell(image, image), *(change_cell(image, images[row]) for images in without)]
        )
    headings = ["image", *(f"without {component + 1}" for component in components)]
    names = ["", CHANGE] * len(made)
    yield Still("removal", lay_out(rows, headings, names))


def _regions(context: FigureContext) -> list[np.ndarray]:
    """Return, for each component, the pixels of the first image that attend most to it."""
    maps = finest_attention(context.first.made.attention)[0]
    image = as_rgb(context.first.made.images[:1])[0]
    segments = enlarge(attention_segments(maps), image.shape[0])
    return [region_cell(image, segments == k) for k in range(len(maps))]
