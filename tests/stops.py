"""Seconds from SIGTERM to the end of a command, in each phase of its work.

Command:   python -m tests.stops

Every phase is of the scenes config at its full size, with few images; programs are compiled anew.
"""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
FEW = """--data.train-images 64 --data.held-out-images 64 --train.metrics swd,rkid
--train.metric-images 64 --train.log-kimg 0.08 --train.total-kimg 5""".split()


def stop(folder: pathlib.Path, command: list[str], ready: Callable[[str], bool]) -> str:
    """Send SIGTERM once the command is ready; return a row of the table."""
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "PYTHONUNBUFFERED": "1"}
    output = folder / "output"
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "run.py"), *command],
            stdout=file, stderr=file, env=environment, cwd=folder,
        )  # fmt: skip
        while not ready(output.read_text()):
            if process.poll() is not None:
                return f"ended before: {output.read_text()[-300:]!r}"
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        code = process.wait(timeout=300)
    seconds = time.monotonic() - began
    last = output.read_text().strip().splitlines()[-1]
    saved: list[str] = []
    if "--workdir" in command:
        run = folder / command[command.index("--workdir") + 1]
        saved = sorted(p.name for p in run.glob("checkpoints/*") if p.name.isdigit())
    return f"{seconds:.1f} | {code} | {', '.join(saved) or 'none'} | {last[:60]}"


def after(words: str, wait: float) -> Callable[[str], bool]:
    """Return whether a time has passed since words were printed."""
    seen: list[float] = []

    def ready(output: str) -> bool:
        if words in output:
            seen.append(time.monotonic())
        return bool(seen) and time.monotonic() - seen[0] > wait

    return ready


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        train = ["train", "--workdir", "run", *FEW]
        again = ["train", "--workdir", "again", *FEW]
        pixels = np.random.default_rng(0).integers(0, 256, (20_000, 64, 64, 3), np.uint8)
        np.save(folder / "images.npy", pixels)
        phases = {
            "preparing": (
                ["prepare", "images.npy", "--name", "noise", "--resolution", "64"],
                lambda _: any(folder.rglob("*.array_record*")),
            ),
            "drawing the first samples": (train, after("training in", 1)),
            "rendering scenes": (train, after("Rendering train", 0.3)),
            "compiling updates": (train, after("first samples", 8)),
            "training": (train, after("img/s", 1)),
            "measuring": (again, after("first step done", 1)),
            "evaluating": (
                ["evaluate", "--workdir", "run", "--metrics", "rkid64", "--no-cache"],
                after("images", 1),
            ),
        }
        print("| phase | seconds | exit code | checkpoints | last line |")
        print("| --- | --- | --- | --- | --- |")
        for name, (command, ready) in phases.items():
            print(f"| {name} | {stop(folder, command, ready)} |", flush=True)


if __name__ == "__main__":
    main()
