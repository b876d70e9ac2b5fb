"""Time training and sampling at several sizes, alone or in turn with another trainer.

Commands:  python benchmarks/speed.py
           python benchmarks/speed.py --sizes 64 --compare "PYTHON benchmarks/published.py CHECKOUT"

Prints a table row by row and writes all numbers to --out as JSON. The machine's peak is measured
before each case, since it changes from one hour to the next. Every measurement is a process of
its own. With --compare the two trainers take turns (A B A B) and ratios are taken turn by turn, so
that both meet the same state of the machine. The other command is run with the options
of `cases.py` appended and must print, as its last line, a JSON object with
`train_images_per_second` and `sample_images_per_second`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence

import cases

HERE = pathlib.Path(__file__).parent
RATES = ("train_images_per_second", "sample_images_per_second")


def measure(command: list[str]) -> dict:
    """Run one process and return the JSON object of its last line."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = result.stdout.strip().splitlines()
    if result.returncode or not lines:
        sys.exit(f"{shlex.join(command)} failed:\n{result.stderr[-2000:]}")
    return json.loads(lines[-1])


def spread(values: Sequence[float], digits: int = 4) -> str:
    """Format the median and, of several values, the range."""
    middle = f"{statistics.median(values):.{digits}g}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}g} to {max(values):.{digits}g})"


def take_turns(
    case: cases.Case, ours: list[str], other: list[str], turns: int, seconds: float
) -> dict[str, list[dict]]:
    """Measure both trainers in turn, the other one first."""
    options = [*case.flags(), "--seconds", str(seconds)]
    trainers = {"other": other, "ours": ours} if other else {"ours": ours}
    runs: dict[str, list[dict]] = {name: [] for name in trainers}
    for _ in range(turns):
        for name, command in trainers.items():
            runs[name].append(measure([*command, *options]))
    return runs


def share_of_peak(run: dict, peak: float) -> float:
    """Return the share of a peak in GFLOP/s that training reaches, by XLA's operations."""
    interval, gflop, spent = 16, run["gflop"], run["milliseconds"]
    operations = gflop["adversarial"] + gflop["r1"] / interval
    seconds = (spent["adversarial"] + spent["r1"] / interval) / 1e3
    return operations / seconds / peak


def row(case: cases.Case, runs: dict[str, list[dict]], peak: float) -> str:
    """Return one row of the table: rates of both and their ratios."""
    cells = [str(case)]
    for rate in RATES:
        for name in ("ours", "other"):
            if name in runs:
                cells.append(spread([run[rate] for run in runs[name]]))
        if "other" in runs:
            pairs = zip(runs["ours"], runs["other"], strict=True)
            cells.append(spread([ours[rate] / other[rate] for ours, other in pairs], 3))
    cells.append(spread([share_of_peak(run, peak) for run in runs["ours"]], 2))
    for key in ("compile_seconds", "peak_memory_gib"):
        found = [run[key] for run in runs["ours"]]
        totals = [sum(value.values()) if isinstance(value, dict) else value for value in found]
        cells.append(spread(totals, 3))
    return "| " + " | ".join(cells) + " |"


def header(compared: bool) -> str:
    rates = [f"{what} img/s" for what in ("train", "sample")]
    columns = ["case"]
    for rate in rates:
        columns += [rate, f"{rate}, other", "ratio"] if compared else [rate]
    columns += ["share of peak FLOP/s", "compile s", "peak GiB"]
    return f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", choices=cases.PUBLISHED, default=None)
    parser.add_argument("--sweep", choices=("pixels", "components"), help="instead of --sizes")
    parser.add_argument("--kinds", nargs="+", choices=cases.KINDS, default=["duplex"])
    parser.add_argument("--compare", metavar="COMMAND", default="", help="another trainer")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0, help="seconds of timing per turn")
    parser.add_argument("--phases", action="store_true", help="time each update separately")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("speed.json"))
    options = parser.parse_args()
    sweeps = {"pixels": cases.PIXELS, "components": cases.COMPONENTS}
    sizes = options.sizes or list(cases.PUBLISHED)
    chosen = sweeps[options.sweep] if options.sweep else [cases.PUBLISHED[size] for size in sizes]
    ours = [sys.executable, str(HERE / "ganformer.py"), *(["--phases"] * options.phases)]
    records = []
    print(header(bool(options.compare)), flush=True)
    for base in chosen:
        bounds = measure([sys.executable, str(HERE / "peak.py")])
        peak = max(bounds["float32"].values())
        memory = bounds["memory_gbytes"]
        print(f"{bounds['device']}: {peak:.4g} GFLOP/s, {memory:.3g} GB/s", file=sys.stderr)
        for kind in options.kinds:
            case = dataclasses.replace(base, kind=kind)
            other = shlex.split(options.compare)
            runs = take_turns(case, ours, other, options.turns, options.seconds)
            print(row(case, runs, peak), flush=True)
            records.append({"case": dataclasses.asdict(case), "peak": bounds, **runs})
            machine = platform.processor() or platform.machine()
            report = {"machine": machine, "cases": records}
            options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
