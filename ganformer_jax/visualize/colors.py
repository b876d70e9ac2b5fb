"""Colors of figures: of latent components and segments, and of curves."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import UInt8

# Okabe and Ito's colors, then Paul Tol's "muted" ones: distinct with any color vision.
_COMPONENTS = (
    "#E69F00 #56B4E9 #009E73 #F0E442 #0072B2 #D55E00 #CC79A7 "
    "#882255 #88CCEE #117733 #DDCC77 #332288 #CC6677 #44AA99 #AA4499 #999933"
).split()
CURVES = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"]
"""Okabe and Ito's colors that are dark enough for lines on white."""


def component_palette(components: int) -> UInt8[np.ndarray, "k 3"]:
    """Return an RGB color for each latent component; beyond 16, by golden-ratio steps in hue."""
    colors = [tuple(bytes.fromhex(color[1:])) for color in _COMPONENTS[:components]]
    for i in range(len(colors), components):
        hue, value = i * 0.618034 % 1, (0.95, 0.7, 0.5)[i % 3]
        colors.append(tuple(round(255 * c) for c in colorsys.hsv_to_rgb(hue, 0.75, value)))
    return np.array(colors, np.uint8)
