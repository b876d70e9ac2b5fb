"""Runs of a benchmark: each trained and measured once, and a table of what they reach."""

from __future__ import annotations

import json
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

MEASURED, PACE = "measured.json", "pace.json"
TOTAL, IMAGES = "--train.total-kimg", "--data.train-images"
RELATIVISTIC = ["--loss.generator", "relativistic", "--loss.discriminator", "relativistic"]
RELATIVISTIC += ["--loss.r2-gamma", "0.3"]
"""Options of R3GAN's loss; the built-in scenes have the same weight of R1."""
RUN = [sys.executable, str(pathlib.Path(__file__).resolve().parents[1] / "run.py")]


def command(*arguments: str | pathlib.Path) -> None:
    """Run a command of the package; what it prints goes to standard error.

    If it fails, or training is stopped by a signal, this process ends with its exit code: a run
    that is not complete is not measured.
    """
    stops = ["--stop-code", "75"] if arguments[0] == "train" else []
    code = subprocess.run(
        [*RUN, *map(str, arguments), *stops], stdout=sys.stderr, check=False
    ).returncode
    if code:
        sys.exit(code if code > 0 else 128 - code)


def train_and_measure(run: pathlib.Path, options: Sequence[str], metrics: str) -> dict[str, float]:
    """Train a run to its end and measure it on held-out images, unless that is done.

    Args:
        run: Its folder.
        options: Of `train`.
        metrics: Of `evaluate`, separated by commas.

    Returns:
        The metrics.

    Raises:
        SystemExit: If the run was trained longer, shorter, or with another number of images.
    """
    measured = run / MEASURED
    if measured.exists():
        _check_length(run, options)
    else:
        command("train", "--workdir", run, *options)
        evaluate = ["evaluate", "--workdir", str(run), "--metrics", metrics, "--split", "test"]
        said = subprocess.run([*RUN, *evaluate], check=True, stdout=subprocess.PIPE, text=True)
        cut_off = run / f"{MEASURED}.part"  # so that an interruption leaves no half of it
        cut_off.write_text(said.stdout.strip().splitlines()[-1])
        cut_off.replace(measured)
    return json.loads(measured.read_text())


def _check_length(run: pathlib.Path, options: Sequence[str]) -> None:
    """End the program if a measured run had another length, or another number of images."""
    config = json.loads((run / "config.json").read_text())
    for option in {TOTAL, IMAGES} & set(options):
        given = float(options[options.index(option) + 1])
        section, name = option.removeprefix("--").replace("-", "_").split(".")
        if config[section][name] != given:
            further = f", or remove {MEASURED} there to train it further"
            sys.exit(
                f"{run} was measured with {option} {config[section][name]:g}, not {given:g}: "
                f"choose another --folder{further if option == TOTAL else ''}"
            )


def folder_name(variant: str, seed: int) -> str:
    """Return the name of the folder of a run."""
    return f"{variant.replace(', ', '-').replace(' ', '-').lower()}-{seed}"


def cells(
    folder: pathlib.Path,
    variants: Mapping[str, Sequence[str]],
    names: Sequence[str],
    seeds: Sequence[int],
    kimg: float,
) -> Iterator[tuple[str, pathlib.Path, list[str]]]:
    """Yield, seed by seed, the name, the run and the options of `train` of each named variant."""
    for seed in seeds:
        for name in names:
            given = ["--train.seed", str(seed), TOTAL, str(kimg)]
            yield name, folder / folder_name(name, seed), [*variants[name], *given]


def logged(run: pathlib.Path) -> list[dict[str, float]]:
    """Return the lines of a run's log."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def distances(run: pathlib.Path) -> dict[float, float]:
    """Return the sliced Wasserstein distance of a run by thousand images."""
    return {line["kimg"]: line["metric/swd"] for line in logged(run) if "metric/swd" in line}


def curves_table(curves: dict[str, dict[float, float]], unit: str = "thousand images") -> str:
    """Return a row for each curve by that unit, as Markdown."""
    marks = sorted({mark for found in curves.values() for mark in found})
    lines = [f"| {unit} | {' | '.join(f'{mark:g}' for mark in marks)} |"]
    lines.append("| --- " * (len(marks) + 1) + "|")
    for name, found in curves.items():
        cells = [f"{found[mark]:.1f}" if mark in found else "" for mark in marks]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def by_minutes(
    curves: dict[str, dict[float, float]], seconds: dict[str, float]
) -> dict[str, dict[float, float]]:
    """Return curves by minutes of training, where they were by thousand images.

    Values between two measurements are interpolated linearly; there are none before the first.

    Args:
        curves: Of every variant.
        seconds: Of training with a thousand images, of every variant.
    """
    minutes = {v: [kimg * seconds[v] / 60 for kimg in curve] for v, curve in curves.items()}
    marks = MaxNLocator(10, steps=[1, 2, 5, 10]).tick_values(0, max(map(max, minutes.values())))[1:]
    return {
        variant: {
            mark: float(np.interp(mark, minutes[variant], list(curve.values())))
            for mark in map(float, marks)
            if min(minutes[variant]) <= mark <= max(minutes[variant])
        }
        for variant, curve in curves.items()
    }


def table(runs: dict[str, list[dict[str, float]]]) -> str:
    """Return mean and range over the seeds of every figure of every variant, as Markdown."""
    names = list(dict.fromkeys(name for found in runs.values() for one in found for name in one))
    lines = [f"| {' | '.join(['variant', 'runs', *names])} |", "| --- " * (len(names) + 2) + "|"]
    for variant, found in runs.items():
        cells = [variant, str(len(found))]
        for name in names:
            values = [one[name] for one in found if name in one]
            spread = f" ({min(values):.3g} to {max(values):.3g})" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.3g}{spread}" if values else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
