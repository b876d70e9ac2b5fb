"""What a dataset of prepared pictures should be."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Literal

from ganformer_jax.data.pictures import FILTERS, MODES, Geometry
from ganformer_jax.errors import UserError

_NAME = re.compile(r"[a-z][a-z0-9_]*")

RESERVED = ("scenes", "downloads")
"""Names that mean something else in the folder of datasets."""


@dataclasses.dataclass(frozen=True)
class Wish:
    """What a dataset should be.

    Attributes:
        name: Of the dataset: small letters, digits and _; the folder in `data_dir` too.
        geometry: Of the pictures.
        storage: "png", compressed; or "raw", PNG without compression, larger, and several
            times as fast to read.
        held_out: Entries for the split `test`, drawn at random by a fixed seed; those that
            cannot be read are left out of it.
        max_images: Entries to use of all, drawn likewise; None for all.
        value_range: What becomes black and white, for pixels that are not of 8 or 16 bits.
    """

    name: str
    geometry: Geometry
    storage: Literal["png", "raw"] = "png"
    held_out: int = 0
    max_images: int | None = None
    value_range: tuple[float, float] | None = None


def check_wish(wish: Wish) -> None:
    """Raises UserError for a name, count or range that makes no sense."""
    geometry = wish.geometry
    if not _NAME.fullmatch(wish.name):
        raise UserError(f"--name {wish.name}: small letters, digits and _ only, a letter first")
    if geometry.channels not in MODES or geometry.filter not in FILTERS:
        raise UserError(f"channels must be 1, 3 or 4 and the filter one of {', '.join(FILTERS)}")
    if wish.name in RESERVED:
        raise UserError(f"--name {wish.name} stands for something else: choose another one")
    if wish.held_out < 0 or (wish.max_images is not None and wish.max_images < 1):
        raise UserError("--held-out must be 0 or more and --max-images 1 or more")
    low, high = wish.value_range or (0.0, 1.0)
    if not -math.inf < low < high < math.inf:
        raise UserError("--value-range must be two numbers, the smaller first")
    check_ratio(geometry.ratio)


def check_ratio(ratio: float | None) -> None:
    """Raises UserError for a height / width that no picture has."""
    if ratio is not None and not 0.05 <= ratio <= 20:
        raise UserError(f"--ratio is height / width, from 0.05 to 20, not {ratio}")
