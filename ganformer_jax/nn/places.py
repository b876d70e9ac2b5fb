"""Places of components: where in the image pixels attend to each, made from its latent.

The placement of features by latent ellipses is that of BlobGAN (arXiv 2205.02837, section 3.1);
here it takes the place of queries and keys in bipartite attention (equation 1 of `nn.attention`).
The score of a component is a parabola of the distance from its center, so that among all components
and nothing, whose score is 0, the softmax is near 1 within an ellipse and near 0 outside.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from ganformer_jax.nn.layers import EqualizedDense
from ganformer_jax.nn.positions import grid_directions

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Key

LATENT_GAIN = 0.4
"""Initial weight of latents, whose standard deviation is 2 at first."""
CENTER_GAIN = 0.5
"""Initial standard deviation of centers around their means, of half the image, before a `tanh`."""
INITIAL_SIDE = 0.8
"""Share of the image, in the middle, over which means of centers are spread at first."""
PLASTIC = 1.32471795724474602596
"""The root of x^3 = x + 1, whose powers make even sequences of points in the plane."""
SPREAD, SPREAD_RANGE = 0.12, 3.0
"""Initial spread, and the factor by which it may be narrower or wider."""
HEIGHT = 3.0
"""Initial score at the center: the softmax is 1/2 at 2.4 times the spread from there."""


class Places(NamedTuple):
    """Places where pixels attend to components, of K components per image."""

    center_BxKx2: Float[Array, "b k 2"]
    """Column and row, in the coordinates of `nn.positions`: the longer side spans [-1, 1]."""
    spread_BxKx2: Float[Array, "b k 2"]
    """Distance along columns and rows over which the score falls by 1/2."""
    height_BxK: Float[Array, "b k"]
    """Score at the center. Higher places cover others, and one below 0 is hardly there."""


class ComponentPlaces(nn.Module):
    """Latents of components to their places, around a trained mean of each component.

    Attributes:
        sides: Width and height of the image, the longer one 1.
        learning_rate_multiplier: Learning rate relative to other layers.
    """

    sides: tuple[float, float] = (1.0, 1.0)
    learning_rate_multiplier: float = 1.0

    @nn.compact
    def __call__(self, w_BxKxD: Float[Array, "b k d"]) -> Places:
        """Return the places, float32."""
        multiplier = self.learning_rate_multiplier
        dense = EqualizedDense(5, False, LATENT_GAIN, multiplier, name="latents")
        means_KxA = self.param("means", spread_means, (w_BxKxD.shape[1], 5), multiplier)
        raw = dense(w_BxKxD.astype(jnp.float32)) + multiplier * means_KxA[None]
        return Places(
            # A component that left the image would get no gradient to return by.
            jnp.asarray(self.sides)[None, None] * jnp.tanh(CENTER_GAIN * raw[..., :2]),
            SPREAD * jnp.exp(math.log(SPREAD_RANGE) * jnp.tanh(raw[..., 2:4] / 2)),
            HEIGHT + raw[..., 4],
        )


def spread_means(
    key: Key[Array, ""], shape: tuple[int, int], multiplier: float = 1.0
) -> Float[Array, "k d"]:
    """Return initial means whose centers are spread evenly over the image; others are 0.

    Like all parameters with a learning rate multiplier, they are stored divided by it.

    The sequence is that of M. Roberts, "The unreasonable effectiveness of quasirandom sequences",
    2018. Random means would leave parts of the image without a component, and early training
    decides which component has which part.
    """
    points_Kx2 = (0.5 + np.arange(1, shape[0] + 1)[:, None] / PLASTIC ** np.array([1, 2])) % 1
    centers_Kx2 = INITIAL_SIDE * (2 * points_Kx2 - 1)
    means_KxD = np.zeros(shape, np.float32)
    means_KxD[:, :2] = np.arctanh(centers_Kx2) / CENTER_GAIN / multiplier
    return jnp.asarray(means_KxD)


def place_scores(places: Places, height: int, width: int) -> Float[Array, "b f k"]:
    """Return the scores of components at every cell of a grid, row by row."""
    grid_Fx2 = jnp.asarray(grid_directions(height, width, 2).reshape(-1, 2))
    distance = grid_Fx2[None, :, None] - places.center_BxKx2[:, None]
    squares = jnp.square(distance / places.spread_BxKx2[:, None])
    return places.height_BxK[:, None] - squares.sum(-1) / 2
