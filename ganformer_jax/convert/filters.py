"""Low-pass filters of published networks, in their arguments and in buffers of PyTorch modules.

The published code flips a filter before it is applied; configs here contain the flipped filter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ganformer_jax.convert.arguments import Arguments, ConversionError

SEPARABLE_TAPS = 8  # filters of 8 taps or more are stored as vectors, shorter ones as matrices


def filter_taps(
    arguments: Arguments, name: str, without: tuple[int, ...] = (1,)
) -> tuple[int, ...]:
    """Return the filter that an argument gives, flipped.

    Args:
        arguments: Arguments of the network.
        name: Name of the argument.
        without: Taps that the published code uses if the argument is None.
    """
    taps = arguments.get((1, 3, 3, 1), name)
    return without if taps is None else tuple(taps)[::-1]


def check_filters(
    state_dict: Mapping[str, Any], buffer: str, layer: str, taps: tuple[int, ...]
) -> None:
    """Check that the stored filters that the network uses equal the one in the arguments.

    Filters of layers that do not change the resolution are stored too, but never used.

    Args:
        state_dict: Arrays by published name.
        buffer: Name of a stored filter: "resample_filter" or "resample_kernel".
        layer: Name of the convolution, in a block, that changes the resolution.
        taps: Result of `filter_taps`.

    Raises:
        ConversionError: If one of them differs.
    """
    named = taps[::-1]
    expected = np.asarray(named, np.float64) / sum(named)
    if len(named) < SEPARABLE_TAPS:
        expected = np.outer(expected, expected)
    read = re.compile(rf"(?:synthesis\.)?b\d+\.(?:(?:skip|{layer})\.)?{buffer}")
    for name, value in state_dict.items():
        fits = np.shape(value) == expected.shape and np.allclose(value, expected, atol=1e-6)
        if read.fullmatch(name) and not fits:
            raise ConversionError(f"{name} is not the filter {list(named)} of the arguments")
