"""Train scenes with other ways for components to act on the image, and see what they come to own.

Command:   python benchmarks/components.py --folder runs/components [--seeds 0] [--kimg 50]
Cost:      a quarter of an hour a run on two CPU cores

Each run is the config `scenes_ganformer` with options of `VARIANTS`. Measures the distance, how
well the components that pixels attend to most separate objects, and how local swaps of a component
are. What is done already is kept, so the command may be stopped and given again. Prints Markdown.
"""

from __future__ import annotations

import argparse
import pathlib

from benchmark_runs import RELATIVISTIC, cells, table, train_and_measure

NO_STYLE = ["--generator.synthesis.no-style"]
SIMPLEX = ["--generator.attention.kmeans-iterations", "0"]
BOTH = ["--generator.attention.integration", "both"]
APART = ["--generator.mapping.no-self-attention"]
CARRIED = ["--generator.attention.kmeans-carried"]
DROPPED = ["--generator.component-dropout", "0.3"]
PLACES = ["--generator.attention.places"]
VARIANTS = {
    "scenes_ganformer": [],
    "no style": NO_STYLE,
    "no style, both": NO_STYLE + BOTH,
    "no style, simplex, both": NO_STYLE + SIMPLEX + BOTH,
    "no style, both, apart": NO_STYLE + BOTH + APART,
    "no style, simplex, both, apart": NO_STYLE + SIMPLEX + BOTH + APART,
    "no style, both, apart, carried": NO_STYLE + BOTH + APART + CARRIED,
    "no style, simplex, both, apart, dropped": NO_STYLE + SIMPLEX + BOTH + APART + DROPPED,
    "simplex, both, apart": SIMPLEX + BOTH + APART,
    "relativistic": RELATIVISTIC,
    "relativistic, no style, both, apart": RELATIVISTIC + NO_STYLE + BOTH + APART,
    "relativistic, no style, simplex, both, apart": RELATIVISTIC
    + NO_STYLE
    + SIMPLEX
    + BOTH
    + APART,
    "relativistic, places": RELATIVISTIC + NO_STYLE + SIMPLEX + BOTH + APART + PLACES,
    "relativistic, places, style": RELATIVISTIC + SIMPLEX + BOTH + APART + PLACES,
    "places": NO_STYLE + SIMPLEX + BOTH + APART + PLACES,
}
OTHER_COUNTS = (2, 4, 16)  # beside 8; latents have the same total width
for count in OTHER_COUNTS:
    number = ["--generator.components", str(count)]
    VARIANTS[f"{count} components"] = number
    VARIANTS[f"relativistic, places, {count} components"] = [
        *VARIANTS["relativistic, places"],
        *number,
    ]
METRICS = "swd2k,seg500,edit100"


def figures(found: dict[str, float]) -> dict[str, float]:
    """Return the distance, the best attention layer by ARI, and changes by swaps in the last."""
    ari = {name: value for name, value in found.items() if "_layer" in name and "_ari" in name}
    best = max(ari, key=lambda name: ari[name])
    changes = [name for name in found if "_swap_layer" in name]
    last = changes[-1].rsplit("_", 1)[0]
    return {
        "swd": found["swd2k"],
        "ARI": ari[best],
        "IoU": found[best.replace("_ari", "_iou")],
        **{place: found[f"{last}_{place}"] for place in ("inside", "outside", "random")},
    }


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
        chosen += ["--config", "scenes_ganformer", "--data.directory", str(options.data)]
        measured = train_and_measure(run, chosen, METRICS)
        runs.setdefault(variant, []).append(figures(measured))
        print(table(runs), flush=True)


if __name__ == "__main__":
    main()
