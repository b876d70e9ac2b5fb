"""Translate between scenes and their drawings, and compare with the true drawing of each scene.

Command:   python benchmarks/translation.py --folder runs/translation [--seeds 0 1 2] [--kimg 10]
Cost:      a quarter of an hour a run on one CPU core; nine runs by default

The published networks, those with components, and the published ones trained on pairs, which is
what could be reached. Copying is what a translation that does nothing reaches. What is done already
is kept, so the command may be stopped and given again. Prints Markdown.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib

from benchmark_runs import cells, command, logged, table

from ganformer_jax.config.files import load_experiment
from ganformer_jax.experiment.translation.data import TranslationData
from ganformer_jax.metrics.pairs import pair_error

CONFIG = "scenes_translation"
VARIANTS = {
    "unpaired": [],
    "unpaired, 8 components": ["--generator.components", "8"],
    "pairs": ["--data.paired", "--loss.paired", "10"],
}
METRICS = ("error", "back_error", "swd", "back_swd")


def copying(data: pathlib.Path) -> dict[str, float]:
    """Return the error of held-out scenes as they are."""
    config = load_experiment(CONFIG)
    given = dataclasses.replace(config.data, directory=str(data))
    sets = TranslationData(dataclasses.replace(config, data=given))
    source, target = (
        sets.held_out(kind, config.data.held_out_images) for kind in ("source", "target")
    )
    return dict.fromkeys(("error", "back_error"), pair_error(source, target))


def figures(run: pathlib.Path) -> dict[str, float]:
    """Return the last metrics of a run."""
    measured = [line for line in logged(run) if "metric/error" in line][-1]
    return {name: measured[f"metric/{name}"] for name in METRICS}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="of the runs")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--kimg", type=float, default=10.0)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("data"))
    options = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = {}
    for variant, run, chosen in cells(
        options.folder, VARIANTS, options.variants, options.seeds, options.kimg
    ):
        chosen += ["--optimizer.learning-rate-schedule.kimg", str(options.kimg)]
        chosen += ["--data.directory", str(options.data), "--config", CONFIG]
        command("train", "--workdir", run, *chosen)
        runs.setdefault(variant, []).append(figures(run))
        print(table({"copying": [copying(options.data)], **runs}), flush=True)


if __name__ == "__main__":
    main()
