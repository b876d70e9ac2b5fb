"""Train on few images with and without what is meant to help, and compare with held-out images.

Command:   python benchmarks/small_data.py --folder runs/small [--seeds 0 1 2] [--kimg 40]
Cost:      about ten minutes a run on two CPU cores; 21 runs by default

Each run is the config `scenes_ganformer` with options of `VARIANTS`, and sees equally many images
of the same 500 scenes. What is done already is kept, so the command may be stopped and given again.
Prints Markdown.
"""

from __future__ import annotations

import argparse
import pathlib

import numpy as np
from benchmark_runs import RELATIVISTIC, cells, logged, table, train_and_measure

ADAPTIVE = ["--augment.transforms", "bgc", "--augment.kimg", "40"]
FIXED = ["--augment.transforms", "bgc", "--augment.mode", "fixed", "--augment.p", "0.3"]
DIFF = ["--augment.diff-augment", "color", "translation", "cutout"]
VARIANTS = {
    "nothing": [],
    "ADA": ADAPTIVE,
    "DiffAugment": DIFF,
    "relativistic, R1 and R2": RELATIVISTIC,
    "ADA and DiffAugment": ADAPTIVE + DIFF,
    "relativistic, fixed p": RELATIVISTIC + FIXED,
    "relativistic, DiffAugment": RELATIVISTIC + DIFF,
}
METRICS = "swd2k,rkid2k,rpr2k"
MEASURED = ("swd", "rkid", "rpr")


def figures(run: pathlib.Path, measured: dict[str, float]) -> dict[str, float]:
    """Return the final metrics of a run, and its last r_t, p and diversity."""
    found = {name: value for name, value in measured.items() if name.startswith(MEASURED)}
    for name in ("overfitting/r_t", "augment/p", "diversity/generated"):
        values = [line[name] for line in logged(run) if name in line]
        if values:
            found[name] = float(np.mean(values[-5:]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="of the runs")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--kimg", type=float, default=40.0)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    options = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = {}
    for variant, run, chosen in cells(
        options.folder, VARIANTS, options.variants, options.seeds, options.kimg
    ):
        chosen += ["--config", "scenes_ganformer", "--data.train-images", str(options.images)]
        measured = train_and_measure(run, chosen, METRICS)
        runs.setdefault(variant, []).append(figures(run, measured))
        print(table(runs), flush=True)


if __name__ == "__main__":
    main()
