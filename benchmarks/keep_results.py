"""Copy what the tables of a benchmark are made of from its runs, without their checkpoints.

Command:   python benchmarks/keep_results.py runs/compare benchmarks/results/compare

Of every measured run: its config, its measurements, and the lines of its log at every ten thousand
images. A copy of that folder is a folder of runs for the benchmark: it makes the same table of it,
and trains what is missing.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil

from benchmark_runs import MEASURED, PACE, logged

EVERY = 10.0
"""Thousand images between the lines of a log that are kept."""


def keep(run: pathlib.Path, to: pathlib.Path) -> None:
    """Copy the results of one run."""
    to.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", MEASURED):
        shutil.copyfile(run / name, to / name)
    lines = [json.dumps(line) for line in logged(run) if line["kimg"] % EVERY == 0]
    (to / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=pathlib.Path, help="folder of the runs")
    parser.add_argument("results", type=pathlib.Path, help="folder of the copies")
    options = parser.parse_args()
    for measured in sorted(options.runs.glob(f"*/{MEASURED}")):
        keep(measured.parent, options.results / measured.parent.name)
        print(measured.parent.name)
    if (options.runs / PACE).exists():
        shutil.copyfile(options.runs / PACE, options.results / PACE)


if __name__ == "__main__":
    main()
