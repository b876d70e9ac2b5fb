"""Seeds, and lists of numbers as users write them: `1,5,10-20`."""

from __future__ import annotations

import re

from ganformer_jax.errors import UserError

SEEDS = 2**32
"""Seeds are below this."""

MOST = 1_000_000
"""Images of one command, at most, as it keeps a record of each in memory."""

_PART = re.compile(r"(\d+)(?:-(\d+))?")


def parse_ranges(text: str, option: str, below: int) -> list[int]:
    """Return the numbers of a list such as `1,5,10-20`, each once, in the order given.

    Args:
        text: Numbers from 0 and ranges, which include both ends, separated by commas.
        option: Name of the option, for messages.
        below: Upper bound that all numbers must be below.

    Raises:
        UserError: If the text is not such a list, a number is too large, or there are too many.
    """
    numbers: dict[int, None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _PART.fullmatch(part)
        if found is None:
            raise UserError(f"{option}: {part} is not a number or a range; write 1,5,10-20")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first or last >= below:
            what = "ends before it begins" if last < first else f"is not below {below}"
            raise UserError(f"{option}: {part} {what}")
        if len(numbers) + last - first >= MOST:
            raise UserError(f"{option}: {part} is too long; give {MOST:,} numbers at most")
        numbers |= dict.fromkeys(range(first, last + 1))
    if not numbers:
        raise UserError(f"{option} is empty; write 1,5,10-20")
    return list(numbers)


def check_seeds(seed: int, count: int) -> range:
    """Return `count` consecutive seeds from `seed` on.

    Raises:
        UserError: If one of them is out of range, or there are too many.
    """
    if count > MOST:
        raise UserError(
            f"--count: make {MOST:,} images at most, then more from --seed {seed + MOST}"
        )
    if seed < 0 or seed + count > SEEDS:
        raise UserError("--seed and the seeds after it must be from 0 to 2^32 - 1")
    return range(seed, seed + count)
