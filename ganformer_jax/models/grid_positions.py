"""Positions of the image grid, as attention layers of all networks read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganformer_jax.config import PositionConfig
from ganformer_jax.nn.positions import GridPositions

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def grid_positions(
    config: PositionConfig, height: int, width: int, default_size: int, *, stored: bool
) -> Float[Array, "f d"]:
    """Return the encoding of all cells of a grid, row by row.

    Call this in a compact method: parameters are those of its submodule `positions`.

    Args:
        config: Kind and width of the encoding.
        height: Height of the grid.
        width: Width of the grid.
        default_size: Width of the encoding where the config leaves it open.
        stored: Keep sinusoids among the variables: see `GridPositions`.
    """
    encoding = GridPositions(
        height,
        width,
        config.size or default_size,
        kind=config.kind,
        directions=config.directions,
        distribution=config.init,
        stored=stored,
        name="positions",
    )
    return encoding()
