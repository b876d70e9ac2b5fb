"""Scenes of a GANformer2 in a folder, each with a record; existing images are kept."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ganformer_jax import visualize
from ganformer_jax.config.ganformer2 import GANformer2Config
from ganformer_jax.experiment.ganformer2 import COLUMNS, layout_sheet, segment_palette
from ganformer_jax.experiment.sample_files import (
    Batch,
    figure_paths,
    make_records,
    weights_digest,
    write_set,
)
from ganformer_jax.pixels import as_rgb
from ganformer_jax.sampling.planned_scenes import PlannedScenes, SceneSampler, SegmentEdit
from ganformer_jax.train.devices import Placement
from ganformer_jax.train.kinds.ganformer2_state import WEIGHTS
from ganformer_jax.train.run_reading import read_kind

BATCH = 16
"""Images to edit at once."""
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

    def make(places: Sequence[int]) -> Iterator[Batch]:
        for start in range(0, len(places), batch_size):
            part = places[start : start + batch_size]
            yield part, sampler(weights, [seeds[place] for place in part]).images

    def draw() -> None:
        shown = sampler(weights, seeds[:GRID])
        visualize.save_png(figures[0], visualize.image_grid(shown.images, scale=None))
        sheet = layout_sheet(shown, loaded.config.planning.segments, COLUMNS)
        visualize.save_png(figures[1], sheet)

    channels = loaded.config.execution.image_channels
    write_set(folder, records, figures, make, draw, channels=channels, overwrite=overwrite, say=say)


def scene_sampler(
    loaded: LoadedScenes, placement: Placement, batch_size: int
) -> tuple[SceneSampler, Mapping[str, Any]]:
    """Return a sampler on these devices, and the weights there."""
    batch = placement.rounded(batch_size)
    weights = jax.device_put(dict(loaded.weights), placement.replicated)
    return SceneSampler(loaded.config, batch, placement.batch), weights


class SegmentChange(NamedTuple):
    """Mean absolute changes by an edit of one segment, in levels of 0 to 255, of each image."""

    inside: np.ndarray
    """In the segment, before and after; NaN for images without it."""
    outside: np.ndarray
    """In the rest of the image."""


def measure_edit(before: PlannedScenes, after: PlannedScenes, edit: SegmentEdit) -> SegmentChange:
    """Return how much an edit changes inside and outside its segment.

    Args:
        before: Scenes without the edit.
        after: The same with it.
        edit: The edit.
    """
    change = np.abs(after.images.astype(np.float32) - before.images).mean(-1)
    region = before.layouts[:, -1] == edit.segment
    where = region | (after.layouts[:, -1] == edit.segment)
    there = region.any((1, 2))

    def mean(inside: np.ndarray) -> np.ndarray:
        total = np.where(inside, change, 0).sum((1, 2)) / np.maximum(inside.sum((1, 2)), 1)
        return np.where(there, total, np.nan)

    return SegmentChange(mean(where), mean(~where))


def write_edited(
    loaded: LoadedScenes,
    edit: SegmentEdit,
    seeds: Sequence[int],
    folder: pathlib.Path,
    placement: Placement,
) -> str:
    """Write `<seed>.png` of edited scenes and `sheet.png` of the first ones; return what changed.

    Args:
        loaded: The generators.
        edit: The edit.
        seeds: Seed of each scene.
        folder: Where to write.
        placement: Devices of this process.
    """
    sampler, weights = scene_sampler(loaded, placement, BATCH)
    before, after = sampler(weights, seeds), sampler(weights, seeds, edit)
    for seed, image in zip(seeds, after.images, strict=True):
        visualize.save_png(folder / f"{seed:06d}.png", image)
    palette = segment_palette(loaded.config.planning.segments)
    rows, count = [], min(COLUMNS, len(seeds))
    for scenes in (before, after):
        rows += [palette[scenes.layouts[:count, -1]], as_rgb(scenes.images[:count])]
    names = ["layout", "image", "edited layout", "edited image"]
    sheet = visualize.image_grid(np.concatenate(rows), count, scale=None, row_headings=names)
    visualize.save_png(folder / "sheet.png", sheet)
    change = measure_edit(before, after, edit)
    there, written = ~np.isnan(change.inside), f"{_images(len(seeds))} in {folder}"
    if not there.any():
        return f"no image has segment {edit.segment}; {written}"
    inside, outside = (np.median(each[there]) for each in change)
    return (
        f"median change of {_images(there.sum())} with segment {edit.segment}: {inside:.1f} levels "
        f"inside, {outside:.1f} outside; {written}"
    )


def _images(count: int) -> str:
    return "one image" if count == 1 else f"{count} images"
