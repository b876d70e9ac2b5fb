"""Kills at random moments, each followed by the same command."""

import itertools
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
from processes import ENVIRONMENT, HERE

from . import Row, final_state, same


def kills(folder: pathlib.Path, count: int = 100) -> Iterator[Row]:
    """Kill training at random moments, then give the same command again."""
    command = [sys.executable, str(HERE / "host_jobs.py"), "paced"]
    subprocess.run(
        [*command, str(folder / "unbroken")],
        env=ENVIRONMENT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    expected, moments = final_state(folder / "unbroken"), Counter()
    killed = runs = failures = 0
    chance = random.Random(0)
    while killed < count:
        run, runs = folder / f"run{runs}", runs + 1
        for attempt in itertools.count():
            process = subprocess.Popen(
                [*command, str(run)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
            )
            assert process.stdout is not None
            phase, events, end_after = (
                "starting",
                0,
                chance.randrange(300 if attempt < 40 else 10**9),
            )
            for line in process.stdout:
                if line.startswith("phase "):
                    phase, events = line.split()[1], events + 1
                if events > end_after:
                    time.sleep(chance.uniform(0.0, 0.1))
                    process.send_signal(signal.SIGKILL)
                    break
            if process.wait() == 0:
                break
            killed, moments = killed + 1, moments + Counter([phase])
        failures += not same(final_state(run), expected)
        shutil.rmtree(run)
        print(f"{killed} kills in {runs} runs, {failures} failures", file=sys.stderr)
    where = ", ".join(f"{n} {name}" for name, n in moments.most_common())
    yield "kill -9 of training", killed, f"{runs} runs ended bit-identical ({where})", failures


def prepare(folder: pathlib.Path, count: int = 40) -> Iterator[Row]:
    """Kill `prepare` at random moments, then give the same command again."""
    pixels = np.random.default_rng(0).integers(0, 256, (6000, 64, 64, 3), np.uint8)
    np.save(folder / "images.npy", pixels)

    def start(place: pathlib.Path) -> subprocess.Popen:
        command = [sys.executable, str(HERE.parent / "run.py"), "prepare"]
        command += [str(folder / "images.npy"), "--name", "noise", "--data-dir", str(place)]
        command += ["--resolution", "32", "--held-out", "100"]
        return subprocess.Popen(
            command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def contents(place: pathlib.Path) -> dict[str, bytes]:
        files = (path for path in place.rglob("*") if path.is_file())
        # The lock names the process that had it.
        named = {str(path.relative_to(place)): path for path in files if path.name != ".lock"}
        return {name: path.read_bytes() for name, path in named.items()}

    began = time.monotonic()
    assert start(folder / "unbroken").wait() == 0
    took, expected = time.monotonic() - began, contents(folder / "unbroken")
    killed = datasets = failures = 0
    chance = random.Random(0)
    while killed < count:
        place, datasets = folder / f"data{datasets}", datasets + 1
        for attempt in itertools.count():
            process = start(place)
            try:
                process.wait(chance.uniform(0.0, took) if attempt < 40 else None)
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                killed += 1
        failures += process.returncode != 0 or contents(place) != expected
        shutil.rmtree(place)
    yield "kill -9 of `prepare`", killed, f"{datasets} datasets, equal byte for byte", failures
