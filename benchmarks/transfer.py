"""Train from other weights and from scratch, and compare at equal numbers of images.

Command:   python benchmarks/transfer.py --folder runs/transfer [--source RUN] [--kimg 20]
Cost:      about two hours on two CPU cores: the source, 50 thousand images unless it is given, and
           seven runs, two of them of 64x64 pixels

The source is the config `scenes`, 32x32 without labels. Its averaged generator and its
discriminator start scenes of 64x64, scenes with the number of their objects as the class, and
scikit-learn's digits, which have nothing in common with scenes. What is done already is kept, so
the command may be stopped and given again. Prints Markdown.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
from typing import Any

import numpy as np
from runs import command, curves_table, distances

EVERY = 2.0  # thousand images between metrics
COUNTS = range(2, 7)  # objects in a scene


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


def prepare_counted(folder: pathlib.Path) -> list[str]:
    """Prepare scenes with their number of objects; return the options that train on them."""
    data = folder / "data" / "counted"
    if not data.exists():
        import tensorflow_datasets as tfds

        from ganformer_jax.scenes.dataset import prepare_scenes

        prepare_scenes(str(folder / "data"), 32, 10_000, 1_000)
        (source,) = (folder / "data").glob("scenes/32px_train10000*")
        (version,) = source.iterdir()
        builder: Any = tfds.builder_from_directory(str(version))
        table = folder / "counts.csv"
        scenes = builder.as_data_source("train")
        with table.open("w", newline="") as file:
            for number, scene in enumerate(scenes):
                count = len(scene["objects"]["shape"])
                csv.writer(file).writerow([f"{number:04d}", f"{count} objects"])
        command(
            *("prepare", source, "--name", "counted", "--data-dir", folder / "data"),
            *("--labels", table, "--held-out", "1000"),
        )
    return ["--data.name", str(data), "--generator.label-size", str(len(COUNTS))]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="of runs and datasets")
    parser.add_argument("--source", type=pathlib.Path, help="a run of the config scenes")
    parser.add_argument("--kimg", type=float, default=20.0)
    parser.add_argument("--cases", nargs="*", default=["64x64", "counted", "digits"])
    options = parser.parse_args()
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    source = options.source or folder / "source"
    if options.source is None:
        command("train", "--workdir", source, "--data.directory", folder / "data")
    starts = {"from scratch": [], "from scenes": ["--init-from", str(source)]}
    curves: dict[str, dict[float, float]] = {}
    for case in options.cases:
        if case == "64x64":
            given = ["--generator.resolution", "64", "--data.directory", str(folder / "data")]
        else:
            given = prepare_counted(folder) if case == "counted" else prepare_digits(folder)
        more = {"frozen": [*starts["from scenes"], "--train.freeze-discriminator", "2"]}
        for start, chosen in (starts | (more if case == "digits" else {})).items():
            run = folder / f"{case}-{start.replace(' ', '-')}"
            command(
                *("train", "--workdir", run, *given, *chosen),
                *("--train.total-kimg", str(options.kimg), "--train.metric-kimg", str(EVERY)),
            )
            curves[f"{case}, {start}"] = distances(run)
            print(curves_table(curves), flush=True)


if __name__ == "__main__":
    main()
