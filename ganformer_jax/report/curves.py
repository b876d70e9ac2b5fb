"""Curves of `metrics.jsonl`, read line by line and thinned to a bounded number of points."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

BUCKETS = 400
"""Number of parts of the log; a curve keeps the lowest and the highest value of each."""
MOST_CURVES = 150
LONGEST_LINE = 1 << 20
"""Maximum length of a line of a log, in bytes."""
STEP, TIME = "step", "time"


class Point(NamedTuple):
    """A value at thousands of images."""

    kimg: float
    value: float


@dataclasses.dataclass(frozen=True)
class Curve:
    """Values of one name against kimg, in the order of the log.

    Attributes:
        kimg: Thousands of images of the points that were kept.
        values: Their values, all finite.
        count: Number of values before thinning.
        lowest: The lowest value.
        highest: The highest value.
        last: The last value.
    """

    kimg: Float[np.ndarray, " p"]
    values: Float[np.ndarray, " p"]
    count: int
    lowest: Point
    highest: Point
    last: Point


@dataclasses.dataclass(frozen=True)
class RunLog:
    """Content of `metrics.jsonl`.

    Attributes:
        curves: Curves by name, in the order in which the names appear.
        lines: Number of lines that were read.
        unreadable: Number of damaged lines, such as an incomplete last line.
        not_finite: Number of NaN and infinite values, which are in no curve.
        more_names: Whether there are more names than `MOST_CURVES`.
        kimg: Thousands of images at the last line; None without lines.
        time: Time of the last line, in seconds since 1970; None if it is not stored.
        training_seconds: Time in training steps, without figures and metrics.
    """

    curves: Mapping[str, Curve]
    lines: int = 0
    unreadable: int = 0
    not_finite: int = 0
    more_names: bool = False
    kimg: float | None = None
    time: float | None = None
    training_seconds: float = 0.0

    @property
    def thinned(self) -> bool:
        """Whether a curve has fewer points than the log has values."""
        return any(len(curve.values) < curve.count for curve in self.curves.values())

    def kimg_of(self, step: int, batch_size: int) -> float:
        """Return thousands of images at a step; interpolated where the log has no such line."""
        steps = self.curves.get(STEP)
        if steps is None or step > steps.last.value:
            return step * batch_size / 1000
        return float(np.interp(step, [0, *steps.values], [0, *steps.kimg]))


class _Thinning:
    """A curve while it is read: the lowest and the highest point of each bucket."""

    def __init__(self, first: Point):
        self.count, self._bucket = 0, -1
        self._points, self._low, self._high = [first], first, first
        self.lowest = self.highest = self.last = first

    def add(self, bucket: int, point: Point) -> None:
        """Take the next value of the log."""
        if bucket != self._bucket:
            self._flush()
            self._bucket, self._low, self._high = bucket, point, point
            self.lowest = min(self.lowest, point, key=_value)
            self.highest = max(self.highest, point, key=_value)
        if point.value < self._low.value:
            self._low = point
            if point.value < self.lowest.value:
                self.lowest = point
        if point.value > self._high.value:
            self._high = point
            if point.value > self.highest.value:
                self.highest = point
        self.last, self.count = point, self.count + 1

    def _flush(self) -> None:
        if self._bucket >= 0:
            for point in sorted([self._low, self._high], key=lambda point: point.kimg):
                self._keep(point)

    def _keep(self, point: Point) -> None:
        if point is not self._points[-1]:
            self._points.append(point)

    def curve(self) -> Curve:
        """Return the curve of all values so far."""
        self._flush()
        self._keep(self.last)
        kimg, values = np.array(self._points, np.float64).T
        return Curve(kimg, values, self.count, self.lowest, self.highest, self.last)


def read_log(path: pathlib.Path) -> RunLog:
    """Read the log of a run in bounded memory; a missing file counts as an empty log."""
    if not path.is_file():
        return RunLog({})
    total = sum(1 for _ in _lines(path))
    made: dict[str, _Thinning] = {}
    lines = unreadable = not_finite = 0
    kimg, time, seconds, more_names = None, None, 0.0, False
    for number, line in enumerate(_lines(path)):
        record = _record(line)
        if record is None:
            unreadable += 1
            continue
        lines, before, kimg = lines + 1, kimg or 0.0, record.pop("kimg")
        speed = _number(record.get("seconds_per_kimg"))
        seconds += max(kimg - before, 0) * speed if speed and math.isfinite(speed) else 0
        bucket = min(number * BUCKETS // total, BUCKETS - 1)
        time = _number(record.pop(TIME, None))
        for name, value in record.items():
            value = _number(value)
            if value is None:
                continue
            if not math.isfinite(value):
                not_finite += 1
            elif name in made or len(made) < MOST_CURVES:
                point = Point(kimg, value)
                made.setdefault(name, _Thinning(point)).add(bucket, point)
            else:
                more_names = True
    curves = {name: thinning.curve() for name, thinning in made.items()}
    return RunLog(curves, lines, unreadable, not_finite, more_names, kimg, time, seconds)


def _lines(path: pathlib.Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while line := file.readline(LONGEST_LINE):
            yield line


def _record(line: bytes) -> dict[str, Any] | None:
    """Return the record of a line whose kimg is a finite float; None if it is damaged."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    kimg = _number(record.get("kimg")) if isinstance(record, dict) else None
    return {**record, "kimg": kimg} if kimg is not None and math.isfinite(kimg) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _value(point: Point) -> float:
    return point.value
