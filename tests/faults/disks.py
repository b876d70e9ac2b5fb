"""Disks that are full, when a checkpoint is saved, or a log line, or an image."""

import contextlib
import pathlib
import subprocess
from collections.abc import Iterator, Mapping

import numpy as np
from training import train_mean, with_train

from ganformer_jax import visualize
from ganformer_jax.errors import UserError
from ganformer_jax.train.logs.writers import BestEffort
from ganformer_jax.train.observing import Moment, Observer

from . import CONFIG, Row, final_state, same


def disk(folder: pathlib.Path) -> Iterator[Row]:
    """Fill a small disk; it needs the right to mount one."""
    place = folder / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", place])
    if mounted.returncode:
        yield "disk full", 0, "not tried: no right to mount a small disk", 0
        return
    try:
        train_mean(folder / "whole", CONFIG)
        yield full_at_a_save(place, folder / "whole")
        yield full_at_logs_and_images(place)
    finally:
        subprocess.run(["umount", "-l", place])


def full_at_a_save(place: pathlib.Path, whole: pathlib.Path) -> Row:
    failures = 0
    try:
        train_mean(place / "run", CONFIG)
        outcome, failures = "completed: the disk was large enough", 1
    except (UserError, OSError) as error:
        outcome = str(error)[:34]
        failures = not isinstance(error, UserError)
    subprocess.run(["mount", "-o", "remount,size=64m", place], check=True)
    train_mean(place / "run", CONFIG)
    failures += not same(final_state(place / "run"), final_state(whole))
    return "disk full at a checkpoint", 1, f'"{outcome}..."; resumed bit-identical', failures


def full_at_logs_and_images(place: pathlib.Path) -> Row:
    """The disk is full from step 20 to 100, with a report each step and an image each ten."""
    run, filler, said = place / "logs", place / "filler", []
    config = with_train(total_kimg=1.92, checkpoint_kimg=1.6, log_kimg=0.016)
    attempt = BestEffort(said.append)

    def fill(now: Moment) -> Mapping[str, float]:
        if now.step == 20:
            with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))
        return {}

    def draw(now: Moment) -> Mapping[str, np.ndarray]:
        path, image = run / "samples" / f"{now.step}.png", np.zeros((64, 64, 3), np.uint8)
        attempt(str(path), visualize.save_png, path, image)
        return {"images/samples": image}

    def free(now: Moment) -> Mapping[str, float]:
        if now.step == 100:
            filler.unlink()
        return {}

    observers = [Observer(0.16, function) for function in (draw, fill, free)]
    done = train_mean(run, config, observers=observers, say=said.append)
    warnings = [line.split(" is not written")[0] for line in said if line.startswith("warning")]
    lines = (run / "metrics.jsonl").read_text().splitlines()
    drawn = {int(path.stem) for path in (run / "samples").glob("*.png")}
    warned = {pathlib.Path(line.removeprefix("warning: ")).name for line in warnings}
    train_mean(place / "logs-unbroken", config)
    good = done and same(final_state(run), final_state(place / "logs-unbroken"))
    good &= warned == {"metrics.jsonl", "tensorboard", "30.png"} and len(warnings) == 3
    good &= {0, 10, 20, 110, 120} <= drawn and not drawn & set(range(30, 100, 10))
    good &= lines[-1].startswith('{"step": 120,') and 30 < len(lines) < 110
    words = "a warning each, training continued, later ones were written"
    return "disk full at log lines and images", 1, words, not good
