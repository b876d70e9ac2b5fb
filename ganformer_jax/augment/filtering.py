"""Image filtering: a random gain for each of four frequency bands."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jax import lax

from ganformer_jax.augment.transforms import BANDS, Chances

if TYPE_CHECKING:
    from jaxtyping import Array, Float

GAIN = 1.0
"""Standard deviation of the base-2 logarithm of a band's gain."""
POWER = np.array([10, 1, 1, 1], np.float32) / 13
"""Expected power of the bands, from low to high frequencies, of an image with a 1/f spectrum."""
_SYMLET_2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)


def filter_bands(x_BxHxWxC: Float[Array, "b h w c"], chances: Chances) -> Float[Array, "b h w c"]:
    """Amplify frequency bands by random gains (arXiv 2006.06676, appendix B).

    A band's gain changes with the others' so that an image of usual spectrum keeps its power. The
    image is reflected at its borders.
    """
    if not chances.has("imgfilter"):
        return x_BxHxWxC
    gains_BxN = _gains(x_BxHxWxC.shape[0], chances)
    for axis in (1, 2):
        bands_NxPxP = _band_matrices(x_BxHxWxC.shape[axis])
        matrix_BxPxP = jnp.einsum("bn,npq->bpq", gains_BxN, bands_NxPxP, precision="highest")
        subscripts = "bpq,bqwc->bpwc" if axis == 1 else "bpq,bhqc->bhpc"
        x_BxHxWxC = jnp.einsum(subscripts, matrix_BxPxP, x_BxHxWxC, precision=lax.Precision.HIGHEST)
    return x_BxHxWxC


def _gains(count: int, chances: Chances) -> Float[Array, "b n"]:
    """Draw the gain of every band."""
    gains_BxN = jnp.ones((count, BANDS))
    for band in range(BANDS):
        drawn_B = jnp.exp2(GAIN * chances.normal("imgfilter", 2 * band + 1))
        drawn_B = jnp.where(chances.applied("imgfilter", 2 * band), drawn_B, 1)
        power_B = 1 + POWER[band] * (jnp.square(drawn_B) - 1)
        gain_BxN = jnp.where(jnp.arange(BANDS)[None] == band, drawn_B[:, None], 1.0)
        gains_BxN = gains_BxN * gain_BxN * lax.rsqrt(power_B)[:, None]
    return gains_BxN


def band_filters() -> Float[np.ndarray, "n t"]:
    """Return the filters of the bands, low frequencies first, which add up to the identity.

    Those of a wavelet transform (Mallat) with the symlet of order 2: the lowest band passes three
    low-pass filters, each other one a high-pass filter and the low-pass filters before it.
    """
    low = np.array(_SYMLET_2)
    high = low * (-1.0) ** np.arange(len(low))
    low, high = (np.convolve(taps, taps[::-1]) / 2 for taps in (low, high))
    filters = []
    for band in range(BANDS):
        taps = high if band else np.ones(1)
        for _ in range(BANDS - 1 - band):
            spread = np.zeros(2 * len(taps) - 1)
            spread[::2] = taps
            taps = np.convolve(spread, low)
        filters.append(taps)
    longest = max(map(len, filters))
    return np.stack([np.pad(taps, (longest - len(taps)) // 2) for taps in filters])


@functools.cache
def _band_matrices(size: int) -> Float[np.ndarray, "n p p"]:
    """Return each band's filter as a matrix over `size` pixels, reflected at the borders."""
    filters = band_filters()
    reach = filters.shape[1] // 2
    place = np.pad(np.arange(size), reach, "reflect") if size > 1 else np.zeros(2 * reach + 1, int)
    matrices = np.zeros((BANDS, size, size))
    for row in range(size):
        for offset in range(2 * reach + 1):
            matrices[:, row, place[row + offset]] += filters[:, offset]
    return matrices.astype(np.float32)
