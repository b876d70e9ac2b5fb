"""Train in float32 and in bfloat16 from several seeds, and compare curves and distances.

Command:   python benchmarks/precision.py [--config NAME] [--kimg 16] [--seeds 0 1 2]
Cost:      five to ten minutes a run on two CPU cores; six runs by default

Runs that are already in --folder are resumed, or read if they are complete. Prints a table, with
the mean over seeds and their range, and draws the curves to --figure.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np
from benchmark_runs import command, logged

TYPES = ("float32", "bfloat16")
CURVES = {
    "loss/generator": "generator loss",
    "loss/discriminator": "discriminator loss",
    "overfitting/r_t": "r_t",
    "metric/swd": "sliced Wasserstein distance",
}
Curve = Mapping[float, float]
"""Value by kimg."""


def train(folder: pathlib.Path, config: str, dtype: str, seed: int, kimg: float) -> pathlib.Path:
    """Train one run, unless it is complete, and evaluate its end once; return its folder."""
    run = folder / f"{dtype}-{seed}"
    words = f"""train --config {config} --workdir {run} --data.directory {folder / "data"}
    --train.seed {seed} --train.total-kimg {kimg} --train.log-kimg 0.5 --train.metrics swd
    --train.metric-kimg {kimg / 8} --train.image-kimg {kimg} --train.checkpoint-kimg {kimg / 4}
    --generator.dtype {dtype} --discriminator.dtype {dtype}"""
    command(*words.split())
    if evaluation_of_end(run) is None:
        command(*f"evaluate --workdir {run} --metrics swd2k,rkid1k,rpr1k".split())
    return run


def evaluation_of_end(run: pathlib.Path) -> dict[str, Any] | None:
    """Return the evaluation after the last logged image; None if there is none yet."""
    path, end = run / "evaluations.jsonl", max(line["kimg"] for line in logged(run))
    lines = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
    return next((line for line in lines if line["kimg"] == end), None)


def curves(run: pathlib.Path) -> dict[str, Curve]:
    found: dict[str, dict[float, float]] = {name: {} for name in CURVES}
    for line in logged(run):
        for name in found.keys() & line.keys():
            found[name][line["kimg"]] = line[name]
    return dict(found)


def summary(run: pathlib.Path, kimg: float) -> dict[str, float]:
    """Return means of the second half of the curves, distances at the end, and the speed."""
    numbers = {}
    for name, curve in curves(run).items():
        late = [value for at, value in curve.items() if at > kimg / 2]
        numbers[f"{CURVES[name]}, mean of the second half"] = statistics.mean(late)
    evaluation = evaluation_of_end(run) or {}
    return numbers | {n: v for n, v in evaluation.items() if n.startswith(("swd", "rkid", "rpr"))}


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def draw(runs: Mapping[str, list[pathlib.Path]], path: pathlib.Path) -> None:
    """Draw every run's curves, one color a type."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(CURVES), figsize=(4 * len(CURVES), 3.2))
    for axes, (name, title) in zip(panels, CURVES.items(), strict=True):
        for dtype, color in zip(TYPES, ("#0072B2", "#D55E00"), strict=True):
            for number, run in enumerate(runs[dtype]):
                kimg, values = np.array(sorted(curves(run)[name].items())).T
                label = dtype if number == 0 else None
                axes.plot(kimg, values, color=color, alpha=0.7, linewidth=1.2, label=label)
        axes.set(title=title, xlabel="kimg")
        if name == "metric/swd":
            axes.set_yscale("log")
    panels[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default="scenes_ganformer")
    parser.add_argument("--kimg", type=float, default=16.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("runs/precision"))
    parser.add_argument("--figure", type=pathlib.Path, default=pathlib.Path("precision.png"))
    options = parser.parse_args()
    runs: dict[str, list[pathlib.Path]] = {dtype: [] for dtype in TYPES}
    for seed in options.seeds:
        for dtype in TYPES:
            run = train(options.folder, options.config, dtype, seed, options.kimg)
            runs[dtype].append(run)
    found = {dtype: [summary(run, options.kimg) for run in runs[dtype]] for dtype in TYPES}
    print(f"| number | {' | '.join(TYPES)} |\n| --- | --- | --- |")
    for name in found[TYPES[0]][0]:
        columns = (spread([numbers[name] for numbers in found[dtype]]) for dtype in TYPES)
        print(f"| {name} | {' | '.join(columns)} |")
    draw(runs, options.figure)


if __name__ == "__main__":
    main()
