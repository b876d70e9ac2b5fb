"""What a run writes down: JSON lines, TensorBoard, and a line of progress."""

from __future__ import annotations

import json
import pathlib
import resource
import sys
import time
from collections.abc import Mapping
from typing import Any

from ganformer_jax.errors import UserError


class Log:
    """`metrics.jsonl` and TensorBoard events of one run.

    Lines of rounds after `start`, which a resumed run plays again, are dropped.

    Attributes:
        run: The run's folder.
        start: Rounds done so far.

    Raises:
        UserError: When `metrics.jsonl` holds something else.
    """

    def __init__(self, run: pathlib.Path, start: int):
        from tensorboardX import SummaryWriter

        path = run / "metrics.jsonl"
        if path.exists():
            kept = [line for line in _whole_lines(path) if _step(path, line) <= start]
            replacement = path.with_suffix(".tmp")
            replacement.write_text("".join(kept))
            replacement.replace(path)
        self._lines = path.open("a")
        self._events = SummaryWriter(str(run / "tensorboard"), purge_step=start + 1)

    def write(self, step: int, images: int, values: Mapping[str, float]) -> None:
        """Appends numbers; `images` is TensorBoard's horizontal axis, in thousands."""
        line = {"step": step, "kimg": images / 1000, "time": time.time(), **values}
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()
        for name, value in values.items():
            self._events.add_scalar(name, value, global_step=step)

    def close(self) -> None:
        """Writes out what is buffered."""
        self._lines.close()
        self._events.close()


def _whole_lines(path: pathlib.Path) -> list[str]:
    """Reads all lines but one cut off by a crash."""
    text = path.read_text(errors="replace")
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _step(path: pathlib.Path, line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} has a line that is not of a run: {line.strip()[:80]}") from error


def memory_gib(device: Any) -> float:
    """Most memory in use so far: the device's if it tells, else this process's."""
    stats: Mapping[str, Any] | None = device.memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def progress(kimg: float, total: float, speed: float, values: Mapping[str, float]) -> str:
    """Words one line of progress.

    Args:
        kimg: Thousand images so far.
        total: Thousand images in all.
        speed: Images per second.
        values: What `Game` reported, averaged since the last line.
    """
    left = duration((total - kimg) * 1000 / speed) if speed > 0 else "?"
    parts = [f"{kimg:8.1f} of {total:g} kimg", f"{speed:6.1f} img/s", f"{left:>7} left"]
    names = {
        "loss/generator": "G",
        "loss/discriminator": "D",
        "loss/r1": "R1",
        "loss/path_length": "path",
        "memory_gib": "GiB",
    }
    parts += [f"{short} {values[name]:.3g}" for name, short in names.items() if name in values]
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """Words a duration: 45s, 12m05s, 3h20m or 2d04h."""
    seconds = round(seconds)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days}d{hours % 24:02d}h"
    if hours:
        return f"{hours}h{minutes % 60:02d}m"
    return f"{minutes}m{seconds % 60:02d}s" if minutes else f"{seconds}s"
