"""Locality of edits of components: change inside and outside the region that attends to each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from ganformer_jax.evaluate.component_metrics import Attention, layer_segments
from ganformer_jax.metrics.edits import EditChanges, edit_changes, pixel_change

EditKind = Literal["swap", "remove"]
EDITS: tuple[EditKind, ...] = ("swap", "remove")
MeasuredEdit = tuple[EditKind, int]
"""A kind of edit and the index of the component, from 0: `swap` replaces the component's latent by
that of the next image, `remove` hides it from attention."""
MakeImages = Callable[
    [Sequence[int], MeasuredEdit | None], tuple[UInt8[np.ndarray, "m h w c"], Attention]
]
"""Function from indices and an edit, or None, to the images and their attention."""


def edit_locality(make: MakeImages, count: int, seed: int = 0) -> dict[str, float]:
    """Edit each component of each image, and measure where the image changes.

    The region of a component consists of the pixels that attend to it most in an attention layer.

    Args:
        make: Generates images, edited or not.
        count: Number of images.
        seed: Seed of the random regions.

    Returns:
        "<edit>_<layer>_inside", "_outside" and "_random" for each kind of edit and layer: the
        median over images and components of the mean change, in levels of 0 to 255. Components with
        an empty region are left out; NaN if all regions are empty.

    Raises:
        ValueError: If the generator has no attention layers.
    """
    indices = range(count)
    before, attention = make(indices, None)
    if not attention:
        raise ValueError("the generator has no attention layers")
    segments = layer_segments(attention, before.shape[1])
    found: dict[str, list[EditChanges]] = {}
    for edit in EDITS:
        for component in range(attention[0].shape[1]):
            after, _ = make(indices, (edit, component))
            change_MxHxW = pixel_change(before, after)
            for layer, segments_MxHxW in segments.items():
                changes = edit_changes(change_MxHxW, segments_MxHxW == component, seed)
                found.setdefault(f"{edit}_{layer}", []).append(changes)
    return {
        f"{name}_{field}": _median(np.concatenate([getattr(one, field) for one in changes]))
        for name, changes in found.items()
        for field in EditChanges._fields
    }


def _median(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(np.median(defined)) if len(defined) else float("nan")
