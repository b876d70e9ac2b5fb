"""Report of a transfer: which arrays were taken, adapted, new or left out."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Literal, get_args

from ganformer_jax.train.transfer.leaves import Leaves, Shape

REPORT_FILE = "transfer.txt"

Outcome = Literal["taken", "adapted", "new", "left out"]


@dataclasses.dataclass(frozen=True)
class Entry:
    """The outcome of one array: one of the state or, if left out, one of the source alone.

    Attributes:
        path: Dotted path in the state.
        outcome: "taken" unchanged, "adapted", "new" as initialized, or "left out".
        size: Its number of parameters.
        note: How it is adapted, or why it is new or left out.
        sources: Paths, in the source, of the arrays that its values are made of.
        group: What it is counted under in a summary.
    """

    path: str
    outcome: Outcome
    size: int
    note: str = ""
    sources: tuple[str, ...] = ()
    group: str = ""


def entries_of(
    field: str, shapes: Mapping[str, Shape], given: Leaves, fitted: Leaves, reason: str
) -> Iterator[Entry]:
    """Yield the entries of a field of the state.

    Args:
        field: Name of the field, with which paths start.
        shapes: Shapes of its arrays, by path.
        given: The arrays of the source.
        fitted: Those of them that fit, after the rules.
        reason: Reason why all is new; "" if each array has a reason of its own.
    """

    def full(path: str) -> str:
        return f"{field}.{path}".strip(".")  # a field may be an array

    def other(path: str) -> str:
        """Say why an array is on one side only."""
        if path not in given or path not in shapes:
            return ""
        if given[path].value.shape == shapes[path]:
            return "same shape, other meaning"
        return f"shape {given[path].value.shape} in the source, {shapes[path]} in the new run"

    for path, shape in shapes.items():
        leaf, size = fitted.get(path), math.prod(shape)
        if leaf is None:
            words = reason or other(path) or "not in the source"
            yield Entry(full(path), "new", size, words, group=_layer(path))
        else:
            outcome = "adapted" if leaf.note else "taken"
            outcome = outcome if leaf.sources else "new"
            sources = tuple(map(full, leaf.sources))
            yield Entry(full(path), outcome, size, leaf.note, sources, leaf.note)
    used = {source for leaf in fitted.values() for source in leaf.sources}
    for path, leaf in given.items():
        if path not in used:
            words = other(path) or "not in the new run"
            yield Entry(full(path), "left out", leaf.value.size, words, group=_layer(path))


def _layer(path: str) -> str:
    """Return the block or layer of an array."""
    names = path.split(".")
    return ".".join(names[: 2 if names[0] in ("mapping", "synthesis") else 1])


def share_found(report: tuple[Entry, ...], field: str) -> float:
    """Return the share of a field's parameters that have values from the source."""
    own = [e for e in report if e.path.split(".")[0] == field and e.outcome != "left out"]
    found = sum(entry.size for entry in own if entry.sources)
    return found / max(sum(entry.size for entry in own), 1)


def summary(report: tuple[Entry, ...]) -> list[str]:
    """Return lines of text: what became of each network's arrays, in groups.

    Those of the averaged generator are those of the generator.
    """
    lines = []
    for field in ("generator", "discriminator", "constants", "w_average", "batch_stats"):
        entries = [entry for entry in report if entry.path.split(".")[0] == field]
        outcomes = collections.Counter(entry.outcome for entry in entries)
        words = ", ".join(f"{outcomes[o]} {o}" for o in get_args(Outcome) if outcomes[o])
        share = f"{share_found(report, field):.1%} of the parameters come from the source"
        if field in ("generator", "discriminator"):
            lines.append(f"{field}: {words} ({share})")
            changed = [e for e in entries if e.outcome != "taken" and share_found(report, field)]
            groups = collections.Counter(f"  {e.outcome}: {e.group}" for e in changed)
            lines += [f"{group} ({count})" for group, count in groups.items()]
        elif entries and set(outcomes) != {"taken"}:
            lines.append(f"{field}: {words}")
    return lines


def full_list(report: tuple[Entry, ...], source: str) -> str:
    """Return the text of `REPORT_FILE`: a line for every array."""
    lines = [f"weights of {source}"]
    for entry in report:
        origin = "" if entry.sources in ((), (entry.path,)) else f"from {', '.join(entry.sources)}"
        words = "; ".join(filter(None, (entry.note, origin)))
        lines.append(f"{entry.outcome:8}  {entry.path}{f': {words}' if words else ''}")
    return "\n".join(lines) + "\n"
