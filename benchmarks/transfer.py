"""Train from other weights and from scratch, and compare at equal numbers of images.

Command:   python benchmarks/transfer.py --folder runs/transfer [--source RUN] [--kimg 20]
Cost:      about two hours on two CPU cores: the source, 50 thousand images unless it is given, and
           eight runs, two of them of 64x64 pixels
           With --published PYTHON CHECKOUT a ninth, and 20 minutes of PyTorch before it

The source is the config `scenes_ganformer`, 32x32 without labels. Its averaged generator and its
discriminator start scenes of 64x64, scenes with the number of their objects as the class, and
scikit-learn's digits, which have nothing in common with scenes; digits also with Freeze-D, and from
an export, which is the averaged generator alone. With --published they also start from a snapshot
that the published PyTorch code made of scenes (see published_snapshot.py). What is done already is
kept, so the command may be stopped and given again. Prints Markdown.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
from benchmark_runs import command, curves_table, distances
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ganformer_jax.visualize import save_png

CONFIG = ["--config", "scenes_ganformer"]
EVERY = 2.0  # thousand images between metrics
COUNTS = range(2, 7)  # objects in a scene
PUBLISHED = [
    *("--generator.mapping.num-layers", "2"),
    "--generator.attention.no-kmeans-weight-per-iteration",
]
"""What the networks of `published.py` have otherwise than the config `scenes_ganformer`."""


def prepare_digits(folder: pathlib.Path) -> list[str]:
    """Prepare digits as color images of 32x32; return the options that train on them."""
    data = folder / "data" / "digits"
    if not data.exists():
        from sklearn.datasets import load_digits

        path = folder / "digits.npz"
        digits: Any = load_digits()
        np.savez(path, images=digits.images)
        command(
            *("prepare", path, "--name", "digits", "--data-dir", folder / "data"),
            *("--resolution", "32", "--channels", "3", "--value-range", "0", "16"),
            *("--held-out", "200"),
        )
    return ["--data.name", str(data)]


def scenes_builder(folder: pathlib.Path, count: int) -> Any:
    """Return the dataset of 32x32 scenes, rendered if it is not there."""
    from ganformer_jax.scenes.dataset import prepare_scenes

    return prepare_scenes(str(folder / "data"), 32, count, count // 10)


def prepare_counted(folder: pathlib.Path) -> list[str]:
    """Prepare scenes with their number of objects; return the options that train on them."""
    data = folder / "data" / "counted"
    if not data.exists():
        table = folder / "counts.csv"
        builder = scenes_builder(folder, 10_000)
        with table.open("w", newline="") as file:
            for number, scene in enumerate(builder.as_data_source("train")):
                count = len(scene["objects"]["shape"])
                csv.writer(file).writerow([f"{number:04d}", f"{count} objects"])
        command(
            *("prepare", builder.data_path, "--name", "counted", "--data-dir", folder / "data"),
            *("--labels", table, "--held-out", "1000"),
        )
    return ["--data.name", str(data), "--generator.label-size", str(len(COUNTS))]


def exported(source: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Export the source, whose file has averages only: a discriminator starts anew."""
    path = folder / "source.safetensors"
    if not path.exists():
        command("export", "--workdir", source, "--out", path)
    return path


def published(python: str, checkout: str, folder: pathlib.Path) -> pathlib.Path:
    """Train the published networks on scenes, by a Python that has PyTorch."""
    path, images = folder / "published.pkl", folder / "scenes.npz"
    if not path.exists():
        scenes = scenes_builder(folder, 20_000).as_data_source("train")
        np.savez(images, images=np.stack([scene["image"] for scene in scenes]))
        script = pathlib.Path(__file__).with_name("published_snapshot.py")
        subprocess.run(
            [python, script, checkout, "--images", images, "--out", path],
            check=True,
            stdout=sys.stderr,
        )
    return path


def draw(curves: dict[str, dict[float, float]]) -> np.ndarray:
    """Draw a panel for each case, with a line for each start."""
    cases = list(dict.fromkeys(name.split(", ")[0] for name in curves))
    figure = Figure(figsize=(4 * len(cases), 3.2), layout="constrained", dpi=100)
    canvas = FigureCanvasAgg(figure)
    for axes, case in zip(figure.subplots(1, len(cases), squeeze=False)[0], cases, strict=True):
        for name, found in curves.items():
            if name.startswith(f"{case}, "):
                axes.plot(*zip(*sorted(found.items()), strict=True), label=name.split(", ")[1])
        axes.set(title=case, xlabel="thousand images", ylabel="distance", yscale="log")
        axes.grid(alpha=0.3, which="both")
        axes.legend(frameon=False, fontsize=8)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="of runs and datasets")
    parser.add_argument("--source", type=pathlib.Path, help="a run of the config scenes_ganformer")
    parser.add_argument(
        "--published",
        nargs=2,
        metavar=("PYTHON", "CHECKOUT"),
        help="an interpreter with PyTorch, and a folder of the published code",
    )
    parser.add_argument("--kimg", type=float, default=20.0)
    parser.add_argument("--cases", nargs="*", default=["64x64", "counted", "digits"])
    parser.add_argument("--figure", type=pathlib.Path, help="PNG of the distances over images")
    options = parser.parse_args()
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    source = options.source or folder / "source"
    if options.source is None:
        command("train", *CONFIG, "--workdir", source, "--data.directory", folder / "data")
    starts = {"from scratch": [], "from scenes": ["--init-from", str(source)]}
    curves: dict[str, dict[float, float]] = {}
    for case in options.cases:
        if case == "64x64":
            given = ["--generator.resolution", "64", "--data.directory", str(folder / "data")]
        else:
            given = prepare_counted(folder) if case == "counted" else prepare_digits(folder)
        more: dict[str, list[str]] = {}
        if case == "digits":
            more["frozen"] = [*starts["from scenes"], "--train.freeze-discriminator", "2"]
            more["from an export"] = ["--init-from", str(exported(source, folder))]
            if options.published:
                interpreter, checkout = options.published
                snapshot = published(interpreter, checkout, folder)
                more["from a published snapshot"] = ["--init-from", str(snapshot), *PUBLISHED]
        for start, chosen in (starts | more).items():
            run = folder / f"{case}-{start.replace(' ', '-')}"
            command(
                *("train", *CONFIG, "--workdir", run, *given, *chosen),
                *("--train.total-kimg", str(options.kimg), "--train.metric-kimg", str(EVERY)),
            )
            curves[f"{case}, {start}"] = distances(run)
            print(curves_table(curves), flush=True)
    if options.figure:
        save_png(options.figure, draw(curves))


if __name__ == "__main__":
    main()
