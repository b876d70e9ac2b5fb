"""A week in minutes: as many checkpoints, sample grids and evaluations as 25,000 kimg have.

Command:   python -m tests.week [events]

Trains a tiny GAN by the command line and prints, early and at the end, what the process holds:
memory, open files, threads, and the size of the run's folder.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from processes import TINY_OPTIONS

ROOT = pathlib.Path(__file__).resolve().parents[1]
EVENTS = 500  # of each kind: 25,000 kimg with one every 50
BATCH = 8
TINY = [*TINY_OPTIONS, "--train.metric-images", "32"]


def every(kimg: float) -> list[str]:
    words = [f"--train.{name}-kimg {kimg}" for name in ("image", "metric", "checkpoint", "log")]
    return " ".join(words).split()


def resident(pid: int) -> dict[str, float]:
    """What a process holds: MiB of memory, and numbers of files and threads."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text().split()
    return {
        "memory MiB": int(status[status.index("VmRSS:") + 1]) / 1024,
        "open files": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(status[status.index("Threads:") + 1]),
    }


def disk(run: pathlib.Path) -> dict[str, float]:
    """MiB of what a run writes, by the first name in its folder."""
    sizes: dict[str, float] = {}
    for path in run.rglob("*"):
        try:
            if path.is_file():
                name = f"{path.relative_to(run).parts[0]} MiB"
                sizes[name] = sizes.get(name, 0.0) + path.stat().st_size / 2**20
        except FileNotFoundError:  # replaced meanwhile
            continue
    return sizes


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS
    with tempfile.TemporaryDirectory() as place:
        run, kimg = pathlib.Path(place) / "run", 2 * BATCH / 1000
        command = [str(ROOT / "run.py"), "train", "--workdir", str(run), *TINY, *every(kimg)]
        command += ["--data.directory", f"{place}/data", "--train.batch-size", str(BATCH)]
        command += ["--train.total-kimg", str(kimg * events)]
        with (pathlib.Path(place) / "output").open("w") as output:
            process = subprocess.Popen([sys.executable, *command], stdout=output, stderr=output)
            seen: dict[int, dict[str, float]] = {}
            while process.poll() is None:
                grids = len(list(run.glob("samples/*[0-9].png")))
                try:
                    seen[grids] = resident(process.pid) | disk(run)
                except (OSError, ValueError):  # a file was replaced, or the process has ended
                    pass
                time.sleep(0.5)
        if process.wait():
            raise SystemExit((pathlib.Path(place) / "output").read_text()[-2000:])
        last = max(seen)
        shown = [min(seen, key=lambda n: abs(n - at)) for at in (20, last // 2, last)]
        print(f"| after | {' | '.join(f'{n} of each' for n in shown)} |")
        print("| --- |" + " --- |" * len(shown))
        for name in seen[last]:
            values = " | ".join(f"{seen[n].get(name, 0):.4g}" for n in shown)
            print(f"| {name} | {values} |")


if __name__ == "__main__":
    main()
