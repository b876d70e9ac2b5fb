"""Train scenes with captions, or with what they say as numbers, and count what images show of it.

Command:   python benchmarks/captions.py --folder runs/captions [--seeds 0] [--kimg 50]
Cost:      half an hour to an hour a run on two CPU cores

Captions with some pairs of color and shape are left out of training, and measured with the others
of held-out scenes. What is done already is kept, so the command may be stopped and given again.
Prints Markdown, for each statement the share that the segmentation network sees; "real" are the
scenes themselves, "other" generated images with the captions of others.
"""

from __future__ import annotations

import argparse
import pathlib

from benchmark_runs import cells, table, train_and_measure

PROJECTION = ["--discriminator.label-logit", "projection"]
TOKENS = ["--generator.label-size", "18"]
for network in ("generator", "discriminator"):
    TOKENS += [f"--{network}.text.vocabulary", "39", f"--{network}.text.longest", "18"]
MISMATCH = ["--loss.mismatch-weight", "1"]
CONTRASTIVE = ["--loss.contrastive-weight", "1"]
PLACES = ["--config", "scenes", *PROJECTION]
WORDS = ["--config", "scenes_ganformer", "--generator.attention.kmeans-iterations", "0"]
NUMBERS = ["--generator.label-size", "45"]
VARIANTS = {
    "pixels attend to words": [*WORDS, *PROJECTION, *TOKENS],
    "pixels attend to words, contrastive": [*WORDS, *PROJECTION, *TOKENS, *CONTRASTIVE],
    "places": [*PLACES, *TOKENS],
    "places, mismatch": [*PLACES, *TOKENS, *MISMATCH],
    "places, contrastive": [*PLACES, *TOKENS, *CONTRASTIVE],
    "places, numbers": [*PLACES, *NUMBERS],
    "places, numbers, contrastive": [*PLACES, *NUMBERS, *CONTRASTIVE],
}
"""With "numbers", labels are `scenes.captions.FACTS`; else both networks read captions."""
SCORES = ("count", "color", "size", "material", "shape", "relation", "pair", "held_out_pair")
METRICS = "swd2k,caption1k"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="of the runs")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--kimg", type=float, default=50.0)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("data"))
    options = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = {}
    for variant, run, chosen in cells(
        options.folder, VARIANTS, options.variants, options.seeds, options.kimg
    ):
        chosen += ["--data.held-out-pairs", "--data.directory", str(options.data)]
        measured = train_and_measure(run, chosen, METRICS)
        given, other, real = (
            {score: measured[f"caption1k_{case}{score}"] for score in SCORES}
            for case in ("", "other_", "real_")
        )
        runs.setdefault(variant, []).append({"swd": measured["swd2k"], **given})
        runs.setdefault(f"{variant}: other", []).append(other)
        runs["real"] = [real]  # the same for all runs
        print(table(runs), flush=True)


if __name__ == "__main__":
    main()
