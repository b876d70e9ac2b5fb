"""What a compiled program sends between devices, read from its text."""

import dataclasses
import math
import re

KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute|collective-broadcast"
OPERATION = re.compile(rf"^\s*(?:ROOT )?%?\S+ = (.*?) ({KINDS})(?:-start)?\((.*)$", re.MULTILINE)
ARRAY = re.compile(r"\b([a-z]+\d+\w*|pred)\[([\d,]*)\]")
NAME = re.compile(r'op_name="([^"]*)"')
CHANNEL = re.compile(r"channel_id=\d+")
BITS = {"pred": 8}


@dataclasses.dataclass(frozen=True)
class Collective:
    """One operation: its kind, the shapes of its results on one device, and what it computes."""

    kind: str
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    name: str

    def bytes(self) -> int:
        """Size of the results on one device."""
        return sum(_bits(dtype) * math.prod(shape) // 8 for dtype, shape in self.shapes)

    def elements(self) -> int:
        return sum(math.prod(shape) for _, shape in self.shapes)


def _bits(dtype: str) -> int:
    digits = re.match(r"[a-z]+(\d+)", dtype)
    return BITS[dtype] if dtype in BITS else int(digits[1]) if digits else 8


def collectives(text: str) -> list[Collective]:
    """List the collective operations of a compiled program, in the order of its text."""
    found: dict[str, Collective] = {}
    for results, kind, rest in OPERATION.findall(text):
        shapes = tuple(
            (dtype, tuple(map(int, filter(None, sizes.split(",")))))
            for dtype, sizes in ARRAY.findall(results)
        )
        name = NAME.search(rest)
        # What XLA overlaps with other computations is in the text of each, on one channel.
        overlapped = CHANNEL.search(rest) if "async_collective_fusion" in rest else None
        key = overlapped[0] if overlapped else str(len(found))
        found.setdefault(key, Collective(kind, shapes, name[1] if name else ""))
    return list(found.values())
