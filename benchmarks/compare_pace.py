"""Time the training of every variant of the comparison, in turns, on one machine.

Command:   python benchmarks/compare_pace.py --folder runs/compare [--turns 3] [--kimg 2]
Cost:      half a minute a variant and turn on two CPU cores, which should do nothing else

Runs of a comparison may come from different machines, or from busy ones; at equal time they are
compared by what is measured here. Writes `pace.json` into the folder: of every variant the seconds
for a thousand images, by turn. `compare.py` reads it from there. --variants times some of them, and
leaves what the file has of the others.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import tempfile

from benchmark_runs import PACE, command
from compare import VARIANTS, pace, stages

FEW = ["--train.log-kimg", "0.2", "--train.image-kimg", "0", "--train.metric-kimg", "0"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="of the runs")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--kimg", type=float, default=2.0)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("data"))
    options = parser.parse_args()
    given = ["--train.total-kimg", str(options.kimg), "--data.directory", str(options.data), *FEW]
    found: dict[str, list[float]] = {variant: [] for variant in options.variants}
    for turn in range(options.turns):
        for variant in options.variants:
            divided = stages(options.kimg) if variant == "VQGAN" else []
            with tempfile.TemporaryDirectory() as folder:
                run = pathlib.Path(folder) / "run"
                command("train", "--workdir", run, *VARIANTS[variant], *given, *divided)
                found[variant].append(pace(run))
            print(f"turn {turn + 1}, {variant}: {found[variant][-1]:.2f} s", flush=True)
    options.folder.mkdir(parents=True, exist_ok=True)
    file = options.folder / PACE
    others = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(others | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
