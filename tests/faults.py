"""Faults on purpose: kills, damaged files, full disks, numbers that are not finite.

Command:   python -m tests.faults [kills] [files] [numbers] [disk] [hosts]

Each part prints a row of a table: what was done, how often, what came of it. The exit code is 1 if
anything ended otherwise than it should. Runs are those of a model that compiles in no time.
"""

import argparse
import dataclasses
import itertools
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import conftest  # noqa: F401 - settings of jax
import jax
import numpy as np
from absl import logging
from processes import ENVIRONMENT, HERE, finish, start
from training import failing_mean, mean_programs, on_host, train_mean, with_train

from ganformer_jax.errors import UserError
from ganformer_jax.train.checkpoint import Checkpoints

STEPS = 240
CONFIG = with_train(
    total_kimg=STEPS * 16 / 1000, checkpoint_kimg=0.064, log_kimg=0.032, checkpoints_kept=2
)
Row = tuple[str, int, str, int]
"""What was done, how often, what came of it, and the number of failures."""


def final_state(run: pathlib.Path):
    with Checkpoints(run, read_only=True) as checkpoints:
        return on_host(checkpoints.restore(mean_programs().abstract_state()))


def same(one, other) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


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


def damages() -> dict[str, Callable[[pathlib.Path], object]]:
    def flip(path: pathlib.Path) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 16
        path.write_bytes(data)

    return {
        "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
        "emptied": lambda path: os.truncate(path, 0),
        "removed": lambda path: path.unlink(),
        "bit-flipped": flip,
    }


def files(folder: pathlib.Path) -> Iterator[Row]:
    """Damage every file of the newest checkpoint in turn, then resume."""
    config = with_train(checkpoint_kimg=0.128)
    half = dataclasses.replace(config, train=dataclasses.replace(config.train, total_kimg=0.256))
    train_mean(folder / "unbroken", config)
    expected = final_state(folder / "unbroken")
    train_mean(folder / "half", half)
    newest = folder / "half" / "checkpoints" / "16"
    names = [p.relative_to(newest) for p in sorted(newest.rglob("*")) if p.is_file()]
    for kind, damage in damages().items():
        outcome, failures = Counter(), 0
        for name in names:
            run, said = folder / "damaged", []
            shutil.copytree(folder / "half", run)
            path = run / "checkpoints" / "16" / name
            if path.stat().st_size or kind == "removed":
                damage(path)
            train_mean(run, config, say=said.append)
            fell_back = any("is damaged" in line for line in said)
            outcome["said so and fell back" if fell_back else "did not need the file"] += 1
            failures += not same(final_state(run), expected)
            shutil.rmtree(run)
        words = ", ".join(f"{n} {name}" for name, n in outcome.most_common())
        yield f"file of a checkpoint {kind}", len(names), f"{words}; all bit-identical", failures


def numbers(folder: pathlib.Path) -> Iterator[Row]:
    """Make numbers not finite, once and for ever."""
    config = with_train(checkpoint_kimg=0.064, log_kimg=0.016)
    key = jax.random.key(config.train.seed)
    once = train_mean(folder / "once", config, trainable=failing_mean(9, only_key=key))
    state = final_state(folder / "once")
    good = once and int(state.step) == 20 and np.isfinite(state.mean).all()
    yield "loss and weights not finite, with one key", 1, "recovered and completed", not good
    try:
        train_mean(folder / "ever", config, trainable=failing_mean(9))
        good = False
    except UserError as error:
        good = "3 recoveries in a row; first in step 10" in str(error)
    yield "loss and weights not finite, with every key", 1, "stopped, layer named", not good


def disk(folder: pathlib.Path) -> Iterator[Row]:
    """Train on a disk too small for the run; it needs the right to mount one."""
    place = folder / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", place])
    if mounted.returncode:
        yield "disk full", 0, "not tried: no right to mount a small disk", 0
        return
    try:
        said, failures = [], 0
        try:
            train_mean(place / "run", CONFIG, say=said.append)
            outcome = "completed: the disk was large enough"
            failures = 1
        except (UserError, OSError) as error:
            outcome = str(error)[:34]
            failures = not isinstance(error, UserError)
        subprocess.run(["mount", "-o", "remount,size=64m", place], check=True)
        train_mean(place / "run", CONFIG)
        train_mean(folder / "whole", CONFIG)
        failures += not same(final_state(place / "run"), final_state(folder / "whole"))
        yield "disk full, then space made", 1, f'"{outcome}..."; resumed bit-identical', failures
    finally:
        subprocess.run(["umount", "-l", place])


def hosts(folder: pathlib.Path, count: int = 3) -> Iterator[Row]:
    """Kill one of two processes; the other ends, and both resume."""

    def codes(job: str, run: pathlib.Path) -> list[int]:
        return [code for code, _, _ in finish(start(2, str(HERE / "host_jobs.py"), job, str(run)))]

    failures, longest = 0, 0.0
    for number in range(count):
        began, run = time.monotonic(), folder / f"hosts{number}"
        failures += codes("die", run) != [1, -9]
        longest = max(longest, time.monotonic() - began)
        failures += codes("train", run) != [0, 0]
    words = f"the other ended within {longest:.0f} s, start included; both resumed"
    yield "kill -9 of one host of two", count, words, failures


PARTS = {part.__name__: part for part in (kills, files, numbers, disk, hosts)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    logging.set_verbosity(logging.FATAL)
    failed = 0
    print("| fault | times | outcome | failures |\n| --- | --- | --- | --- |")
    for name in parser.parse_args().parts:
        with tempfile.TemporaryDirectory() as folder:
            for what, times, outcome, failures in PARTS[name](pathlib.Path(folder)):
                failed += failures
                print(f"| {what} | {times} | {outcome} | {int(failures)} |", flush=True)
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
