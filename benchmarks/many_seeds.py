"""Train DCGAN and SAGAN with many seeds for few images, and count the runs that fail.

Command:   python benchmarks/many_seeds.py --folder runs/seeds [--seeds 20] [--kimg 20]
Cost:      five minutes a run of DCGAN, fifteen of SAGAN, on one CPU core

A run is not finite if training returned to a checkpoint or ended because of such numbers; it has
diverged if its distance at the end is not half of that of the untrained network; and collapsed if
its images vary less than `train.alarms` allows, on average over the last five reports. What is done
already is kept, so the command may be stopped and given again. Prints Markdown.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import subprocess
import sys

from benchmark_runs import RUN, cells, distances, logged
from compare import VARIANTS

from ganformer_jax.train.logs.alarms import DIVERSITY
from ganformer_jax.train.logs.history import events

NAMES = ("DCGAN", "SAGAN", "SAGAN of its paper")
STOPPED = 75
OUTCOMES = ("not finite", "diverged", "collapsed")


def train(run: pathlib.Path, options: list[str], kimg: float) -> bool:
    """Train a run to its end, unless that is done; return whether its numbers were finite.

    A signal ends this process too.
    """
    if not is_complete(run, kimg):
        words = [*RUN, "train", "--workdir", str(run), *options, "--stop-code", str(STOPPED)]
        code = subprocess.run(words, stdout=sys.stderr, check=False).returncode
        if code == STOPPED or code < 0:
            sys.exit(STOPPED)
    recovered = any(event.get("event") == "recovered" for event in events(run))
    return is_complete(run, kimg) and not recovered


def is_complete(run: pathlib.Path, kimg: float) -> bool:
    """Return whether the last measurement of a run is that of its end."""
    return (run / "metrics.jsonl").exists() and max(distances(run), default=0.0) >= kimg


def outcome(run: pathlib.Path) -> str | None:
    """Return how a run whose numbers are finite has failed; None if it has not."""
    found = distances(run)
    varies = [line["diversity/generated"] for line in logged(run) if "diversity/generated" in line]
    if found[max(found)] > found[0.0] / 2:
        return "diverged"
    return "collapsed" if statistics.mean(varies[-5:]) < DIVERSITY else None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="of the runs")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=20, help="number of seeds")
    parser.add_argument("--kimg", type=float, default=20.0)
    parser.add_argument("--variants", nargs="*", default=list(NAMES), choices=NAMES)
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("data"))
    options = parser.parse_args()
    failed: dict[str, list[str]] = {name: [] for name in options.variants}
    ends: dict[str, list[float]] = {name: [] for name in options.variants}
    seeds = range(options.first, options.first + options.seeds)
    for name, run, chosen in cells(options.folder, VARIANTS, options.variants, seeds, options.kimg):
        chosen += ["--data.directory", str(options.data)]
        found = outcome(run) if train(run, chosen, options.kimg) else "not finite"
        if found is not None:
            failed[name].append(found)
        if is_complete(run, options.kimg):
            ends[name].append(list(distances(run).values())[-1])
        print(f"{run.name}: {found or 'trained'}", file=sys.stderr, flush=True)
    print(f"| variant | runs | {' | '.join(OUTCOMES)} | distance, median and range |")
    print("| --- " * (len(OUTCOMES) + 3) + "|")
    for name, at_end in ends.items():
        counts = " | ".join(str(failed[name].count(each)) for each in OUTCOMES)
        spread = f"{min(at_end):.1f} to {max(at_end):.1f}" if at_end else ""
        median = f"{statistics.median(at_end):.1f}" if at_end else ""
        print(f"| {name} | {options.seeds} | {counts} | {median} ({spread}) |")


if __name__ == "__main__":
    main()
