"""Scenes of a GANformer2 in a folder, each with a record; existing images are kept."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from ganformer_jax import visualize
from ganformer_jax.config.ganformer2 import GANformer2Config
from ganformer_jax.experiment.ganformer2.training import COLUMNS, layout_sheet
from ganformer_jax.experiment.sample_files import (
    Batch,
    figure_paths,
    make_records,
    weights_digest,
    write_set,
)
from ganformer_jax.experiment.samples import draw_grid
from ganformer_jax.sampling.planned_scenes import SceneSampler
from ganformer_jax.train.devices import Placement
from ganformer_jax.train.kinds.ganformer2_state import WEIGHTS
from ganformer_jax.train.run_reading import read_kind

GRID = 64
"""Images in the grid, at most: the first ones."""


class LoadedScenes(NamedTuple):
    """The averaged generators of a checkpoint, and its progress in training."""

    config: GANformer2Config
    weights: Mapping[str, Any]
    """Arrays that `SceneSampler` reads, by name."""
    step: int
    images_seen: int


def load_scenes(
    run: pathlib.Path,
    step: int | None = None,
    best: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> LoadedScenes:
    """Load the generators of a run of a GANformer2, as `read_kind` does."""
    read = read_kind(run, "ganformer2", WEIGHTS, step, best, say)
    return LoadedScenes(read.config, read.fields, read.step, read.images_seen)


def write_scenes(
    loaded: LoadedScenes,
    seeds: Sequence[int],
    folder: pathlib.Path,
    placement: Placement,
    batch_size: int = 16,
    *,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Write `<seed>.png` for each seed, `samples.jsonl`, and figures beside the folder.

    Images that an earlier call made with the same weights are kept; processes divide the rest.

    Args:
        loaded: The generators.
        seeds: Seed of each scene.
        folder: Where to write; figures are `<folder>-grid.png` and, of layouts step by step,
            `<folder>-layouts.png`.
        placement: Devices of this process.
        batch_size: Images per batch; rounded up to a multiple of the devices.
        overwrite: Replace files that are not images of this set.
        say: Receives lines for the user.

    Raises:
        UserError: If a file would be replaced, or cannot be written.
    """
    records = make_records(seeds, None, {"weights": weights_digest(loaded.weights)})
    figures = figure_paths(folder, "grid", "layouts")
    sampler, weights = scene_sampler(loaded, placement, batch_size)
    size, channels = loaded.config.execution.resolution, loaded.config.execution.image_channels

    def make(places: Sequence[int]) -> Iterator[Batch]:
        for start in range(0, len(places), sampler.batch_size):
            part = places[start : start + sampler.batch_size]
            yield part, sampler(weights, [seeds[place] for place in part]).images

    def draw() -> None:
        shown = [folder / record["file"] for record in records[:GRID]]
        draw_grid(figures[0], shown, (size, size, channels))
        scenes = sampler(weights, seeds[:COLUMNS])
        sheet = layout_sheet(scenes, loaded.config.planning.segments, COLUMNS)
        visualize.save_png(figures[1], sheet)

    write_set(folder, records, figures, make, draw, channels=channels, overwrite=overwrite, say=say)


def scene_sampler(
    loaded: LoadedScenes, placement: Placement, batch_size: int
) -> tuple[SceneSampler, Mapping[str, Any]]:
    """Return a sampler on these devices, of constant noise, and the weights there."""
    batch = placement.rounded(batch_size)
    weights = jax.device_put(dict(loaded.weights), placement.replicated)
    return SceneSampler(loaded.config, batch, placement.batch, "const"), weights
