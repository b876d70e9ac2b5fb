"""Files of directions: the directions, a table, and sheets that show each of them."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ganformer_jax.directions import Direction, direction_record, save_directions
from ganformer_jax.experiment.figures.cells import region_cell
from ganformer_jax.experiment.figures.context import FigureContext, lay_out
from ganformer_jax.experiment.latents.directions import DirectionGroup
from ganformer_jax.experiment.regions import component_regions, make_with_attention
from ganformer_jax.files import json_line, write_atomically
from ganformer_jax.metrics.edits import edit_changes, pixel_change
from ganformer_jax.pixels import as_rgb
from ganformer_jax.visualize import save_png

if TYPE_CHECKING:
    from jaxtyping import Bool, UInt8

DIRECTIONS_FILE, TABLE_FILE = "directions.npz", "directions.jsonl"


def write_directions(
    context: FigureContext,
    groups: Sequence[DirectionGroup],
    folder: pathlib.Path,
    amounts: Sequence[float],
    *,
    layer: int | None = None,
    weights: str = "",
    say: Callable[[str], None] = print,
) -> list[pathlib.Path]:
    """Write directions, their table and a sheet of each group to a folder.

    Args:
        context: The generator and the samples that the directions were found with.
        groups: Result of `find_directions`.
        folder: Where to write; files of these names are replaced.
        amounts: How far to move in the sheets, in standard deviations of w.
        layer: Attention layer of the regions.
        weights: Checksum of the generator.
        say: Receives lines for the user.

    Returns:
        The files.

    Raises:
        UserError: If a file cannot be written.
    """
    directions = [direction for group in groups for direction in group.directions]
    written = [folder / DIRECTIONS_FILE, folder / TABLE_FILE]
    save_directions(written[0], directions, weights)
    lines = [json_line({**direction_record(one), "weights": weights}) for one in directions]
    write_atomically(written[1], "".join(lines))
    for group in groups:
        written.append(folder / f"{group.name}.png")
        save_png(written[-1], direction_sheet(context, group, amounts, layer))
        say(f"wrote {written[-1]}: {len(group.directions)} directions{_scores(group)}")
    return written


def direction_sheet(
    context: FigureContext,
    group: DirectionGroup,
    amounts: Sequence[float],
    layer: int | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a row for each direction: the region, and the image at each amount.

    A row's heading has the R2 of a direction by regression, and the mean change of pixels at the
    largest amount, in levels of 0 to 255: inside and outside the region, or over the image.
    """
    latents = context.latents.take([group.row])
    made = make_with_attention(context, latents)
    segments = component_regions(made, layer)
    region_HxW = None
    if segments is not None and group.component is not None:
        region_HxW = segments[0] == group.component
    farthest = int(np.argmax(np.abs(amounts)))
    rows, names = [], []
    for direction in group.directions:
        moved = direction.moved(latents.w_BxKxLxD, np.asarray(amounts), words=latents.words)
        images = context.images(latents.with_w(moved))
        change = _change(made.images, images[farthest : farthest + 1], region_HxW)
        names.append(f"{_short(direction, group)}  {change}")
        rows.append(list(as_rgb(images)))
        if region_HxW is not None:
            rows[-1].insert(0, region_cell(as_rgb(made.images)[0], region_HxW))
    headings = [f"{amount:+g}" if amount else "0" for amount in amounts]
    return lay_out(rows, headings if region_HxW is None else ["region", *headings], names)


def _change(
    before_1xHxWxC: UInt8[np.ndarray, "1 h w c"],
    after_1xHxWxC: UInt8[np.ndarray, "1 h w c"],
    region_HxW: Bool[np.ndarray, "h w"] | None,
) -> str:
    change_1xHxW = pixel_change(before_1xHxWxC, after_1xHxWxC)
    if region_HxW is None or region_HxW.all():
        return f"change {change_1xHxW.mean():.1f}"
    changes = edit_changes(change_1xHxW, region_HxW[None])
    return f"in {changes.inside[0]:.1f}, out {changes.outside[0]:.1f}"


def _short(direction: Direction, group: DirectionGroup) -> str:
    """Return the name without the part that the sheet's name has, and the R2."""
    name = direction.name
    if group.component is not None:
        name = direction.facts["property"]
    r2 = direction.facts.get("r2")
    return name if r2 is None else f"{name}  R2 {_rounded(r2)}"


def _scores(group: DirectionGroup) -> str:
    scores = [one.facts["r2"] for one in group.directions if "r2" in one.facts]
    return f", R2 {_rounded(min(scores))} to {_rounded(max(scores))}" if scores else ""


def _rounded(r2: float) -> str:
    return f"{round(r2, 2) + 0.0:.2f}"  # never -0.00
