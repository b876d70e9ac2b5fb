"""Tallies of the images in shards, and the manifests that store them: `<shard>.json`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections import Counter
from collections.abc import Iterable

from ganformer_jax.data.depth import joined_range
from ganformer_jax.files import write_atomically

_COUNTERS = ("sizes", "kinds", "notes", "classes")


@dataclasses.dataclass
class Tally:
    """Numbers of images in shards by size, kind, note and class, and the entries left out."""

    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)  # (name, reason)
    sizes: Counter[str] = dataclasses.field(default_factory=Counter)
    kinds: Counter[str] = dataclasses.field(default_factory=Counter)
    notes: Counter[str] = dataclasses.field(default_factory=Counter)
    classes: Counter[str] = dataclasses.field(default_factory=Counter)
    deep_range: tuple[int, int] | None = None  # smallest and largest value of 16-bit images
    bytes: int = 0  # size of the examples
    digest: str = ""  # sha256 of the examples of one shard, or of the digests of several

    @property
    def images(self) -> int:
        """Number of stored images."""
        return sum(self.sizes.values())

    @classmethod
    def total(cls, tallies: Iterable[Tally]) -> Tally:
        """Add tallies up, in order."""
        total, digest = cls(), hashlib.sha256()
        for tally in tallies:
            total.skipped += tally.skipped
            for name in _COUNTERS:
                getattr(total, name).update(getattr(tally, name))
            total.deep_range = joined_range(total.deep_range, tally.deep_range)
            total.bytes += tally.bytes
            digest.update(tally.digest.encode())
        total.digest = digest.hexdigest()
        return total


def write_manifest(path: pathlib.Path, tally: Tally) -> None:
    """Write the manifest of a finished shard."""
    known = {name: value for name, value in vars(tally).items() if value is not None}
    write_atomically(f"{path}.json", json.dumps(known))


def read_manifest(path: pathlib.Path) -> Tally | None:
    """Return the tally of a finished shard; None if it is not finished."""
    try:
        values = json.loads(pathlib.Path(f"{path}.json").read_text())
        counters = {name: Counter(values[name]) for name in _COUNTERS}
        skipped = [(name, reason) for name, reason in values["skipped"]]
        deep = values.get("deep_range")  # absent without 16-bit images, and in earlier versions
        facts = {"bytes": values["bytes"], "digest": values["digest"]}
        tally = Tally(skipped, **counters, deep_range=deep and (deep[0], deep[1]), **facts)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return tally if path.exists() else None
