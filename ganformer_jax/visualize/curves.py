"""Training curves: losses and metrics against kimg."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ganformer_jax.errors import UserError, os_reason
from ganformer_jax.visualize.images import save_png

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

_METRICS = "metrics"
_MOST, _LINE = 4000, 500  # approximate number of lines of losses to read, and bytes of a line
# Okabe and Ito's colors that are dark enough for lines on white.
_COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"]
_STYLES = ["-", "--", ":"]  # of the first lines, and of those that share a color with one of them


def _read_records(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines, skipping an incomplete last line, which a killed run can leave.

    From a long file, all lines with metrics are read and about `_MOST` others.
    """
    records, wrong = [], 0
    try:
        every = path.stat().st_size // (_MOST * _LINE) + 1
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if wrong:
                    break
                if number % every and b'"metric/' not in line:
                    continue
                try:
                    records.append(json.loads(line))
                except ValueError:  # of JSON, or of UTF-8
                    wrong = number
            else:
                wrong = 0
    except OSError as error:
        raise UserError(f"cannot read {path}: {os_reason(error)}") from error
    if wrong:
        raise UserError(f"{path}:{wrong} is not a JSON record")
    return [record for record in records if isinstance(record, dict) and "kimg" in record]


def _curves(records: list[dict[str, Any]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return (kimg, value) of each finite loss and metric; the last value of a repeated kimg."""
    points: dict[str, dict[float, float]] = {}
    for record in records:
        for key, value in record.items():
            is_number = isinstance(value, int | float) and math.isfinite(value)
            if key.startswith(("loss/", "metric/")) and is_number:
                points.setdefault(key, {})[record["kimg"]] = value
    return {key: tuple(np.array(sorted(p.items())).T) for key, p in sorted(points.items())}


def _draw_curve(axes: Any, label: str, kimg: np.ndarray, values: np.ndarray) -> None:
    """Draw a line; if there are many points, a pale line and its running mean."""
    window = len(values) // 40
    if window < 3:
        axes.plot(kimg, values, marker="o", markersize=3, label=label)
        return
    (pale,) = axes.plot(kimg, values, alpha=0.25, linewidth=0.8)
    mean = np.convolve(values, np.ones(window) / window, mode="valid")
    middle = kimg[window // 2 :][: len(mean)]
    look = {"color": pale.get_color(), "linestyle": pale.get_linestyle()}
    axes.plot(middle, mean, **look, linewidth=1.6, label=label)


def _panels(keys: set[str]) -> list[tuple[str, list[str]]]:
    """Return titles and keys of the panels that have curves."""
    adversarial = {"loss/generator", "loss/discriminator"} & keys
    metrics = {key for key in keys if key.startswith("metric/")}
    titles = ("adversarial loss", "regularizer", _METRICS)
    groups = (adversarial, keys - adversarial - metrics, metrics)
    return [(title, sorted(g)) for title, g in zip(titles, groups, strict=True) if g]


def _draw_panel(axes: Any, title: str, curves: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    styles = [style for style in _STYLES for _ in _COLORS]
    axes.set_prop_cycle(color=_COLORS * len(_STYLES), linestyle=styles)
    for key, (kimg, values) in curves.items():
        _draw_curve(axes, key.partition("/")[2], kimg, values)
    if title == _METRICS and all((values > 0).all() for _, values in curves.values()):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("kimg")
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(framealpha=0.8, edgecolor="none", fontsize=8)


def training_curve(metrics_jsonl: str | os.PathLike[str], png_path: str | os.PathLike[str]) -> None:
    """Plot a run against kimg: adversarial losses, regularizers, and metrics on a log scale.

    Args:
        metrics_jsonl: JSON lines with "kimg", thousands of real images shown so far, and any
            "loss/..." and "metric/...". Values that are not finite are left out.
        png_path: File to write, atomically.

    Raises:
        UserError: If there is nothing to plot, or a file cannot be read or written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves = _curves(_read_records(Path(metrics_jsonl)))
    panels = _panels(set(curves))
    if not panels:
        raise UserError(f'{metrics_jsonl} has no records with "kimg" and a loss or metric')
    figure = Figure(figsize=(4.6 * len(panels), 3.4), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, keys) in zip(all_axes, panels, strict=True):
        _draw_panel(axes, title, {key: curves[key] for key in keys})
    canvas.draw()
    save_png(png_path, np.asarray(canvas.buffer_rgba()))


def projection_curve(
    distances_SxB: Float[np.ndarray, "s b"],
    mean_B: Float[np.ndarray, " b"],
    nearest_B: Float[np.ndarray, " b"],
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw the distance of projected images at each step: a line for each, and their median.

    Args:
        distances_SxB: Distance of each image at each step.
        mean_B: Distances of the mean image, whose median is drawn for comparison.
        nearest_B: Distances of the nearest samples, drawn in the same way; may be empty.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained", dpi=100)
    axes = figure.add_subplot()
    steps = np.arange(1, len(distances_SxB) + 1)
    axes.plot(steps, distances_SxB, color=_COLORS[0], alpha=0.2, linewidth=0.8)
    axes.plot(steps, np.median(distances_SxB, 1), color=_COLORS[0], label="projection, median")
    for label, values, color in (("mean image", mean_B, 1), ("nearest sample", nearest_B, 2)):
        if len(values):
            axes.axhline(float(np.median(values)), color=_COLORS[color], label=f"{label}, median")
    axes.set(xlabel="step", ylabel="distance", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
