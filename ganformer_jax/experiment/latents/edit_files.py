"""Files of an edit: the images, a sheet, the latents, and what changed."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ganformer_jax.directions import property_names, region_properties
from ganformer_jax.experiment.figures.cells import CHANGE, change_cell, region_cell
from ganformer_jax.experiment.figures.context import FigureContext, lay_out
from ganformer_jax.experiment.latents.editing import LatentEdit, region_of
from ganformer_jax.experiment.regions import make_with_attention
from ganformer_jax.experiment.sample_files import write_images
from ganformer_jax.files import json_line, write_atomically
from ganformer_jax.metrics.edits import edit_changes, pixel_change
from ganformer_jax.pixels import as_rgb
from ganformer_jax.sampling import Synthesized, save_latents
from ganformer_jax.visualize import save_png

if TYPE_CHECKING:
    from jaxtyping import Bool, UInt8

LATENTS_FILE, SHEET_FILE, TABLE_FILE = "latents.npz", "edits.png", "edits.jsonl"
SHOWN = 16
"""Rows of the sheet, at most."""
SheetRow = tuple[str, list[np.ndarray]]
"""Heading and cells, uint8 [H, W, 3] each."""


class EditResult(NamedTuple):
    """A batch of images before and after an edit, and what changed.

    Attributes:
        before: Images before it.
        after: Images after it.
        regions_BxHxW: The component's region before it; None of an edit of other latents.
        records: Facts about each image, as JSON values.
    """

    before: Synthesized
    after: Synthesized
    regions_BxHxW: Bool[np.ndarray, "b h w"] | None
    records: list[dict[str, Any]]


def apply_edit(
    context: FigureContext, edit: LatentEdit, layer: int | None = None
) -> Iterator[EditResult]:
    """Make the images of an edit, batch by batch, and measure what changed.

    Args:
        context: The generator and the images before the edit.
        edit: The edit.
        layer: Attention layer of the regions, from 0; by default the last.
    """
    start = 0
    for some in context.batches():
        rows = range(start, start + len(some.latents))
        yield _apply(some, edit.take(rows), layer, start)
        start = rows.stop


def _apply(context: FigureContext, edit: LatentEdit, layer: int | None, start: int) -> EditResult:
    """Make and measure one batch, whose first image has this number."""
    before, after = context.made, make_with_attention(context, edit.latents)
    change_BxHxW = pixel_change(before.images, after.images)
    known = edit.latents.facts or [{}] * len(edit.latents)
    records = [{**one, **more} for one, more in zip(known, edit.facts, strict=True)]
    for record, change_HxW in zip(records, change_BxHxW, strict=True):
        record["change"] = float(change_HxW.mean())
    if edit.component is None:
        return EditResult(before, after, None, records)
    regions_BxHxW = region_of(before, edit.component, layer)
    regions_after = region_of(after, edit.component, layer)
    changes = edit_changes(change_BxHxW, regions_BxHxW, first=start)
    was_BxA = region_properties(before.images, regions_BxHxW)
    is_BxA = region_properties(after.images, regions_after)
    names = property_names(context.config.image_channels)
    for row, record in enumerate(records):
        record |= {name: _number(values[row]) for name, values in changes._asdict().items()}
        record["region_before"] = _by_name(names, was_BxA[row])
        record["region_after"] = _by_name(names, is_BxA[row])
    return EditResult(before, after, regions_BxHxW, records)


def write_edit(
    context: FigureContext,
    edit: LatentEdit,
    names: Sequence[str],
    folder: pathlib.Path,
    *,
    layer: int | None = None,
    weights: str = "",
    progress: bool = True,
) -> tuple[list[pathlib.Path], str]:
    """Write images, a sheet, latents and records of an edit to a folder.

    Images are written as they are made, and not kept.

    Args:
        context: The generator and the images before the edit.
        edit: The edit.
        names: Name of each image, without a suffix.
        folder: Where to write; files of these names are replaced.
        layer: Attention layer of the regions, from 0; by default the last.
        weights: Checksum of the generator.
        progress: Show the progress of writing images.

    Returns:
        The files, and a line with the median changes.

    Raises:
        UserError: If a file cannot be written.
    """
    edit, rows = edit.with_history(), list[SheetRow]()
    images, records = [folder / f"{name}.png" for name in names], list[dict[str, Any]]()

    def batches() -> Iterator[tuple[list[pathlib.Path], UInt8[np.ndarray, "b h w c"]]]:
        for result in apply_edit(context, edit, layer):
            start = len(records)
            records.extend(result.records)
            rows.extend(sheet_rows(result, names[start : len(records)], SHOWN - len(rows)))
            yield images[start : len(records)], result.after.images

    write_images(batches(), len(images), progress)
    named = [{"file": path.name, **record} for path, record in zip(images, records, strict=True)]
    paths = [folder / name for name in (LATENTS_FILE, SHEET_FILE, TABLE_FILE)]
    save_latents(paths[0], edit.latents, weights, context.synthesizer.noise)
    save_png(paths[1], edit_sheet(rows))
    write_atomically(paths[2], "".join(map(json_line, named)))
    return [*images, *paths], summary(edit, records)


def sheet_rows(result: EditResult, names: Sequence[str], most: int) -> list[SheetRow]:
    """Return a row of the sheet for each image, `most` at most: its heading and its cells."""
    before, after = as_rgb(result.before.images[:most]), as_rgb(result.after.images[:most])
    rows = []
    for row in range(len(before)):
        cells = [before[row], after[row], change_cell(before[row], after[row])]
        if result.regions_BxHxW is not None:
            cells.insert(1, region_cell(before[row], result.regions_BxHxW[row]))
        rows.append((f"{names[row]}  {_sizes(result.records[row])}", cells))
    return rows


def edit_sheet(rows: Sequence[SheetRow]) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a row for each image: before, region, after and change, with the size of the change."""
    headings = ["before", "region", "after", CHANGE]
    if len(rows[0][1]) < len(headings):
        headings.remove("region")
    return lay_out([cells for _, cells in rows], headings, [heading for heading, _ in rows])


