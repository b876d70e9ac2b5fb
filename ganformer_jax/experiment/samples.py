"""Samples of a generator in a folder, each with a record; existing images are kept."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from PIL import Image

from ganformer_jax import visualize
from ganformer_jax.errors import UserError, one_line
from ganformer_jax.experiment.sample_files import (
    Batch,
    figure_paths,
    in_turn,
    make_records,
    weights_digest,
    write_set,
)
from ganformer_jax.sampling import Sampler
from ganformer_jax.train.devices import Placement

GRID = 64
"""Images in the grid, at most: the first ones."""


@dataclasses.dataclass(frozen=True)
class SampleSet:
    """A set of images to make.

    Attributes:
        seeds: Seed of each image.
        labels: Class number or condition of each image; None without labels.
        facts: Entries of each image's own record, such as its class; None for none.
        truncation_psi: Truncation psi.
        truncation_cutoff: Number of layers to truncate, from the first; None for all.
    """

    seeds: Sequence[int]
    labels: Sequence[Any] | None = None
    facts: Sequence[Mapping[str, Any]] | None = None
    truncation_psi: float = 1.0
    truncation_cutoff: int | None = None

    def arguments(self, places: Sequence[int]) -> tuple[Any, ...]:
        """Return the arguments of a sampler after the variables, for the images at these places."""
        labels = None if self.labels is None else [self.labels[place] for place in places]
        seeds = [self.seeds[place] for place in places]
        return seeds, labels, self.truncation_psi, self.truncation_cutoff


def write_samples(
    wanted: SampleSet,
    sampler: Sampler,
    variables: Mapping[str, Any],
    placement: Placement,
    folder: pathlib.Path,
    *,
    columns: int | None = None,
    attention_rows: int = 0,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Write `<seed>.png` for each seed, `samples.jsonl`, and figures beside the folder.

    Images are written as they are made, so memory does not grow with their number. Images that an
    earlier call made with the same settings and weights are kept; processes divide the rest.

    Args:
        wanted: The images.
        sampler: Its batch is divided over the placement.
        variables: Variables of the generator.
        placement: Devices of this process.
        folder: Folder to write to; figures are `<folder>-grid.png` and `<folder>-attention.png`.
        columns: Columns of the grid.
        attention_rows: Images whose attention is drawn; 0 draws none.
        overwrite: Replace files that are not images of this set.
        say: Receives lines for the user.

    Raises:
        UserError: If a file would be replaced, or cannot be written.
    """
    facts = {
        "truncation_psi": wanted.truncation_psi,
        "truncation_cutoff": wanted.truncation_cutoff,
        "noise": sampler.noise,
        "weights": weights_digest(variables),
    }
    config, records = sampler.config, make_records(wanted.seeds, wanted.facts, facts)
    figures = figure_paths(folder, "grid", *(["attention"] if attention_rows else []))
    variables = jax.device_put(variables, placement.replicated)

    def make(places: Sequence[int]) -> Iterator[Batch]:
        return in_turn(places, sampler.stream(variables, *wanted.arguments(places)))

    def draw() -> None:
        shown = [folder / record["file"] for record in records[:GRID]]
        draw_grid(figures[0], shown, (*config.image_size, config.image_channels), columns)
        if attention_rows:
            samples = sampler(variables, *wanted.arguments(range(len(records))[:attention_rows]))
            figure = visualize.attention_figure(samples.images, samples.attention, attention_rows)
            visualize.save_png(figures[1], figure)

    channels = config.image_channels
    write_set(folder, records, figures, make, draw, channels=channels, overwrite=overwrite, say=say)


def draw_grid(
    path: pathlib.Path,
    images: Sequence[pathlib.Path],
    shape: tuple[int, int, int],
    columns: int | None = None,
) -> None:
    """Draw a grid of image files, with small images enlarged.

    Args:
        path: Where to draw them.
        images: Their files.
        shape: Height, width and channels of the images.
        columns: Columns of the grid; None for about as many as rows.

    Raises:
        UserError: If an image cannot be read or has another shape, because it was changed since.
    """
    stored = (*shape[:2], shape[2] if shape[2] in (1, 4) else 3)  # what `save_png` writes
    shown = np.stack([_read(image, stored) for image in images])
    visualize.save_png(path, visualize.image_grid(shown, columns, scale=None))


def _read(path: pathlib.Path, shape: tuple[int, int, int]) -> np.ndarray:
    advice = "delete it, and run the command again"
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image)
    except Exception as error:  # Pillow's readers raise errors of many types
        raise UserError(f"cannot read {path} ({one_line(error)}): {advice}") from error
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.shape != shape or pixels.dtype != np.uint8:
        raise UserError(
            f"{path} is {pixels.dtype} {list(pixels.shape)}, not uint8 {list(shape)}: {advice}"
        )
    return pixels
