"""Pages, rendered from templates that escape all content of a run."""

from __future__ import annotations

import functools
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jinja2

from ganformer_jax.report.curves import BUCKETS
from ganformer_jax.report.figures import charts, packed_plotly
from ganformer_jax.report.images import encode_array, gallery, last_samples
from ganformer_jax.report.options import differing_options, option_table, train_command
from ganformer_jax.report.run_files import LATEST, Run
from ganformer_jax.report.summary import (
    GRIDS,
    IMAGE_SIZE,
    SHEET_CAPTIONS,
    best_of,
    better_words,
    facts,
    float_or_none,
    metrics,
    run_state,
    utc,
)

if TYPE_CHECKING:
    from ganformer_jax.evaluate.neighbors import Neighbors  # needs much more than a page does

MARK = '<meta name="generator" content="ganformer-jax report">'
"""A line near the top of every page."""
DATASETS = "data.name", "data.target"
"""Options that name the images of a run."""
NEIGHBOR_SIDE = 128
_SHOWN = ("time", "event", "step", "kimg", "devices", "processes", "jax", "changes", "identities")


def run_page(run: Run, neighbors: Neighbors | str | None = None, program: str = "") -> str:
    """Return the page of one run.

    Args:
        run: The run.
        neighbors: Nearest training images of its samples, or the reason why they are missing; None
            to leave the section out.
        program: Command that starts the program, for the commands in the page.
    """
    return _render(
        "run.html",
        title=run.name,
        run=run,
        state=run_state(run),
        facts=facts(run),
        metrics=metrics(run),
        charts=charts([run]),
        gallery=gallery(run),
        grid_caption=GRIDS[run.kind],
        sheet_caption=SHEET_CAPTIONS.get(run.sheet, ""),
        attention=run.kind != "gan" or bool(run.option("generator.components") or run.sheets),
        neighbors=_neighbor_rows(neighbors),
        found=neighbors,
        options=option_table(run) if run.options else None,
        command=train_command(run, program),
        program=program,
        evaluations=[_named_numbers(record) for record in run.evaluations],
        latest=LATEST,
    )


def comparison_page(runs: Sequence[Run], program: str = "") -> str:
    """Return a page that compares two or more runs with different names."""
    known = [run for run in runs if run.options]
    data = {(*map(run.option, DATASETS), facts(run).get(IMAGE_SIZE)) for run in known}
    return _render(
        "comparison.html",
        title=f"Comparison of {len(runs)} runs",
        runs=runs,
        states=[run_state(run) for run in runs],
        facts=_fact_rows(runs),
        data_differ=len(data) > 1,
        metrics=_metric_rows(runs),
        evaluations=_evaluation_rows(runs),
        charts=charts(runs),
        options=differing_options(runs),
        samples=[last_samples(run) for run in runs],
        grid_captions=[GRIDS[run.kind] for run in runs],
        program=program,
    )


def _render(template: str, **values: Any) -> str:
    values |= {"mark": MARK, "made": utc(time.time())}
    values |= {"plotly": packed_plotly, "buckets": BUCKETS}
    return _environment().get_template(template).render(values)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ganformer_jax.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["better"] = better_words
    environment.filters |= {"number": _number, "utc": utc, "details": _details, "kimg": _kimg}
    return environment


def _neighbor_rows(found: Neighbors | str | None) -> list[dict[str, Any]] | None:
    """Return a row for each sample: its image, and image, index and distance of each neighbor."""
    if found is None or isinstance(found, str):
        return None
    rows = []
    for place, sample in enumerate(found.samples):
        near = zip(found.nearest[place], found.indices[place], found.distances[place], strict=True)
        cells = [(encode_array(i, NEIGHBOR_SIDE), int(at), float(d)) for i, at, d in near]
        rows.append({"sample": encode_array(sample, NEIGHBOR_SIDE), "nearest": cells})
    return rows


def _metric_rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return a row for each metric: best and last value of each run, and the best among runs."""
    measured = [{metric.name: metric for metric in metrics(run)} for run in runs]
    rows = []
    for name in dict.fromkeys(itertools.chain.from_iterable(measured)):
        cells = [of_run.get(name) for of_run in measured]
        best = [cell.best.value if cell and cell.best else None for cell in cells]
        last = [cell.last.value if cell else None for cell in cells]
        tops = {"best": best_of(best, name), "last": best_of(last, name)}
        rows.append({"name": name, "cells": cells, "better": better_words(name), **tops})
    return rows


def _evaluation_rows(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Return the metrics of `evaluate` by name: the newest value of each run, None without one."""
    measured: list[dict[str, Any]] = []
    for run in runs:
        measured.append({})
        for record in run.evaluations:
            measured[-1] |= _named_numbers(record)["numbers"]
    names = dict.fromkeys(itertools.chain.from_iterable(measured))
    return {name: [of_run.get(name) for of_run in measured] for name in names}


def _fact_rows(runs: Sequence[Run]) -> dict[str, list[str]]:
    known = [facts(run) for run in runs]
    names = dict.fromkeys(itertools.chain.from_iterable(known))
    return {name: [of_run.get(name, "") for of_run in known] for name in names}


def _named_numbers(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of an evaluation apart from the facts about it."""
    counts = ("seed", "real_images", "truncation_psi", "step", "kimg")
    numbers = {n: v for n, v in record.items() if float_or_none(v) is not None and n not in counts}
    return {"numbers": numbers, "facts": {n: v for n, v in record.items() if n not in numbers}}


def _details(event: Mapping[str, Any]) -> str:
    """Return a description of an event, without its time, progress and environment."""
    changes = event.get("changes")
    words = [str(change) for change in changes] if isinstance(changes, list) else []
    rest = {name: value for name, value in event.items() if name not in _SHOWN}
    words += [f"{n}: {v if isinstance(v, str) else json.dumps(v)}" for n, v in rest.items()]
    return "; ".join(words)


def _number(value: Any) -> str:
    """Return a number with at least four digits, or anything else as text."""
    number = float_or_none(value)
    if number is None:
        return "" if value is None else str(value)
    return f"{number:,.0f}" if 1e4 <= abs(number) < 1e9 else f"{number:.4g}"


def _kimg(value: Any) -> str:
    number = float_or_none(value)
    return "" if number is None else f"{number:,.1f}"
