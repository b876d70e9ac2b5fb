"""Positional encodings of a grid, [H, W, D], x along columns and y along rows.

The longer side spans [-1, 1] and the shorter one has the same step, so that a grid that is not
square sees the middle rows or columns of the square one. Sinusoids follow arXiv 1706.03762,
section 3.5, over these coordinates, as in GANformer (arXiv 2103.01209, section 3.1).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax.errors import choose

if TYPE_CHECKING:
    from jaxtyping import Array, Float

WAVELENGTH_BASE = 10_000.0


def _coordinates(cells: int, longer: int) -> np.ndarray:
    """Return the coordinates of a side's cells, centered in [-1, 1], which `longer` cells fill."""
    if cells == longer:
        return np.linspace(-1.0, 1.0, cells)
    return (2 * np.arange(cells) - (cells - 1)) / (longer - 1)


def grid_directions(height: int, width: int, directions: int) -> np.ndarray:
    """Return the position of every grid cell along each direction, [H, W, directions]."""
    longer = max(height, width)
    angles = np.arange(directions) * math.pi / directions
    x = _coordinates(width, longer)[None, :, None]
    y = _coordinates(height, longer)[:, None, None]
    return (x * np.cos(angles) + y * np.sin(angles)).astype(np.float32)


def sinusoidal(height: int, width: int, size: int, directions: int = 2) -> Float[Array, "h w d"]:
    """Encode positions along each direction as sines and cosines of several wavelengths.

    Two directions are the axes, laid out [sin x, cos x, sin y, cos y].

    Args:
        height: Rows of the grid.
        width: Columns of the grid.
        size: Width D of the encoding, for D / (2 directions) wavelengths.
        directions: Number of directions, spread evenly over pi.

    Returns:
        The encoding.

    Raises:
        ValueError: Twice the number of directions does not divide the size.
    """
    phase = grid_directions(height, width, directions)[..., None] / _wavelengths(size, directions)
    encoding = np.concatenate([np.sin(phase), np.cos(phase)], -1)
    return jnp.asarray(encoding.reshape(height, width, size), jnp.float32)


def _wavelengths(size: int, directions: int) -> np.ndarray:
    if size % (2 * directions):
        raise ValueError(
            f"sinusoidal positions of width {size} need a multiple of 2 x {directions} directions"
        )
    waves = size // (2 * directions)
    scale = WAVELENGTH_BASE ** (2 * directions * np.arange(waves) / size)
    return scale.astype(np.float32)


class GridPositions(nn.Module):
    """Positional encoding of the image grid.

    Attributes:
        height: Rows of the grid.
        width: Columns of the grid.
        size: Width of the encoding.
        kind: "sinus" (fixed), "linear", "trainable" (per row and column) or "trainable2d".
        directions: Directions of the sinusoidal and linear kinds.
        distribution: "uniform" in [0, 1) or "normal", for trained encodings.
        stored: Keep sinusoids among the variables, as "constants"; otherwise compute them in every
            call, for networks whose variables are their parameters.
    """

    height: int
    width: int
    size: int
    kind: str = "sinus"
    directions: int = 2
    distribution: str = "uniform"
    stored: bool = True

    @nn.compact
    def __call__(self) -> Float[Array, "f d"]:
        """Return the encoding of all cells, row by row."""
        kinds = {
            "sinus": self._sinus,
            "linear": self._linear,
            "trainable": self._trainable,
            "trainable2d": self._trainable2d,
        }
        encoding = choose("the kind of positions", self.kind, kinds)()
        return encoding.reshape(self.height * self.width, self.size)

    def _initializer(self):
        return jax.random.uniform if self.distribution == "uniform" else jax.random.normal

    def _sinus(self) -> Array:
        # Folding sinusoids into compiled code would cost compile time at high resolution: they are
        # kept as data, or computed from places that the compiler takes to be unknown.
        shape = self.height, self.width, self.size
        if self.stored:
            return self.variable("constants", "grid", sinusoidal, *shape, self.directions).value
        places = grid_directions(self.height, self.width, self.directions)
        places = jax.lax.optimization_barrier(jnp.asarray(places))
        wavelengths = jnp.asarray(_wavelengths(self.size, self.directions))
        phase = places[..., None] / wavelengths[None, None, None]
        return jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], -1)

    def _linear(self) -> Array:
        if self.size % self.directions:
            raise ValueError(
                f"linear positions of width {self.size} need a multiple of {self.directions}"
            )
        shape = (self.directions, self.size // self.directions)
        slopes = self.param("slopes", self._initializer(), shape)
        places = jnp.asarray(grid_directions(self.height, self.width, self.directions))
        return places[..., None] * slopes[None, None]

    def _trainable(self) -> Array:
        half = self.size // 2
        columns = self.param("columns", self._initializer(), (self.width, half))
        rows = self.param("rows", self._initializer(), (self.height, half))
        full = (self.height, self.width, half)
        halves = jnp.broadcast_to(columns[None], full), jnp.broadcast_to(rows[:, None], full)
        return jnp.concatenate(halves, -1)

    def _trainable2d(self) -> Array:
        return self.param("cells", self._initializer(), (self.height, self.width, self.size))
