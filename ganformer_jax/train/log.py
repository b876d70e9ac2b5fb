"""The log of a run: JSON lines, TensorBoard, and a line of progress."""

from __future__ import annotations

import contextlib
import json
import math
import pathlib
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from ganformer_jax import hosts
from ganformer_jax.errors import UserError
from ganformer_jax.files import write_atomically
from ganformer_jax.train.trainable import Info

SHORT = {"loss/generator": "G", "loss/discriminator": "D", "loss/r1": "R1"}
SHORT |= {"loss/path_length": "path", "memory_gib": "GiB"}


class Log:
    """The numbers of one run: `metrics.jsonl`, TensorBoard, and lines of progress.

    Lines of steps after `start`, which a resumed run repeats, are dropped. Only the first process
    writes.

    Args:
        run: The run's folder.
        start: Steps done so far.
        batch_size: Images a step.
        say: Receives lines for the user.
    """

    def __init__(self, run: pathlib.Path, start: int, batch_size: int, say: Callable[[str], None]):
        self.batch_size, self.say = batch_size, say
        self._infos: list[Info] = []
        self._clock = time.perf_counter()
        self._lines, self._events = None, None
        if hosts.is_first():
            from tensorboardX import SummaryWriter

            path = run / "metrics.jsonl"
            if path.exists():
                text = path.read_text(errors="replace")
                complete = [line for line in text.splitlines(keepends=True) if line[-1] == "\n"]
                write_atomically(path, "".join(x for x in complete if _step(path, x) <= start))
            self._lines = path.open("a")
            self._events = SummaryWriter(str(run / "tensorboard"), purge_step=start + 1)

    def add(self, info: Info) -> None:
        """Take what a step reports, without waiting for it."""
        self._infos.append(info)

    def report(self, step: int, images: int, total_kimg: float, device: Any) -> Mapping[str, float]:
        """Wait for the devices, then write and return averages and speed since the last report."""
        if not self._infos:
            return {}
        infos, self._infos = jax.device_get(self._infos), []
        seconds = max(time.perf_counter() - self._clock, 1e-9)
        self.restart()
        names = sorted({name for info in infos for name in info})
        values = {n: float(np.mean([info[n] for info in infos if n in info])) for n in names}
        speed = len(infos) * self.batch_size / seconds
        values |= {"images_per_second": speed, "memory_gib": memory_gib(device)}
        if all(map(math.isfinite, values.values())):
            self.write(step, images, values)
            self.say(progress(images / 1000, total_kimg, values))
        return values

    def write(self, step: int, images: int, values: Mapping[str, float]) -> None:
        """Append numbers; `images` is TensorBoard's horizontal axis, in thousands."""
        if self._lines is None or self._events is None:
            return
        line = {"step": step, "kimg": images / 1000, "time": time.time(), **values}
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()
        for name, value in values.items():
            self._events.add_scalar(name, value, global_step=step)

    def restart(self) -> None:
        """Measure the speed from now on."""
        self._clock = time.perf_counter()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave what is done inside out of the speed."""
        began = time.perf_counter()
        yield
        self._clock += time.perf_counter() - began

    def close(self) -> None:
        """Write out what is buffered."""
        for file in (self._lines, self._events):
            if file is not None:
                file.close()


def _step(path: pathlib.Path, line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} has a line that is not of a run: {line.strip()[:80]}") from error


def memory_gib(device: Any) -> float:
    """Return the most memory in use so far, in GiB: the device's if known, else the process's."""
    stats: Mapping[str, Any] | None = device.memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def progress(kimg: float, total: float, values: Mapping[str, float]) -> str:
    """Return one line of progress, at `kimg` of `total` thousand images."""
    speed = values["images_per_second"]
    left = duration((total - kimg) * 1000 / speed) if speed > 0 else "?"
    words = [f"{kimg:8.1f} of {total:g} kimg", f"{speed:6.1f} img/s", f"{left:>7} left"]
    words += [f"{short} {values[name]:.3g}" for name, short in SHORT.items() if name in values]
    return "  ".join(words)


def duration(seconds: float) -> str:
    """Return a duration in words: 45s, 12m05s, 3h20m or 2d04h."""
    seconds = round(seconds)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days}d{hours % 24:02d}h"
    if hours:
        return f"{hours}h{minutes % 60:02d}m"
    return f"{minutes}m{seconds % 60:02d}s" if minutes else f"{seconds}s"