def summary(edit: LatentEdit, records: Sequence[Mapping[str, Any]]) -> str:
    """Return a line with the median changes."""
    images = f"{len(records)} images" if len(records) > 1 else "one image"
    text = f"{edit.words}, {images}: median change "
    text += f"{np.median([record['change'] for record in records]):.2f}"
    if edit.component is None:
        return text
    found = {
        name: [r[name] for r in records if r[name] is not None]
        for name in ("inside", "outside", "random")
    }
    if not found["inside"]:
        return f"{text}; in every image its region is empty or covers everything"
    inside, outside, random = (f"{np.median(values):.2f}" for values in found.values())
    text += f", {inside} inside the region, {outside} outside, {random} in a random region"
    return text + _reached(records)


def _reached(records: Sequence[Mapping[str, Any]]) -> str:
    """Return how much of its targets an edit reached."""
    both = [r for r in records if "target_change" in r and r["region_before"] and r["region_after"]]
    if not both:
        return ""
    parts = []
    for name in both[0]["target_change"]:
        made = np.median([r["region_after"][name] - r["region_before"][name] for r in both])
        parts.append(
            f"{name} {made:+.3g} of {np.median([r['target_change'][name] for r in both]):+.3g}"
        )
    shortened = sum(record["share_made"] < 1 for record in records)
    more = f"; {shortened} shortened to --limit" if shortened else ""
    return f"; {', '.join(parts)}{more}"


def _sizes(record: Mapping[str, Any]) -> str:
    if record.get("inside") is None:
        return f"change {record['change']:.1f}"
    return f"in {record['inside']:.1f}, out {record['outside']:.1f}"


def _by_name(names: Sequence[str], values_A: np.ndarray) -> dict[str, float] | None:
    """Return properties by name; None without a region."""
    if np.isnan(values_A).any():
        return None
    return dict(zip(names, map(float, values_A), strict=True))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
