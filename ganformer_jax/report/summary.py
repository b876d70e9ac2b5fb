"""Facts, state and metrics of a run, as text."""

from __future__ import annotations

import dataclasses
import datetime
import math
import re
from collections.abc import Sequence
from typing import Any

from ganformer_jax.config.training import RENDERED
from ganformer_jax.evaluate.requests import KINDS
from ganformer_jax.report.curves import Curve, Point
from ganformer_jax.report.run_files import Run
from ganformer_jax.train.logs.progress import duration

METRIC = "metric/"
IMAGE_SIZE = "Image size"
"""Name of a fact; see `facts`."""
GRIDS = {
    "gan": "Samples of seeds 0, 1, …, averaged generator",
    "translation": "Held-out images of both sets, their translations, and those back",
    "prior": "Samples of seeds 0, 1, …",
    "ganformer2": "Scenes of seeds 0, 1, …, averaged networks",
}
"""What the grid of samples shows, by the kind of training."""
SHEET_CAPTIONS = {
    "attention": "Attention of the first samples to each latent component",
    "layouts": "Layouts of the samples, as they are planned",
    "reconstructions": "Held-out images above their reconstructions",
}
"""What the sheets beside the grid show, by the name of the sheet."""
_HIGHER = re.compile(r"_(precision|recall|density|coverage)$|^(back_)?(is|seg|dci)\d*k?(_|$)")
_KIND = re.compile(rf"({'|'.join(sorted(KINDS, key=len, reverse=True))})(?![a-z])")


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric of a run.

    Attributes:
        name: Such as "swd" or "rpr2k_recall".
        higher_is_better: Whether it is.
        best: Its best value; None if no value is better than another, as of a standard deviation.
        last: Its last value.
        count: Number of times it was measured.
    """

    name: str
    higher_is_better: bool
    best: Point | None
    last: Point
    count: int


@dataclasses.dataclass(frozen=True)
class State:
    """Progress of a run.

    Attributes:
        word: "completed", "stopped" and the like.
        sentence: The same in a sentence, with details.
        kimg: Thousands of images so far.
        total: Thousands of images at the end; None if it is not known.
    """

    word: str
    sentence: str
    kimg: float
    total: float | None


def run_state(run: Run) -> State:
    """Return the progress of a run, from its history and its log."""
    last = run.events[-1] if run.events else {}
    at = [float_or_none(event.get("kimg")) or 0.0 for event in run.events]
    kimg = max([*at[-1:], run.log.kimg or 0.0])
    total = float_or_none(run.option("train.total_kimg")) if run.options else None
    event, where = last.get("event"), f"{kimg:,.1f}"
    where += f" of {total:,.6g} thousand images" if total else " thousand images"
    newest = utc(run.log.time)
    if event == "completed":
        return State("completed", f"{where}.", kimg, total)
    if event == "stopped":
        return State("stopped", f"Stopped by a signal at {where}; it can resume.", kimg, total)
    if not run.log.lines and not run.samples:
        return State("just started", "Just started: nothing is logged yet.", kimg, total)
    since = f" Last line of the log: {newest}." if newest else ""
    sentence = f"At {where}. No end is recorded: it is training, or was killed.{since}"
    return State("no end recorded", sentence, kimg, total)


def facts(run: Run) -> dict[str, str]:
    """Return the key facts of a run by name."""
    if not run.options:
        return {}
    seconds = run.log.training_seconds
    pairs = {
        "Dataset": _dataset(run),
        IMAGE_SIZE: _image_size(run),
        "Latent components": _components(run),
        **{f"{n.capitalize()} parameters": f"{count:,}" for n, count in run.parameters.items()},
        "Batch size": str(run.option("train.batch_size")),
        "Devices": str(run.events[-1].get("devices", "")) if run.events else "",
        "Time in training steps": duration(seconds) if seconds else "",
    }
    return {name: text for name, text in pairs.items() if text}


def metrics(run: Run) -> list[Metric]:
    """Return the metrics of a run; the first one decides which checkpoint is best."""
    found = run.log.curves.items()
    return [_metric(n.removeprefix(METRIC), curve) for n, curve in found if n.startswith(METRIC)]


def metric_kind(name: str) -> str:
    """Return the kind of a metric, such as "swd" of "swd_32"; a kind shares one figure."""
    match = _KIND.match(name)
    return match[1] if match else name


def higher_is_better(name: str) -> bool:
    """Return whether higher values of a metric are better."""
    return bool(_HIGHER.search(name.removeprefix(METRIC)))


def is_ranked(name: str) -> bool:
    """Return whether some values of a metric are better than others; not of a deviation."""
    return not name.endswith("_std")


def better_words(name: str) -> str:
    """Return which values of a metric are better, in words; "" if none is."""
    words = "↑ higher is better" if higher_is_better(name) else "↓ lower is better"
    return words if is_ranked(name) else ""


def float_or_none(value: Any) -> float | None:
    """Return a finite number as float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def utc(seconds: Any) -> str:
    """Return a time, in seconds since 1970, as date and minute in UTC; "" if it is not a time."""
    value = float_or_none(seconds)
    try:
        when = datetime.datetime.fromtimestamp(value, datetime.UTC) if value is not None else None
    except (ValueError, OverflowError, OSError):
        return ""
    return f"{when:%Y-%m-%d %H:%M} UTC" if when else ""


def best_of(values: Sequence[float | None], name: str) -> float | None:
    """Return the best of the values that there are; None if no value is better than another."""
    present = [value for value in values if value is not None]
    choose = max if higher_is_better(name) else min
    return choose(present) if present and is_ranked(name) else None


def _metric(name: str, curve: Curve) -> Metric:
    higher = higher_is_better(name)
    best = curve.highest if higher else curve.lowest
    return Metric(name, higher, best if is_ranked(name) else None, curve.last, curve.count)


def _dataset(run: Run) -> str:
    name, images = str(run.option("data.name")), run.option("data.train_images")
    return f"{name}, {images:,} images" if name in RENDERED and isinstance(images, int) else name


def _image_size(run: Run) -> str:
    """Return height, width and channels of images, whose options depend on the kind of training."""
    for network in ("generator", "autoencoder", "execution"):
        size = run.option(f"{network}.image_size")
        resolution = run.option(f"{network}.resolution")
        grid = run.option(f"{network}.base_grid") or [1, 1]
        channels = run.option(f"{network}.image_channels")
        try:
            height, width = size or [resolution * side // max(grid) for side in grid]
        except (TypeError, ValueError, ZeroDivisionError):
            continue
        return f"{height} × {width}" + (f", {channels} channels" if channels != 3 else "")
    return ""


def _components(run: Run) -> str:
    """Return the number of latent components; "" for kinds of training that have none."""
    components = run.option("generator.components")
    return "" if components is None else str(components or "none")
