"""Files of a projection: latents, a figure, and distances at each step."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ganformer_jax.experiment.figures.context import lay_out
from ganformer_jax.experiment.latents.projection import Images, Projected, Projector
from ganformer_jax.experiment.targets import Targets
from ganformer_jax.files import json_line, write_atomically
from ganformer_jax.pixels import as_rgb, enlarge
from ganformer_jax.sampling import ImageLatents, layer_thirds, save_latents, swap_layers
from ganformer_jax.visualize import (
    attention_segmentation,
    finest_attention,
    projection_curve,
    save_png,
)

FILES = ("latents.npz", "projection.png", "distances.png", "distances.csv", "projected.jsonl")
SHOWN = 16
"""Rows of the figure, at most."""


def write_projection(
    found: Projected,
    targets: Targets,
    projector: Projector,
    folder: pathlib.Path,
    weights: str = "",
) -> list[pathlib.Path]:
    """Write the `FILES` of a projection.

    Args:
        found: Result of `project_images`.
        targets: The images, and their names.
        projector: The generator and settings that found them.
        folder: Where to write; files of these names are replaced.
        weights: Checksum of the generator.

    Raises:
        UserError: If a file cannot be written.
    """
    paths = [folder / name for name in FILES]
    records = list(_records(found, targets))
    latents = dataclasses.replace(found.latents, facts=tuple(records))
    save_latents(paths[0], latents, weights, "const")
    save_png(paths[1], _figure(found, targets.images, projector))
    save_png(paths[2], projection_curve(found.distances_SxB, found.mean_B, found.nearest_B))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["step", *targets.names])
    writer.writerows([step + 1, *row] for step, row in enumerate(found.distances_SxB.tolist()))
    write_atomically(paths[3], text.getvalue())
    write_atomically(paths[4], "".join(map(json_line, records)))
    return paths


def summary(found: Projected) -> str:
    """Return a line with the median distances."""
    medians = {"projections": found.distance_B, "the mean image": found.mean_B}
    if len(found.nearest_B):
        medians["the nearest samples"] = found.nearest_B
    parts = [f"{np.median(values):.4f} of {name}" for name, values in medians.items()]
    return f"median distance: {', '.join(parts)}"


def _records(found: Projected, targets: Targets) -> Iterator[dict[str, Any]]:
    for row, name in enumerate(targets.names):
        record: dict[str, Any] = {"target": name, "distance": float(found.distance_B[row])}
        record["distance_of_mean_image"] = float(found.mean_B[row])
        if len(found.nearest_B):
            record["distance_of_nearest_sample"] = float(found.nearest_B[row])
            record["nearest_seed"] = int(found.nearest_seeds_B[row])
        yield record


def _figure(found: Projected, targets: Images, projector: Projector) -> np.ndarray:
    """Draw target, mean image, nearest sample, projection, its components, and an edit."""
    count = min(SHOWN, len(targets))
    columns = [("target", targets), ("mean", found.mean_image.repeat(count, 0))]
    if len(found.nearest_B):
        columns.append(("nearest sample", found.nearest_images))
    columns.append(("projection", found.images))
    latents, config = found.latents.take(range(count)), projector.synthesizer.config
    if config.attended_resolutions:
        columns.append(("components", _components(projector, latents)))
    columns.append(_edit(projector, latents))
    cells = [as_rgb(images[:count]) for _, images in columns]
    return lay_out(list(zip(*cells, strict=True)), [name for name, _ in columns])


def _components(projector: Projector, latents: ImageLatents) -> np.ndarray:
    synthesizer = dataclasses.replace(projector.synthesizer, attention=True)
    made = synthesizer(projector.variables, latents)
    maps = finest_attention(made.attention)
    colors = np.stack([attention_segmentation(one) for one in maps])
    return enlarge(colors, made.images.shape[1], 1)


def _edit(projector: Projector, latents: ImageLatents) -> tuple[str, np.ndarray]:
    """Give each image the fine layers of the next; move a single image halfway to the mean."""
    make = functools.partial(projector.synthesizer, projector.variables)
    w_BxKxLxD = latents.w_BxKxLxD
    if len(latents) == 1:
        mean = projector.statistics.mean_KxD[None, :, None]
        half = dataclasses.replace(latents, w_BxKxLxD=(w_BxKxLxD + mean) / 2)
        return "halfway to mean", make(half).images
    fine = layer_thirds(w_BxKxLxD.shape[2])["fine"]
    mixed = swap_layers(w_BxKxLxD, np.roll(w_BxKxLxD, -1, 0), fine)
    return "colors of next", make(dataclasses.replace(latents, w_BxKxLxD=mixed)).images
