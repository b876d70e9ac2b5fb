"""Files of an edit of a GANformer2's segment: the images, a sheet, and what changed."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ganformer_jax import visualize
from ganformer_jax.experiment.ganformer2.scene_files import LoadedScenes, scene_sampler
from ganformer_jax.experiment.ganformer2.training import COLUMNS, segment_palette
from ganformer_jax.experiment.sample_files import write_images
from ganformer_jax.files import json_line, write_atomically
from ganformer_jax.pixels import as_rgb
from ganformer_jax.sampling.planned_scenes import PlannedScenes, SegmentEdit
from ganformer_jax.train.devices import Placement

BATCH = 16
"""Images to edit at once."""
SHEET_FILE, TABLE_FILE = "sheet.png", "edits.jsonl"


class SegmentChange(NamedTuple):
    """Mean absolute changes by an edit of one segment, in levels of 0 to 255, of each image.

    NaN for images without the segment, or where it covers all pixels before or after.
    """

    inside: np.ndarray
    """In the segment, before and after."""
    outside: np.ndarray
    """In the rest of the image."""
    everywhere: np.ndarray
    """In the whole image; a number for all images."""


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
    there = region.any((1, 2)) & ~where.all((1, 2))

    def mean(inside: np.ndarray) -> np.ndarray:
        total = np.where(inside, change, 0).sum((1, 2)) / np.maximum(inside.sum((1, 2)), 1)
        return np.where(there, total, np.nan)

    return SegmentChange(mean(where), mean(~where), change.mean((1, 2)))


def write_edited(
    loaded: LoadedScenes,
    edit: SegmentEdit,
    seeds: Sequence[int],
    folder: pathlib.Path,
    placement: Placement,
) -> str:
    """Write edited scenes, a sheet of the first ones and `edits.jsonl`; return what changed.

    Args:
        loaded: The generators.
        edit: The edit.
        seeds: Seed of each scene, whose image is `<seed>.png`.
        folder: Where to write; files of these names are replaced.
        placement: Devices of this process.

    Raises:
        UserError: If a file cannot be written.
    """
    sampler, weights = scene_sampler(loaded, placement, BATCH)
    names = [f"{seed:06d}.png" for seed in seeds]
    shown: list[PlannedScenes] = []
    changes: list[SegmentChange] = []

    def batches() -> Iterator[tuple[list[pathlib.Path], np.ndarray]]:
        for start in range(0, len(seeds), sampler.batch_size):
            rows = slice(start, start + sampler.batch_size)
            before, after = sampler(weights, seeds[rows]), sampler(weights, seeds[rows], edit)
            shown.extend([] if shown else [before, after])
            changes.append(measure_edit(before, after, edit))
            yield [folder / name for name in names[rows]], after.images

    write_images(batches(), len(seeds))
    change = SegmentChange(*map(np.concatenate, zip(*changes, strict=True)))
    visualize.save_png(folder / SHEET_FILE, _sheet(loaded, shown))
    records = _records(names, seeds, edit, change)
    write_atomically(folder / TABLE_FILE, "".join(map(json_line, records)))
    return _summary(edit, change, folder)


def _sheet(loaded: LoadedScenes, shown: Sequence[PlannedScenes]) -> np.ndarray:
    """Draw layouts and images of the first scenes, before and after."""
    palette = segment_palette(loaded.config.planning.segments)
    rows, count = [], min(COLUMNS, len(shown[0].images))
    for scenes in shown:
        rows += [palette[scenes.layouts[:count, -1]], as_rgb(scenes.images[:count])]
    names = ["layout", "image", "edited layout", "edited image"]
    return visualize.image_grid(np.concatenate(rows), count, scale=None, row_headings=names)


def _records(
    files: Sequence[str], seeds: Sequence[int], edit: SegmentEdit, change: SegmentChange
) -> Iterator[dict[str, Any]]:
    """Yield the facts about each image; what is not defined is NaN."""
    for row, (file, seed) in enumerate(zip(files, seeds, strict=True)):
        record: dict[str, Any] = {"file": file, "seed": int(seed), "edits": [_words(edit)]}
        record["change"] = float(change.everywhere[row])
        for name in ("inside", "outside"):
            record[name] = float(getattr(change, name)[row])
        yield record


def _words(edit: SegmentEdit) -> str:
    """Describe an edit."""
    done = [f"remove segment {edit.segment}"] if edit.remove else []
    if edit.style_seed is not None:
        done.append(f"swap segment {edit.segment} with seed {edit.style_seed}")
    if edit.down or edit.right:
        done.append(f"move segment {edit.segment} {edit.down:+d} {edit.right:+d} pixels")
    return ", ".join(done)


def _summary(edit: SegmentEdit, change: SegmentChange, folder: pathlib.Path) -> str:
    """Return a line with the median changes."""
    there, written = ~np.isnan(change.inside), f"{_images(len(change.inside))} in {folder}"
    if not there.any():
        return f"no image has segment {edit.segment}; {written}"
    inside, outside = (np.median(each[there]) for each in (change.inside, change.outside))
    return (
        f"median change of {_images(there.sum())} with segment {edit.segment}: {inside:.1f} levels "
        f"inside, {outside:.1f} outside; {written}"
    )


def _images(count: int) -> str:
    return "one image" if count == 1 else f"{count} images"
