"""The progress of training in words: a bar on a terminal, and lines elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping

from tqdm import tqdm

SHORT = {"loss/generator": "G", "loss/discriminator": "D", "loss/r1": "R1"}
SHORT |= {"loss/path_length": "path"}
SHORT |= {"loss/cycle": "cycle", "loss/pyramid": "pyramid", "loss/bits": "bits"}
SHORT |= {f"loss/generator_{part}": f"G {part}" for part in ("layouts", "images")}
SHORT |= {f"loss/discriminator_{part}": f"D {part}" for part in ("layouts", "images")}
SHORT |= {"memory_gib": "GiB"}
"""Values that reports of any kind of training show, and their names there."""
BAR = "{percentage:3.0f}%|{bar:10}| {n:.1f} of {total:g} kimg  {desc}"


class Progress:
    """A bar on a terminal, which every step moves; elsewhere a line for every report.

    Args:
        kimg: Thousands of images seen so far.
        total: Thousands of images at the end.
        say: Receives the lines.
    """

    def __init__(self, kimg: float, total: float, say: Callable[[str], None]):
        self._say, self._bar = say, None
        if on_terminal():
            self._bar = tqdm(
                total=total, initial=min(kimg, total), bar_format=BAR, dynamic_ncols=True
            )

    def advance(self, kimg: float) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(min(kimg, self._bar.total - self._bar.n))

    def report(self, kimg: float, total: float, values: Mapping[str, float]) -> None:
        """Show the numbers of a report, at `kimg` of `total` thousand images."""
        words = progress_words(kimg, total, values)
        if self._bar is None:
            self._say(f"{kimg:8.1f} of {total:g} kimg  {words}")
            return
        self._bar.n = min(kimg, total)
        self._bar.set_description_str(words)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()


def on_terminal() -> bool:
    """Return whether standard output and standard error are a terminal of a known size.

    Without a size, as in some containers, a bar would have no room.
    """
    streams = (sys.stdout, sys.stderr)
    if not all(stream is not None and stream.isatty() for stream in streams):
        return False
    return all(os.get_terminal_size(sys.stderr.fileno()))


def beside_bars(say: Callable[[str], None]) -> Callable[[str], None]:
    """Return `say` such that its lines stand above all bars instead of breaking them."""

    def say_above(line: str) -> None:
        with tqdm.external_write_mode():
            say(line)

    return say_above


def progress_words(kimg: float, total: float, values: Mapping[str, float]) -> str:
    """Return speed and time left, if the speed was measured, losses and memory in words."""
    words = []
    if speed := values.get("images_per_second"):
        left = duration(max(total - kimg, 0.0) * 1000 / speed)  # the last step may pass the end
        words = [f"{speed:6.1f} img/s", f"{1000 / speed:6.1f} s/kimg", f"{left:>7} left"]
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
