"""Figures of the effects of noise and truncation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from ganformer_jax.experiment.figures.context import FigureContext, Still, Unsuitable, lay_out
from ganformer_jax.models import truncate_w
from ganformer_jax.pixels import as_rgb

ROWS, DRAWS, SHOWN = 4, 32, 3
PSI = (-1.0, -0.5, 0.0, 0.25, 0.5, 0.7, 0.85, 1.0)


def noise(context: FigureContext) -> Iterator[Still]:
    """Draw images of the same latents with other noise, and mean and deviation of 32 of them."""
    if not context.config.synthesis.noise:
        raise Unsuitable("this generator has no noise")
    synthesizer = dataclasses.replace(context.synthesizer, noise="random")
    rows = []
    for row in range(min(ROWS, len(context.latents))):
        latents = context.latents.take([row] * DRAWS)
        latents = dataclasses.replace(latents, noise_seeds_B=np.arange(DRAWS, dtype=np.uint32))
        images = as_rgb(synthesizer(context.variables, latents).images).astype(np.float32)
        deviation = images.std(0).mean(-1, keepdims=True)
        rows.append([*images[:SHOWN], images.mean(0), np.broadcast_to(deviation, images[0].shape)])
    largest = max(row[-1].max() for row in rows) or 1.0
    for row in rows:
        row[-1] = row[-1] * (255 / largest)
    cells = [[np.round(image).astype(np.uint8) for image in row] for row in rows]
    headings = [*(f"noise {i + 1}" for i in range(SHOWN)), "mean", "deviation"]
    figure = lay_out(cells, headings, [f"white: {largest:.1f}", *[""] * (len(rows) - 1)])
    yield Still("noise", figure)


def truncation(context: FigureContext) -> Iterator[Still]:
    """Draw the images at other values of psi; 0 is the mean image.

    Latents of a file, which may be truncated already, are unchanged at psi 1.
    """
    kept = context.latents.take(range(min(ROWS, len(context.latents))))
    w_BxKxLxD, average_D = kept.w_BxKxLxD, context.variables["moments"]["w_average"]
    if context.z_BxKxD is not None:
        labels = None if context.labels is None else list(context.labels)[: len(kept)]
        z_BxKxD = context.z_BxKxD[: len(kept)]
        w_BxKxLxD = context.synthesizer.map(context.variables, z_BxKxD, labels)
    config, cutoff = context.config, context.truncation_cutoff
    columns = []
    for psi in PSI:
        truncated = truncate_w(config, jnp.asarray(w_BxKxLxD), average_D, psi, cutoff)
        columns.append(context.images(kept.with_w(np.asarray(truncated))))
    name = "psi" if context.z_BxKxD is not None else "w times"
    headings = [f"{name} {psi:g}" for psi in PSI]
    yield Still("truncation", lay_out(list(zip(*columns, strict=True)), headings))
