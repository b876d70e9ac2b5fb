"""Draw what `small_data.py` trained: r_t, p and distance over time, and samples of every variant.

Command:   python benchmarks/small_figures.py --folder runs/small --out figures
"""

from __future__ import annotations

import argparse
import pathlib

import numpy as np
from benchmark_runs import folder_name, logged
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from small_data import VARIANTS

from ganformer_jax.load import load_run
from ganformer_jax.sampling import Sampler
from ganformer_jax.visualize import image_grid, save_png

PANELS = {"overfitting/r_t": "r_t", "augment/p": "p", "metric/swd": "distance to held-out scenes"}


def curves(runs: dict[str, pathlib.Path], smooth: int = 5) -> np.ndarray:
    """Draw a panel for each of `PANELS` and a line for each run, of means of `smooth` logs."""
    figure = Figure(figsize=(12, 3.6), layout="constrained", dpi=100)
    canvas, all_axes = FigureCanvasAgg(figure), figure.subplots(1, len(PANELS))
    for axes, (key, title) in zip(all_axes, PANELS.items(), strict=True):
        for number, (variant, run) in enumerate(runs.items()):
            points = [(line["kimg"], line[key]) for line in logged(run) if key in line]
            if not points:
                continue
            kimg, values = np.array(points).T
            if key != "metric/swd" and len(values) >= smooth:
                values = np.convolve(values, np.full(smooth, 1 / smooth), mode="valid")
                kimg = kimg[smooth - 1 :]
            axes.plot(kimg, values, color=f"C{number}", label=variant)
        axes.set(title=title, xlabel="thousand images")
        axes.grid(alpha=0.3)
    all_axes[-1].set_ylim(0, 150)
    all_axes[-1].legend(frameon=False, fontsize=7)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="of the runs")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the figures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--columns", type=int, default=12)
    options = parser.parse_args()
    runs = {name: options.folder / folder_name(name, options.seed) for name in VARIANTS}
    save_png(options.out / "small-data-curves.png", curves(runs))
    rows = []
    for run in runs.values():
        generator, variables = load_run(run)
        rows.append(Sampler(generator.config)(variables, range(options.columns)).images)
    grid = image_grid(np.concatenate(rows), options.columns, scale=2)
    save_png(options.out / "small-data-samples.png", grid)
    print(f"small-data-curves.png, small-data-samples.png in {options.out}: {', '.join(runs)}")


if __name__ == "__main__":
    main()
