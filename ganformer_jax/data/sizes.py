"""Image sizes that networks can generate, and the one that suits a source."""

from __future__ import annotations

import itertools
import math
import statistics

from ganformer_jax.data.decode import decode, no_warnings
from ganformer_jax.data.fit import cropped_size
from ganformer_jax.data.sources.source import Source, Unreadable, no_images
from ganformer_jax.errors import UserError

SAMPLE = 64
"""Number of images whose sizes are looked at."""
LARGEST_DEFAULT = 256


def base_grid(size: tuple[int, int]) -> tuple[int, int] | None:
    """Return the grid that doubles to this height and width; None if there is no good one.

    Square images come down to 4x4, 1:2 to 4x8, 3:4 to 3x4.
    """
    height, width = size
    halvings = 0
    while height % 2 == 0 and width % 2 == 0 and min(height, width) >= 6:
        height, width, halvings = height // 2, width // 2, halvings + 1
    good = halvings > 0 and min(height, width) >= 2 and max(height, width) <= 16
    return (height, width) if good else None


def image_size(resolution: int, ratio: float) -> tuple[int, int]:
    """Return height and width, with this longer side, nearest to a ratio of height to width.

    Raises:
        UserError: If no base grid doubles to this resolution.
    """

    def at(shorter: int) -> tuple[int, int]:
        return (shorter, resolution) if ratio <= 1 else (resolution, shorter)

    wanted = resolution * min(ratio, 1 / ratio)
    fitting = [side for side in range(2, resolution + 1) if base_grid(at(side))]
    if base_grid((resolution, resolution)) is None or not fitting:
        raise UserError(
            f"--resolution {resolution}: the longer side should be a power of two from 8 up, or "
            "another number that halves down to at most 16, such as 96 or 160"
        )
    return at(min(fitting, key=lambda side: (abs(side - wanted), -side)))


def usual_resolution(source: Source, ratio: float | None, value_range: tuple | None) -> int:
    """Return the power of two nearest to the longer side of most images once cropped, 8 to 256.

    Args:
        source: Source of the images, some of which are read.
        ratio: Height / width that they are cropped to; None if they are not.
        value_range: See `decode.decode`.

    Raises:
        UserError: If none of them can be read.
    """
    sizes, reasons = _some_sizes(source, value_range)
    if not sizes:
        raise no_images(source, reasons)
    sides = [max(size if ratio is None else cropped_size(size, ratio)) for size in sizes]
    nearest = 2 ** round(math.log2(statistics.median(sides)))
    return min(max(nearest, 8), LARGEST_DEFAULT)


def _some_sizes(
    source: Source, value_range: tuple | None
) -> tuple[list[tuple[int, int]], set[str]]:
    """Return width and height of one image or more, and why others cannot be read."""
    sizes, reasons = [], set()
    count = len(source)
    step = 1 if source.sequential else max(1, count // SAMPLE)
    spread = range(0, count, step)[:SAMPLE]
    with no_warnings():
        for looked, index in enumerate(itertools.chain(spread, range(count))):
            if looked >= len(spread) and sizes:
                break
            try:
                sizes.append(decode(source.read(index), value_range).image.size)
            except Unreadable as reason:
                reasons.add(str(reason))
    return sizes, reasons
