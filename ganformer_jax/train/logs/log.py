"""The log of a run: averages of what updates report, speed, images, alarms and progress."""

from __future__ import annotations

import contextlib
import math
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ganformer_jax import hosts
from ganformer_jax.train.devices import memory_gib
from ganformer_jax.train.logs.alarms import Alarms
from ganformer_jax.train.logs.progress import Progress
from ganformer_jax.train.logs.writers import (
    BestEffort,
    JsonLines,
    TensorBoard,
    Writer,
    encode_jpeg,
)
from ganformer_jax.train.trainable import Info

if TYPE_CHECKING:
    from jaxtyping import UInt8


MOST_STEPS = 10_000
"""Steps that a report averages at most."""


class Log:
    """The numbers and images of one run: `metrics.jsonl`, TensorBoard, and progress.

    Only the first process writes. A failure to write, as on a full disk, is a warning: it does not
    end training.

    Args:
        run: The run's folder.
        start: Steps done so far.
        batch_size: Images a step.
        say: Receives lines for the user.
        images_seen: Images that the networks were trained on so far.
        total_kimg: Length of training, in thousands of images.
        writers: What else to write to, which stays open.

    Raises:
        UserError: If `metrics.jsonl` is not of a run.
        OSError: If the files cannot be opened.
    """

    def __init__(
        self,
        run: pathlib.Path,
        start: int,
        batch_size: int,
        say: Callable[[str], None],
        images_seen: int = 0,
        total_kimg: float = 0.0,
        writers: Sequence[Writer] = (),
    ):
        self.batch_size, self.say = batch_size, say
        self._infos: list[Info] = []
        self._clock, self._untimed = time.perf_counter(), 0
        self._alarms = Alarms()
        own: list[Writer] = []
        if hosts.is_first():
            own += [
                JsonLines(run / "metrics.jsonl", start),
                TensorBoard(run / "tensorboard", start),
            ]
        self._writers = [(w, BestEffort(say)) for w in (*own, *writers)]
        self._total = total_kimg
        self._progress = Progress(images_seen / 1000, total_kimg, say) if own else None

    def add(self, info: Info) -> None:
        """Take what a step reports, without waiting for it."""
        self._infos.append(info)
        if self._progress:
            self._progress.advance(self.batch_size / 1000)

    def is_full(self) -> bool:
        """Return whether a report is due because what steps report takes memory."""
        return len(self._infos) >= MOST_STEPS

    def report(self, step: int, images_seen: int, device: Any) -> Mapping[str, float]:
        """Wait for the devices, then write and return averages and speed since the last report."""
        if not self._infos:
            return {}
        infos, self._infos = jax.device_get(self._infos), []
        seconds = max(time.perf_counter() - self._clock, 1e-9)
        timed = len(infos) - self._untimed
        self.restart()
        names = sorted({name for info in infos for name in info})
        values = {n: float(np.mean([info[n] for info in infos if n in info])) for n in names}
        if timed:
            speed = timed * self.batch_size / seconds
            values |= {"images_per_second": speed, "seconds_per_kimg": 1000 / speed}
        values |= {"memory_gib": memory_gib(device)}
        if all(map(math.isfinite, values.values())):
            self.write(step, images_seen, values)
            if self._progress:
                self._progress.report(images_seen / 1000, self._total, values)
            for line in self._alarms.check(images_seen / 1000, values):
                self.say(line)
        return values

    def write(self, step: int, images_seen: int, values: Mapping[str, float]) -> None:
        """Write the numbers of a step, after which the networks have seen `images_seen` images."""
        for writer, attempt in self._writers:
            attempt(writer.name, writer.write_numbers, step, images_seen, values)

    def write_image(
        self, step: int, images_seen: int, name: str, image_HxWxC: UInt8[np.ndarray, "h w *c"]
    ) -> None:
        """Write an image of a step, reduced to `writers.IMAGE_SIDE` pixels."""
        writers = [(writer, attempt) for writer, attempt in self._writers if writer.takes_images]
        jpeg = encode_jpeg(image_HxWxC) if writers else b""
        for writer, attempt in writers:
            attempt(writer.name, writer.write_image, step, images_seen, name, jpeg)

    def restart(self) -> None:
        """Measure the speed from now on, without the steps that are waiting for a report."""
        self._clock, self._untimed = time.perf_counter(), len(self._infos)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave what is done inside out of the speed."""
        began = time.perf_counter()
        yield
        self._clock += time.perf_counter() - began

    def close(self) -> None:
        """End the display of progress."""
        if self._progress:
            self._progress.close()
