"""Figures of curves for plotly; the page sets their colors."""

from __future__ import annotations

import base64
import dataclasses
import functools
import gzip
import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from ganformer_jax.report.curves import STEP, Curve
from ganformer_jax.report.run_files import Run
from ganformer_jax.report.summary import METRIC, higher_is_better, is_ranked, metric_kind

COLORS = ("#0072b2", "#d55e00", "#009071", "#b8609a", "#8a7500", "#7a6fd0", "#c24d52", "#3d8f3d")
"""Colors of lines, with a contrast of at least 3 to the light and to the dark page."""
DASHES = ("solid", "dash", "dot", "dashdot")
PANELS = {
    "Adversarial losses": ("loss/generator", "loss/discriminator"),
    "Other losses": ("loss/", "path_length/"),
    "Discriminator logits": ("logits/",),
    "Overfitting and augmentation": ("overfitting/", "augment/"),
    "Diversity": ("diversity/",),
    "Gradient norms": ("gradient_norm/",),
    "Scheduled options": ("schedule/",),
    "Images per second": ("images_per_second",),
    "Device memory, GiB": ("memory_gib",),
}
"""Titles of figures, and prefixes of the names of their curves; the first match counts."""
HIDDEN = (STEP, "seconds_per_kimg")
OTHERS = "Other numbers"
LOGARITHMIC = ("gradient_norm/", "diversity/")
"""Prefixes of names, besides metrics, whose axis is logarithmic if values differ much."""
MARKED = 25
"""Largest number of points at which each point is marked."""
DECADE = 10.0
TICKS = 7
LARGEST = 3e38  # of float32, in which values are drawn
HEIGHT = 300  # pixels


@dataclasses.dataclass(frozen=True)
class Row:
    """A curve in numbers: its run and name, and some of its values."""

    run: str
    name: str
    first: float
    lowest: float
    highest: float
    last: float


@dataclasses.dataclass(frozen=True)
class Chart:
    """A figure.

    Attributes:
        title: What it shows.
        figure: What plotly draws, as JSON.
        rows: Its curves in numbers.
    """

    title: str
    figure: str
    rows: Sequence[Row]


def charts(runs: Sequence[Run]) -> list[Chart]:
    """Draw the curves of runs, those of metrics first.

    For several runs there is a figure for each curve, with a color for each run. For one run,
    related curves share a figure.
    """
    names = dict.fromkeys(name for run in runs for name in run.log.curves if name not in HIDDEN)
    panels: dict[str, list[str]] = {}
    for name in sorted(names, key=_place):  # which keeps the order of names of one place
        panels.setdefault(_title(name, len(runs) > 1), []).append(name)
    return [_chart(title, inside, runs) for title, inside in panels.items()]


@functools.cache
def packed_plotly() -> str:
    """Return plotly's JavaScript, compressed by gzip, in base64."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 6, mtime=0)).decode("ascii")


def _place(name: str) -> int:
    """Return the place of a curve's figure among the others."""
    if name.startswith(METRIC):
        return -1
    fits = (place for place, starts in enumerate(PANELS.values()) if name.startswith(starts))
    return next(fits, len(PANELS))


def _title(name: str, alone: bool) -> str:
    """Return the title of a curve's figure; `alone` if a figure has one curve of each run."""
    if name.startswith(METRIC):
        metric = name.removeprefix(METRIC)
        title = f"Metric {metric if alone else metric_kind(metric)}"
        better = "higher" if higher_is_better(name) else "lower"
        return f"{title}, {better} is better" if is_ranked(name) or not alone else title
    title = [*PANELS, OTHERS][_place(name)]
    return f"{title}: {_short(name)}" if alone and (name,) not in PANELS.values() else title


def _short(name: str) -> str:
    return name.partition("/")[2] or name


def _chart(title: str, names: Sequence[str], runs: Sequence[Run]) -> Chart:
    """Draw curves of one run, or one curve of several."""
    found = [(run, n, run.log.curves[n]) for run in runs for n in names if n in run.log.curves]
    few = all(len(curve.values) <= MARKED for _, _, curve in found)
    figure = go.Figure()
    for run, name, curve in found:
        label, color = (_short(name), names.index(name))
        if len(runs) > 1:
            label, color = run.name, runs.index(run)
        figure.add_trace(_trace(curve, label, color, few))
    rows = [
        Row(r.name, _short(n), c.values[0], c.lowest.value, c.highest.value, c.last.value)
        for r, n, c in found
    ]
    lowest, highest = min(row.lowest for row in rows), max(row.highest for row in rows)
    is_distance = names[0].startswith(METRIC) and not higher_is_better(names[0])
    may_be_log = is_distance or names[0].startswith(LOGARITHMIC)
    log = may_be_log and lowest > 0 and highest > DECADE * lowest
    figure.update_layout(_layout(_ticks(lowest, highest) if log else None))
    return Chart(title, str(figure.to_json()), rows)


def _ticks(lowest: float, highest: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten for an axis, or fewer of them if it is long."""
    last = math.ceil(math.log10(min(highest, LARGEST)))
    powers = range(math.floor(math.log10(lowest)), last + 1)
    shown: list[float] = []
    for digits, every in (((1, 2, 5), 1), ((1,), 1), ((1,), 3), ((1,), 30)):
        ticks = [digit * 10.0**power for power in powers[::every] for digit in digits]
        shown = [tick for tick in ticks if lowest / 2 <= tick <= highest * 2]
        if len(shown) <= TICKS:
            break
    return shown


def _trace(curve: Curve, label: str, color: int, marked: bool) -> go.Scatter:
    return go.Scatter(
        x=curve.kimg.astype(np.float32),
        y=np.clip(curve.values, -LARGEST, LARGEST).astype(np.float32),
        name=html.escape(label),
        mode="lines+markers" if marked else "lines",
        line={
            "color": COLORS[color % len(COLORS)],
            "width": 2 if marked else 1.5,
            "dash": DASHES[color // len(COLORS) % len(DASHES)],
        },
        marker={"size": 6},
    )


def _layout(ticks: Sequence[float] | None) -> Mapping[str, Any]:
    """Return the layout of a figure; with ticks, its axis is logarithmic."""
    log = {"type": "log", "tickvals": ticks, "tickformat": "~g"}
    return {
        "template": "none",
        "height": HEIGHT,
        "margin": {"l": 56, "r": 12, "t": 8, "b": 40},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "x unified",
        "hoverlabel": {"namelength": 40},
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "xaxis": {
            "title": {"text": "kimg", "standoff": 6, "font": {"size": 12}},
            "hoverformat": ",.6~g",
            "zeroline": False,
            "automargin": True,
        },
        "yaxis": {
            "hoverformat": ".5~g",
            "zeroline": False,
            "automargin": True,
            **({"nticks": 6} if ticks is None else log),
        },
    }
