"""Runs made of files alone, for tests of reports."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from ganformer_jax.config import Config
from ganformer_jax.config.dicts import to_dict
from ganformer_jax.config.files import load_config

NASTY = '<script>alert("x")</script><b>&'
"""A name that would be code in a page that does not escape."""
NUMBERS = {"loss/generator": 2.5, "loss/discriminator": 0.6, "images_per_second": 50.0}


def write_run(
    folder: Path,
    *,
    kimg: int = 4,
    samples: int = 3,
    attention: bool = True,
    metrics: bool = True,
    end: str | None = "completed",
    config: Config | None = None,
    extra: str = "",
) -> Path:
    """Write a run of `kimg` log lines; `extra` is text after them."""
    folder.mkdir(parents=True)
    config = config or load_config("scenes")
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    lines = []
    for number in range(1, kimg + 1):
        at = {"step": 63 * number, "kimg": 1.008 * number, "time": 1.8e9 + 60 * number}
        values = {name: value / number for name, value in NUMBERS.items()}
        lines.append(at | values | {"seconds_per_kimg": 20.0})
        if metrics:
            lines.append(at | {"metric/swd": 200 / number, "metric/rpr1k_recall": 0.1 * number})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + extra)
    write_history(folder, kimg, end)
    (folder / "samples").mkdir()
    for number in range(samples):
        write_image(folder / "samples" / f"{63 * number:08d}.png", number, (264, 132))
        if attention:
            write_image(folder / "samples" / f"{63 * number:08d}-attention.png", number, (300, 120))
    return folder


def write_history(folder: Path, kimg: int, end: str | None) -> None:
    facts = {"devices": "1 cpu device", "processes": 1, "jax": "0.10.2"}
    events = [{"time": 1.8e9, "event": "started", "step": 0, "kimg": 0.0, "changes": []}]
    if end:
        step, at = 63 * kimg, 1.008 * kimg
        events.append({"time": 1.8e9 + 999, "event": end, "step": step, "kimg": at})
    text = "".join(json.dumps(event | facts) + "\n" for event in events)
    (folder / "history.jsonl").write_text(text)


def write_image(path: Path, seed: int, size: tuple[int, int]) -> None:
    """Write an image of (width, height), whose seed decides its color."""
    color = np.random.default_rng(seed).integers(0, 256, 3)
    pixels = np.broadcast_to(color.astype(np.uint8), (size[1], size[0], 3))
    Image.fromarray(pixels).save(path)
