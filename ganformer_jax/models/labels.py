"""Checks of the labels that networks are given, which would otherwise be misread in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def check_rank(labels_BxY: Float[Array, "b y"] | None) -> None:
    """Raise ValueError for labels that are not [batch, classes], such as class numbers."""
    if labels_BxY is not None and labels_BxY.ndim != 2:
        raise ValueError(f"labels {list(labels_BxY.shape)}: give one-hot classes [batch, classes]")


def check_width(labels_BxY: Float[Array, "b y"] | None, label_size: int) -> None:
    """Check the labels of a generator; without labels it takes None or labels of no width.

    Raises:
        ValueError: If labels are missing, superfluous, or of another shape than
            [batch, label_size].
    """
    if labels_BxY is None:
        if label_size:
            raise ValueError(f"this generator needs labels [batch, {label_size}]")
        return
    if labels_BxY.ndim == 2 and labels_BxY.shape[1] == label_size:
        return
    shape = list(labels_BxY.shape)
    if not label_size:
        hint = "leave them out, or set label_size"
        raise ValueError(f"labels {shape} for a generator without labels: {hint}")
    raise ValueError(f"labels {shape}: give one-hot classes [batch, {label_size}]")
