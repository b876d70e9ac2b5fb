"""What a program compiled for a TPU says of itself: the cycles that XLA expects, by operation."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
NAME = re.compile(r'op_name="([^"]*)"')
NETWORK = re.compile(r"\b(Generator|Discriminator)\b")
BLOCK = re.compile(r"/(block_\d+|stem|mapping)\b")
CLASSES = (
    ("FIR filter", "plain_filter"),
    ("convolution", "conv_general_dilated"),
    ("attention", "attention"),
    ("mapping", "mapping"),
    ("random bits", "threefry"),
    ("random bits", "_uniform"),
    ("random bits", "_normal"),
    ("synthesis, other", "Generator.synthesize"),
    ("discriminator, other", "Discriminator"),
)
"""Class of an operation by what its name contains, the first that does."""


class Operation(NamedTuple):
    """One instruction of the program, mostly a fusion, named after one operation inside it."""

    cycles: int
    instruction: str
    name: str

    def kind(self) -> str:
        return next((label for label, part in CLASSES if part in self.name), "other")

    def layer(self) -> str:
        """Return the network and the block of layers; "other" outside both networks."""
        network, block = NETWORK.search(self.name), BLOCK.search(self.name)
        if network is None:
            return "other"
        return f"{network[1]} {block[1] if block else 'other'}"


def operations(text: str) -> Iterator[Operation]:
    """Yield the instructions that have an estimate; a loop's body counts once.

    Args:
        text: `as_text()` of a program compiled for a TPU.
    """
    for line in text.splitlines():
        cycles = CYCLES.search(line)
        if cycles:
            name = NAME.search(line)
            instruction, _, rest = line.strip().partition(" = ")
            words = f"{instruction.removeprefix('ROOT ')} {rest[:60]}"
            yield Operation(int(cycles[1]), words, name[1] if name else "")


def shares(rows: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Sum cycles by key, the largest first."""
    sums: collections.Counter[str] = collections.Counter()
    for key, cycles in rows:
        sums[key] += cycles
    return sums.most_common()
