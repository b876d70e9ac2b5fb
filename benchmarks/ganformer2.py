"""Train a GANformer2 on scenes, and see whether its segments are objects and its edits local.

Command:   python benchmarks/ganformer2.py --folder runs/ganformer2 [--seeds 0] [--kimg 60]
Cost:      half an hour to an hour a run on one CPU core

Compares planned segments with the objects that a segmentation network finds in the images,
restyles, moves and removes every segment, and counts segments of planned and of real layouts. What
is done already is kept, so the command may be stopped and given again. Prints Markdown.
"""

from __future__ import annotations

import argparse
import pathlib

from benchmark_runs import cells, command, distances, table

from ganformer_jax.caches import caches
from ganformer_jax.evaluate.component_metrics import load_segmenter
from ganformer_jax.experiment.ganformer2.data import GANformer2Data
from ganformer_jax.experiment.ganformer2.evaluation import (
    edit_locality,
    layout_counts,
    segment_agreement,
)
from ganformer_jax.experiment.ganformer2.scene_files import load_scenes, scene_sampler
from ganformer_jax.train.devices import find_devices, place_on

CONFIG = "scenes_ganformer2"
VARIANTS = {"together": [], "apart": ["--loss.together-kimg", "None"]}
IMAGES, EDITED = 500, 100


def figures(run: pathlib.Path) -> dict[str, float]:
    """Return what is measured of a run."""
    loaded = load_scenes(run)
    placement = place_on(find_devices("cpu", 1))
    sampler, weights = scene_sampler(loaded, placement, 50)
    data = GANformer2Data(loaded.config)
    splits = [data.images.open(split) for split in ("train", "test")]
    segmenter = load_segmenter(splits[0], splits[1], caches() / "features")
    found = {"swd": list(distances(run).values())[-1]}
    found |= segment_agreement(sampler, weights, segmenter, range(IMAGES))
    found |= edit_locality(sampler, weights, range(EDITED))
    planned = layout_counts(sampler(weights, range(IMAGES)).layouts[:, -1])
    real = layout_counts(data.held_out(IMAGES)["layouts"])
    found |= {f"planned_{name}": value for name, value in planned.items()}
    return found | {f"real_{name}": value for name, value in real.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="of the runs")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--kimg", type=float, default=60.0)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("data"))
    options = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = {}
    for variant, run, chosen in cells(
        options.folder, VARIANTS, options.variants, options.seeds, options.kimg
    ):
        chosen += ["--data.directory", str(options.data), "--config", CONFIG]
        command("train", "--workdir", run, *chosen)
        runs.setdefault(variant, []).append(figures(run))
        print(table(runs), flush=True)


if __name__ == "__main__":
    main()
