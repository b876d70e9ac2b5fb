"""What noise and truncation change."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from ganformer_jax.experiment.figures.context import FigureContext, Still, Unsuitable, lay_out
from ganformer_jax.pixels import as_rgb

ROWS, DRAWS, SHOWN = 4, 32, 3
PSI = (-1.0, -0.5, 0.0, 0.25, 0.5, 0.7, 0.85, 1.0)


def noise(context: FigureContext) -> Iterator[Still]:
    """Draw the noise again for the same latents: mean and standard deviation of 32 images."""
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
    """Draw the images at other values of psi; 0 is the mean image."""
    kept = context.latents.take(range(min(ROWS, len(context.latents))))
    w_BxKxLxD, average_D = kept.w_BxKxLxD, np.asarray(context.variables["moments"]["w_average"])
    if context.z_BxKxD is not None:
        labels = None if context.labels is None else list(context.labels)[: len(kept)]
        z_BxKxD = context.z_BxKxD[: len(kept)]
        w_BxKxLxD = context.synthesizer.map(context.variables, z_BxKxD, labels)
    is_own = np.ones((w_BxKxLxD.shape[1], 1, 1), bool)
    is_own[kept.components : -1] = False  # words of captions stay
    columns = []
    for psi in PSI:
        moved_BxKxLxD = average_D + np.float32(psi) * (w_BxKxLxD - average_D)
        moved_BxKxLxD = np.where(is_own, moved_BxKxLxD, w_BxKxLxD)
        columns.append(context.images(kept.with_w(moved_BxKxLxD)))
    yield Still(
        "truncation", lay_out(list(zip(*columns, strict=True)), [f"psi {psi:g}" for psi in PSI])
    )
