"""Positional encodings of a square grid, [size, size, width], x along columns and y along rows.

Sinusoids follow arXiv 1706.03762, section 3.5, over coordinates in [-1, 1], as in GANformer
(arXiv 2103.01209, section 3.1).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Float

WAVELENGTH_BASE = 10_000.0


def grid_directions(size: int, directions: int) -> np.ndarray:
    """Position of every grid cell along each direction, [size, size, directions]."""
    coordinate = np.linspace(-1.0, 1.0, size)
    angles = np.arange(directions) * math.pi / directions
    x, y = coordinate[None, :, None], coordinate[:, None, None]
    return (x * np.cos(angles) + y * np.sin(angles)).astype(np.float32)


def sinusoidal(size: int, width: int, directions: int = 2) -> Float[Array, "size size width"]:
    """Sine and cosine of the position along each direction, at width / (2 directions) wavelengths.

    Two directions are the axes, laid out [sin x, cos x, sin y, cos y].

    Raises:
        ValueError: Twice the number of directions does not divide the width.
    """
    if width % (2 * directions):
        raise ValueError(
            f"sinusoidal positions of width {width} need a multiple of 2 x {directions} directions"
        )
    waves = width // (2 * directions)
    scale = WAVELENGTH_BASE ** (2 * directions * np.arange(waves) / width)
    phase = grid_directions(size, directions)[..., None] / scale.astype(np.float32)
    encoding = np.concatenate([np.sin(phase), np.cos(phase)], -1)
    return jnp.asarray(encoding.reshape(size, size, width), jnp.float32)


class GridPositions(nn.Module):
    """Positional encoding of the image grid.

    Attributes:
        size: Height and width of the grid.
        width: Width of the encoding.
        kind: "sinus" (fixed), "linear", "trainable" (per row and column) or "trainable2d".
        directions: Directions of the sinusoidal and linear kinds.
        distribution: "uniform" in [0, 1) or "normal", for trained encodings.
    """

    size: int
    width: int
    kind: str = "sinus"
    directions: int = 2
    distribution: str = "uniform"

    @nn.compact
    def __call__(self) -> Float[Array, "cells width"]:
        """The encoding, [size * size, width], row by row."""
        encoding = {
            "sinus": self._sinus,
            "linear": self._linear,
            "trainable": self._trainable,
            "trainable2d": self._trainable2d,
        }[self.kind]()
        return encoding.reshape(self.size * self.size, self.width)

    def _initializer(self):
        return jax.random.uniform if self.distribution == "uniform" else jax.random.normal

    def _sinus(self) -> Array:
        # Kept as data: folding it into compiled code would cost compile time at high resolution.
        compute = lambda: sinusoidal(self.size, self.width, self.directions)  # noqa: E731
        return self.variable("constants", "grid", compute).value

    def _linear(self) -> Array:
        if self.width % self.directions:
            raise ValueError(
                f"linear positions of width {self.width} need a multiple of {self.directions}"
            )
        shape = (self.directions, self.width // self.directions)
        slopes = self.param("slopes", self._initializer(), shape)
        return (
            jnp.asarray(grid_directions(self.size, self.directions))[..., None] * slopes[None, None]
        )

    def _trainable(self) -> Array:
        shape = (self.size, self.width // 2)
        columns = self.param("columns", self._initializer(), shape)
        rows = self.param("rows", self._initializer(), shape)
        full = (self.size, self.size, self.width // 2)
        halves = jnp.broadcast_to(columns[None], full), jnp.broadcast_to(rows[:, None], full)
        return jnp.concatenate(halves, -1)

    def _trainable2d(self) -> Array:
        return self.param("cells", self._initializer(), (self.size, self.size, self.width))
