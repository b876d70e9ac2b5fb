"""Attention of the images: of the finest layers, as segments, and of all layers and heads."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ganformer_jax.experiment.figures.context import SHOWN, FigureContext, Still, lay_out
from ganformer_jax.pixels import as_rgb, enlarge
from ganformer_jax.visualize import (
    attention_figure,
    attention_overlay,
    attention_segmentation,
    component_legend,
    finest_attention,
)


def attention(context: FigureContext) -> Iterator[Still]:
    """Draw each image, its components, both together, and a map for each component."""
    context.need_attention()
    made = context.first.made
    figure = attention_figure(made.images, made.attention, SHOWN)
    yield Still("attention", _with_legend(figure, context))


def segments(context: FigureContext) -> Iterator[Still]:
    """Draw the component that each pixel attends to most, alone and over the image."""
    context.need_attention()
    made, rows = context.first.made, []
    for image, found in zip(as_rgb(made.images), finest_attention(made.attention), strict=True):
        found = enlarge(found, image.shape[0])
        rows.append([image, attention_segmentation(found, hard=True)])
        rows[-1] += [attention_overlay(image, found, hard=True), attention_overlay(image, found)]
    figure = lay_out(rows, ["image", "segments", "over image", "mixed"])
    yield Still("segments", _with_legend(figure, context))


def layers(context: FigureContext) -> Iterator[Still]:
    """Draw the components of every layer and head, from coarse to fine."""
    context.need_attention()
    heads = context.config.attention.heads
    made = context.first.made
    height = made.images.shape[1]
    headings, columns = ["image"], [as_rgb(made.images)]
    for layer in made.attention:
        rows, cols = layer.shape[-2:]
        for head in range(heads):
            headings.append(f"{rows}x{cols}" + (f" {head + 1}" if heads > 1 else ""))
            maps = enlarge(layer[:, :, head], height)
            columns.append(np.stack([attention_segmentation(one) for one in maps]))
    figure = lay_out(list(zip(*columns, strict=True)), headings)
    yield Still("attention-layers", _with_legend(figure, context))


def _with_legend(figure: np.ndarray, context: FigureContext) -> np.ndarray:
    """Put the legend of components under a figure."""
    legend = component_legend(context.config.components, figure.shape[1])
    missing = legend.shape[1] - figure.shape[1]
    figure = np.pad(figure, ((0, 0), (0, max(missing, 0)), (0, 0)), constant_values=255)
    return np.concatenate([figure, legend])
