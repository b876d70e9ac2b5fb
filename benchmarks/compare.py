"""The paper's comparison: GANformer beside StyleGAN2, GAN, k-GAN, SAGAN, VQGAN, on the scenes.

Command:   python benchmarks/compare.py --folder runs/compare [--seeds 0 1 2] [--kimg 100] [--hard]
Cost:      half an hour to an hour a run on one CPU core; 39 runs by default, 15 with --hard

All runs see equally many images. The generators of StyleGAN2 and GAN have 76 channels rather than
64, and with them as many operations as GANformer's; the table has those of all but VQGAN's, which
makes an image code by code; two fifths of its images train its autoencoder. A StyleGAN2 with
latents of 54 numbers rather than 256 has as many parameters as GANformer too. What each has
reached when the quickest has ended is their comparison at equal time, and the last table has the
distance by minutes: of training alone, without compilation and measurements, as `compare_pace.py`
timed it, or else as the runs went. What is done already is kept, so the command may be stopped and
given again, and a copy of `benchmarks/results/compare` is a folder of runs whose table is made at
once. Prints Markdown, and writes a page with curves and samples of the first seed beside each
other.

`--hard` compares the main variants on `scenes_hard`, at 64x64, where as many operations take 82
channels. It needs a folder of its own.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
from typing import Any

import jax
import numpy as np
from benchmark_runs import (
    PACE,
    RELATIVISTIC,
    by_minutes,
    cells,
    command,
    curves_table,
    distances,
    logged,
    table,
    train_and_measure,
)

from ganformer_jax import Config, create_state
from ganformer_jax.config.files import load_experiment
from ganformer_jax.config.prior import PriorConfig
from ganformer_jax.sampling import Sampler
from ganformer_jax.train.kinds.prior_state import create_prior

EQUAL = ["--generator.synthesis.channel-base", "1216", "--generator.synthesis.channel-max", "76"]
VARIANTS = {
    "GANformer, duplex": ["--config", "scenes_ganformer"],
    "GANformer, simplex": [
        *("--config", "scenes_ganformer"),
        *("--generator.attention.kmeans-iterations", "0"),
    ],
    "StyleGAN2": ["--config", "scenes_stylegan2", *EQUAL],
    "StyleGAN2, equal parameters": [
        *("--config", "scenes_stylegan2"),
        *EQUAL,
        *("--generator.latent-size", "54"),
    ],
    "SAGAN": ["--config", "scenes_sagan"],
    "k-GAN": ["--config", "scenes_kgan"],
    "GAN": ["--config", "scenes_gan", *EQUAL],
    "DCGAN": ["--config", "scenes_dcgan"],
    "SAGAN of its paper": ["--config", "scenes_sagan_published"],
    "GANformer, relativistic": ["--config", "scenes_r3gan"],
    "StyleGAN2, relativistic": ["--config", "scenes_stylegan2", *EQUAL, *RELATIVISTIC],
    "GANformer, places": ["--config", "scenes"],
    "VQGAN": ["--config", "scenes_prior"],
}
HARD = ["--data.name", "scenes_hard", "--generator.resolution", "64", "--loss.r1-gamma", "1.2"]
WITH_COMPONENTS = [
    *("--generator.components", "16", "--generator.latent-size", "512"),
    *("--generator.attention-resolutions", "4", "64"),
]
HARD_EQUAL = ["--generator.synthesis.channel-base", "1312"]
HARD_EQUAL += ["--generator.synthesis.channel-max", "82"]
HARD_VARIANTS = {
    "GANformer, duplex": [*VARIANTS["GANformer, duplex"], *HARD, *WITH_COMPONENTS],
    "GANformer, simplex": [*VARIANTS["GANformer, simplex"], *HARD, *WITH_COMPONENTS],
    "StyleGAN2": ["--config", "scenes_stylegan2", *HARD, *HARD_EQUAL],
    "GAN": ["--config", "scenes_gan", *HARD, *HARD_EQUAL],
    "GANformer, places": ["--config", "scenes_hard"],
}
METRICS = "swd2k,rkid2k,rpr2k"
OF_COMPONENTS = ",seg500,dci2k"
ATTENTION = ("GANformer", "k-GAN")  # variants with components, whose regions can be scored
BATCH = 16


def pace(run: pathlib.Path) -> float:
    """Return the mean of the seconds for a thousand images; of each stage of training the median.

    So no interruption changes it.
    """
    stages: dict[bool, list[float]] = {}
    for line in logged(run):
        if "seconds_per_kimg" in line:
            stages.setdefault("loss/bits" in line, []).append(line["seconds_per_kimg"])
    total = sum(statistics.median(seconds) * len(seconds) for seconds in stages.values())
    return total / sum(map(len, stages.values()))


def paces(folder: pathlib.Path, runs: dict[str, list[pathlib.Path]]) -> dict[str, float]:
    """Return the seconds for a thousand images of every variant: as timed, or as its runs went."""
    timed = folder / PACE
    found = json.loads(timed.read_text()) if timed.exists() else {}
    return {v: statistics.median(found.get(v) or map(pace, of)) for v, of in runs.items()}


def distance_at(run: pathlib.Path, kimg: float) -> float:
    """Return the distance after thousands of images, interpolated between two measurements.

    NaN before the first measurement and after the last.
    """
    found = distances(run)
    return float(np.interp(kimg, list(found), list(found.values()), np.nan, np.nan))


def millions(tree: Any) -> float:
    """Return the size of a tree of arrays, in millions."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree)) / 1e6


