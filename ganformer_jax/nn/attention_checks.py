"""Checks of what bipartite attention is called with, which broadcasting would hide."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

INTEGRATIONS = "add", "mul", "both"
NORMS = "layer", "instance", None


def check_options(
    heads: int,
    width: int,
    integration: str,
    norm: str | None,
    dropout: float,
    kmeans: Any,
) -> None:
    """Raise ValueError or TypeError for options that `BipartiteAttention` does not have."""
    if heads < 1 or width % heads:
        raise ValueError(f"{heads} heads do not divide width {width}")
    if integration not in INTEGRATIONS:
        raise ValueError(f"integration is {integration!r}; it should be one of {INTEGRATIONS}")
    if norm not in NORMS:
        raise ValueError(f"norm is {norm!r}; it should be one of {NORMS}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}; it should be at least 0 and below 1")
    if kmeans is None:
        return
    if not hasattr(kmeans, "iterations"):
        raise TypeError(f"kmeans is {kmeans!r}; give KMeans(), or None for simplex attention")
    if kmeans.iterations < 1:
        raise ValueError(f"kmeans.iterations is {kmeans.iterations}; it should be 1 or more")


def check_arrays(x: Any, y: Any, heads: int, **others: Any) -> None:
    """Raise ValueError for shapes that do not belong together, and TypeError for integers.

    Args:
        x: Attending elements, [B, F, C].
        y: Attended elements, [B, T, D].
        heads: Attention heads, N.
        **others: Further arguments of the call by name; None for those that are left out.
    """
    if x.ndim != 3 or y.ndim != 3 or x.shape[0] != y.shape[0]:
        raise ValueError(
            f"x is {list(x.shape)} and y {list(y.shape)}; they should be [B, F, C] and [B, T, D]"
        )
    for name, array in ("x", x), ("y", y):
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"{name} is {array.dtype}: convert it to floating point")
    batch, rows, columns = x.shape[0], x.shape[1], y.shape[1]
    expected = {
        "x_position": (rows, None),
        "y_position": (columns, None),
        "assignments": (batch, heads, columns, rows),
        "mask": (batch, columns),
        "place_scores": (batch, rows, columns),
    }
    for name, array in others.items():
        if array is None:
            continue
        sizes = expected[name]
        fits = len(sizes) == array.ndim and all(
            size in (None, found) for size, found in zip(sizes, array.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if size is None else str(size) for size in sizes)
            raise ValueError(f"{name} is {list(array.shape)}; it should be [{wanted}]")
