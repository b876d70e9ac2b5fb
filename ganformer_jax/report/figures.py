"""Figures of curves, as plotly describes them; the page gives them its colors."""

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
from ganformer_jax.report.summary import METRIC, higher_is_better, metric_kind

COLORS = ("#0072b2", "#d55e00", "#009071", "#b8609a", "#8a7500", "#7a6fd0", "#c24d52", "#3d8f3d")
"""Of lines: each has a contrast of at least 3 with the white and with the dark page."""
DASHES = ("solid", "dash", "dot", "dashdot")
PANELS = {
    "Adversarial losses": ("loss/generator", "loss/discriminator"),
    "Regularizers": ("loss/", "path_length/"),
    "Discriminator logits": ("logits/",),
    "Overfitting r_t and augmentation p": ("overfitting/", "augment/"),
    "Diversity of generated images": ("diversity/",),
    "Gradient norms": ("gradient_norm/",),
    "Scheduled options": ("schedule/",),
    "Images a second": ("images_per_second",),
    "Device memory, GiB": ("memory_gib",),
}
"""Titles of figures, and how the names of their curves begin; the first that fits is taken."""
HIDDEN = (STEP, "seconds_per_kimg")
OTHERS = "Other numbers"
LOGARITHMIC = {"Gradient norms", "Diversity of generated images"}
"""Figures, besides those of metrics, whose axis is logarithmic if values differ much."""
DECADE = 10.0
TICKS = 7
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
    """Draw the curves of runs over each other, those of metrics first.

    With several runs, a run has a color, and the curves of a figure differ in their dashes.
    """
    panels: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for run in runs for name in run.log.curves):
        if name not in HIDDEN:
            panels.setdefault(_title(name), []).append(name)
    order = list(PANELS)
    metrics = [title for title, names in panels.items() if names[0].startswith(METRIC)]
    rest = sorted(panels.keys() - {*metrics}, key=[*order, OTHERS].index)
    return [_chart(title, panels[title], runs) for title in (*metrics, *rest)]


@functools.cache
def packed_plotly() -> str:
    """Return plotly's JavaScript, compressed by gzip, in base64."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 6, mtime=0)).decode("ascii")


def _title(name: str) -> str:
    if name.startswith(METRIC):
        metric = name.removeprefix(METRIC)
        better = "higher" if higher_is_better(metric) else "lower"
        return f"Metric {metric_kind(metric)}, {better} is better"
    return next((title for title, starts in PANELS.items() if name.startswith(starts)), OTHERS)


def _chart(title: str, names: Sequence[str], runs: Sequence[Run]) -> Chart:
    figure, rows = go.Figure(), []
    for place, run in enumerate(runs):
        for number, name in enumerate(n for n in names if n in run.log.curves):
            curve = run.log.curves[name]
            short = name.partition("/")[2] or name
            label = short if len(runs) == 1 else run.name
            label += f", {short}" if len(runs) > 1 and len(names) > 1 else ""
            color, dash = (number, 0) if len(runs) == 1 else (place, names.index(name))
            figure.add_trace(_trace(curve, label, color, dash))
            first, lowest, highest = curve.values[0], curve.lowest.value, curve.highest.value
            rows.append(Row(run.name, short, first, lowest, highest, curve.last.value))
    lowest, highest = min(row.lowest for row in rows), max(row.highest for row in rows)
    may_be_log = title in LOGARITHMIC or names[0].startswith(METRIC)
    log = may_be_log and lowest > 0 and highest > DECADE * lowest
    figure.update_layout(_layout(_ticks(lowest, highest) if log else None))
    return Chart(title, str(figure.to_json()), rows)


def _ticks(lowest: float, highest: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten for an axis, or fewer of them if it is long."""
    powers = range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1)
    for digits, every in (((1, 2, 5), 1), ((1,), 1), ((1,), 3), ((1,), 30)):
        ticks = [digit * 10.0**power for power in powers[::every] for digit in digits]
        shown = [tick for tick in ticks if lowest / 2 <= tick <= highest * 2]
        if len(shown) <= TICKS:
            break
    return shown


def _trace(curve: Curve, label: str, color: int, dash: int) -> go.Scatter:
    few = len(curve.values) <= 40
    return go.Scatter(
        x=curve.kimg.astype(np.float32),
        y=curve.values.astype(np.float32),
        name=html.escape(label),
        mode="lines+markers" if few else "lines",
        line={
            "color": COLORS[color % len(COLORS)],
            "width": 2 if few else 1.5,
            "dash": DASHES[(dash + color // len(COLORS)) % len(DASHES)],
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
