"""Values for the arrays of a network, and what they are made of."""

from __future__ import annotations

import dataclasses

import numpy as np

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Leaf:
    """Values for an array.

    Attributes:
        value: The values.
        sources: Paths, there, of the arrays that they are made of; none for constants.
        note: How they are made; "" for those of one array, unchanged.
        leading: Whether they are only the first ones along some axis, and the others stay new.
    """

    value: np.ndarray
    sources: tuple[str, ...]
    note: str = ""
    leading: bool = False

    def adapted(self, value: np.ndarray, note: str, *others: Leaf, leading: bool = False) -> Leaf:
        """Return other values, made of this leaf and others."""
        sources = dict.fromkeys(path for leaf in (self, *others) for path in leaf.sources)
        note = "; ".join(dict.fromkeys(filter(None, (self.note, note))))
        return Leaf(value, tuple(sources), note, leading or self.leading)


Leaves = dict[str, Leaf]