def sizes(config: Config | PriorConfig) -> dict[str, float]:
    """Return millions of parameters, and operations (1e9) of the generator for an image.

    The generator of a prior is all that makes images; XLA does not count what loops repeat.
    """
    if isinstance(config, PriorConfig):
        prior = jax.eval_shape(lambda: create_prior(config, jax.random.key(0)))
        makes = prior.autoencoder["decoder"], prior.codebook.entries, prior.transformer
        return {"parameters of G (1e6)": millions(makes), "of D": millions(prior.discriminator)}
    state: Any = jax.eval_shape(lambda: create_state(config, jax.random.key(0)))
    lowered = Sampler(config.generator, BATCH).lower(state.generator_variables())
    costs: Any = lowered.cost_analysis()
    return {
        "parameters of G (1e6)": millions(state.generator),
        "of D": millions(state.discriminator),
        "operations of G (1e9)": costs["flops"] / BATCH / 1e9,
    }


def figures(run: pathlib.Path, measured: dict[str, Any]) -> dict[str, float]:
    """Return the metrics of a run, its memory and its sizes."""
    chosen = {
        "swd": measured["swd2k"],
        "rkid": measured["rkid2k"],
        "precision": measured["rpr2k_precision"],
        "recall": measured["rpr2k_recall"],
    }
    ari = [value for name, value in measured.items() if "_layer" in name and "_ari" in name]
    chosen |= {"ARI": max(ari)} if ari else {}
    chosen |= {n: v for n, v in measured.items() if n.startswith("dci")}
    memory = [line["memory_gib"] for line in logged(run) if "memory_gib" in line]
    chosen |= {"GiB": max(memory)} if memory else {}
    return chosen | sizes(load_experiment(run / "config.json"))


def stages(kimg: float) -> list[str]:
    """Return options that divide thousands of images between VQGAN's stages, as its config does."""
    shares = {
        "prior.autoencoder-kimg": 0.4,
        "prior.adversarial-kimg": 0.3,
        "autoencoder-optimizer.learning-rate-schedule.kimg": 0.4,
        "transformer-optimizer.learning-rate-schedule.kimg": 0.6,
    }
    return [word for n, share in shares.items() for word in (f"--{n}", str(round(share * kimg, 3)))]


def mean_curve(runs: list[pathlib.Path]) -> dict[float, float]:
    """Return the mean distance by thousand images, where all runs measured one."""
    curves = [distances(run) for run in runs]
    common = [kimg for kimg in curves[0] if all(kimg in curve for curve in curves)]
    return {kimg: statistics.mean(curve[kimg] for curve in curves) for kimg in common}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="of the runs")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--kimg", type=float, default=100.0)
    parser.add_argument("--variants", nargs="*", choices=list(VARIANTS))
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("data"))
    parser.add_argument("--hard", action="store_true", help="scenes_hard, at 64x64")
    options = parser.parse_args()
    variants = HARD_VARIANTS if options.hard else VARIANTS
    names = options.variants or list(variants)
    if unknown := [name for name in names if name not in variants]:
        parser.error(f"--hard has no variant {unknown[0]}")
    folders: dict[str, list[pathlib.Path]] = {}
    found: dict[str, list[dict[str, float]]] = {}
    for variant, run, chosen in cells(options.folder, variants, names, options.seeds, options.kimg):
        chosen += ["--data.directory", str(options.data)]
        if variant == "VQGAN":
            chosen += stages(options.kimg)
        metrics = METRICS + (OF_COMPONENTS if variant.startswith(ATTENTION) else "")
        measured = train_and_measure(run, chosen, metrics)
        folders.setdefault(variant, []).append(run)
        found.setdefault(variant, []).append(figures(run, measured))
        print(f"{run.name}: swd {measured['swd2k']:.1f}", flush=True)
    seconds = paces(options.folder, folders)
    quickest = options.kimg * min(seconds.values())
    for variant, runs in folders.items():
        reached = quickest / seconds[variant]
        for one, run in zip(found[variant], runs, strict=True):
            one["images/s"] = 1000 / seconds[variant]
            one[f"swd after {quickest / 60:.0f} min"] = distance_at(run, reached)
    curves = {variant: mean_curve(runs) for variant, runs in folders.items()}
    print(table(found), curves_table(curves), sep="\n\n")
    print("", curves_table(by_minutes(curves, seconds), "minutes"), sep="\n")
    first = [runs[0] for runs in folders.values()]
    command("report", *first, "--out", options.folder / "report.html", "--overwrite")


if __name__ == "__main__":
    main()
