"""The range of values that 16-bit images use, and a warning if it is narrow."""

from __future__ import annotations

ValueRange = tuple[int, int]
_LARGEST = (1 << 16) - 1


def joined_range(first: ValueRange | None, second: ValueRange | None) -> ValueRange | None:
    """Return the smallest range that contains two ranges; None is an unknown range."""
    if first is None or second is None:
        return first or second
    return min(first[0], second[0]), max(first[1], second[1])


def narrow_range_warning(deep_range: ValueRange | None) -> str | None:
    """Return a warning if 16-bit images come out nearly black, or in few shades of gray.

    Args:
        deep_range: Smallest and largest value of all 16-bit images, from 0 to 65535; None if there
            are no such images.

    Returns:
        One line with the range and the option to give. None if the largest value is in the upper
        half of the possible ones and the range covers more than a quarter of them.
    """
    if deep_range is None:
        return None
    low, high = deep_range
    if high > _LARGEST // 2 and high - low > _LARGEST // 4:
        return None
    starts_at_zero = low <= high // 2
    white = (1 << high.bit_length()) - 1 if high else 1
    black, white = (0, white) if starts_at_zero else (low, max(high, low + 1))
    look = "nearly black" if high <= _LARGEST // 2 else "nearly uniform"
    return (
        f"16-bit images use only values {low} to {high} of 0 to {_LARGEST} and come out {look}; "
        f"--value-range {black} {white} would use the full range"
    )
