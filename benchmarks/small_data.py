"""Train on few images with and without what is meant to help, and compare with held-out images.

Command:   python benchmarks/small_data.py --folder runs/small [--seeds 0 1 2] [--kimg 40]
Cost:      about ten minutes a run on two CPU cores; 21 runs by default

All runs see equally many images of the same 500 scenes. What is done already is kept, so the
command may be stopped and given again. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

import numpy as np

ADAPTIVE = ["--augment.transforms", "bgc", "--augment.kimg", "40"]
FIXED = ["--augment.transforms", "bgc", "--augment.mode", "fixed", "--augment.p", "0.3"]
DIFF = ["--augment.diff-augment", "color", "translation", "cutout"]
PAIRED = ["--loss.generator", "relativistic", "--loss.discriminator", "relativistic"]
PAIRED += ["--loss.r2-gamma", "0.3"]
VARIANTS = {
    "nothing": [],
    "ADA": ADAPTIVE,
    "DiffAugment": DIFF,
    "relativistic, R1 and R2": PAIRED,
    "ADA and DiffAugment": ADAPTIVE + DIFF,
    "relativistic, fixed p": PAIRED + FIXED,
    "relativistic, DiffAugment": PAIRED + DIFF,
}
METRICS = "swd2k,rkid2k,rpr2k"
MEASURED = ("swd", "rkid", "rpr")
RUN = [sys.executable, str(pathlib.Path(__file__).resolve().parents[1] / "run.py")]


def train_and_measure(run: pathlib.Path, options: list[str], images: int, kimg: float) -> None:
    """Train a run to its end, and measure it, unless that is done."""
    if (run / "measured.json").exists():
        return
    train = ["train", "--workdir", str(run), "--data.train-images", str(images), *options]
    train += ["--train.total-kimg", str(kimg)]
    evaluate = ["evaluate", "--workdir", str(run), "--metrics", METRICS, "--split", "test"]
    subprocess.run(RUN + train, check=True, stdout=sys.stderr)
    said = subprocess.run(RUN + evaluate, check=True, stdout=subprocess.PIPE, text=True).stdout
    (run / "measured.json").write_text(said.strip().splitlines()[-1])


def figures(run: pathlib.Path) -> dict[str, float]:
    """Return the final metrics of a run, and its last r_t, p and diversity."""
    measured = json.loads((run / "measured.json").read_text())
    found = {name: value for name, value in measured.items() if name.startswith(MEASURED)}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for name in ("overfitting/r_t", "augment/p", "diversity/generated"):
        values = [line[name] for line in lines if name in line]
        if values:
            found[name] = float(np.mean(values[-5:]))
    return found


def table(runs: dict[str, list[dict[str, float]]]) -> str:
    """Return mean and range over the seeds of every figure of every variant."""
    names = list(dict.fromkeys(name for found in runs.values() for one in found for name in one))
    lines = [f"| {' | '.join(['variant', 'runs', *names])} |", "| --- " * (len(names) + 2) + "|"]
    for variant, found in runs.items():
        cells = [variant, str(len(found))]
        for name in names:
            values = [one[name] for one in found if name in one]
            spread = f" ({min(values):.3g} to {max(values):.3g})" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.3g}{spread}" if values else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="of the runs")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--kimg", type=float, default=40.0)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS))
    options = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = {}
    for seed in options.seeds:
        for variant in options.variants:
            name = variant.replace(", ", "-").replace(" ", "-").lower()
            run = options.folder / f"{name}-{seed}"
            chosen = [*VARIANTS[variant], "--train.seed", str(seed)]
            train_and_measure(run, chosen, options.images, options.kimg)
            runs.setdefault(variant, []).append(figures(run))
            print(table(runs), flush=True)


if __name__ == "__main__":
    main()
