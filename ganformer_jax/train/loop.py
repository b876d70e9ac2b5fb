"""The schedule of training: data to steps to logs, observers and checkpoints. No maths."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ganformer_jax.config import Config
from ganformer_jax.errors import UserError
from ganformer_jax.models import validate_networks
from ganformer_jax.train.checkpoint import Checkpoints, adopt_weights
from ganformer_jax.train.compile import CompiledGame, Device, find_devices, prefetch
from ganformer_jax.train.log import Log, duration, memory_gib, progress
from ganformer_jax.train.same_run import check_new_run, save_config

Batches = Callable[[int], Iterator[dict[str, np.ndarray]]]
"""Given the rounds already played, goes on with this process's share of the batches."""


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The averaged generator at one moment of training."""

    step: int
    images_seen: int
    variables: Mapping[str, Any]
    """What `Generator.apply` takes. Valid only until the observer returns."""
    divided: jax.sharding.NamedSharding
    """How to divide a batch over the devices."""


@dataclasses.dataclass(frozen=True)
class Observer:
    """Something to do with the averaged generator: untrained, every so often, at the end.

    The untrained one's turn comes after the first step, which may fail for want of memory.

    Attributes:
        every_kimg: Thousand images between two calls; 0 for never.
        observe: Returns numbers to log. The first of those whose names begin with "metric/" decides
            which checkpoint is best: less is better.
    """

    every_kimg: float
    observe: Callable[[Snapshot], Mapping[str, float]]


def train(
    config: Config,
    run: str | pathlib.Path,
    batches: Batches,
    observers: Sequence[Observer] = (),
    *,
    init_from: str | None = None,
    after_compile: Callable[[], object] | None = None,
    say: Callable[[str], None] = print,
) -> bool:
    """Trains, or continues, a run until its length is reached or a signal arrives.

    Args:
        config: The experiment.
        run: Folder that receives `config.json`, `metrics.jsonl`, `tensorboard` and `checkpoints`.
            If it holds a run of the same config, that run continues, bit for bit.
        batches: See `Batches`.
        observers: Called in order, before the checkpoint of the same round.
        init_from: Folder of another run whose weights a new run starts from.
        after_compile: Called when programs have been compiled, those of observers included.
        say: Receives lines for the user.

    Returns:
        Whether the run is complete; False after SIGINT or SIGTERM, which leave a checkpoint.

    Raises:
        UserError: On a config that makes no sense, a folder that cannot be written or holds
            another run, and when a loss is no longer finite.
    """
    validate_networks(config.generator, config.discriminator)
    devices = find_devices(config.train.platform, config.train.devices)
    training = _Training(config, pathlib.Path(run), devices, observers, say, after_compile)
    try:
        training.start(init_from)
        return training.play(batches)
    finally:
        training.close()


class _Training:
    """One call of `train`."""

    def __init__(
        self,
        config: Config,
        run: pathlib.Path,
        devices: Sequence[Device],
        observers: Sequence[Observer],
        say: Callable[[str], None],
        after_compile: Callable[[], object] | None,
    ):
        self.after_compile = after_compile
        self.config, self.run, self.observers = config, run, observers
        self.leader = jax.process_index() == 0
        self.say = say if self.leader else lambda line: None
        self.game = CompiledGame(config, devices, on_compile=self._compiled)
        self.total = max(math.ceil(config.train.total_kimg * 1000 / config.train.batch_size), 0)
        self.checkpoints: Checkpoints | None = None
        self.log: Log | None = None
        self.metric: float | None = None
        self.infos: list[dict[str, jax.Array]] = []
        self.clock = time.perf_counter()

    def start(self, init_from: str | None) -> None:
        """Opens the run's folder and restores or makes the state."""
        try:
            self.run.mkdir(parents=True, exist_ok=True)
            kept = self.config.train.checkpoints_kept
            self.checkpoints = Checkpoints(self.run, kept, warn=self.say)
        except OSError as error:
            raise UserError(f"cannot write to {self.run}: {error.strerror or error}") from error
        state = None
        if self.checkpoints.steps():
            state = self.checkpoints.restore(self.game.abstract_state(), self.config)
        self.resumed = state is not None
        if state is None:
            check_new_run(self.config, self.run)
            weights = _weights_of(init_from, self.say) if init_from else None
            if weights is None and self.total:
                self.game.prepare()  # meanwhile
            state = self.game.create(jax.random.key(self.config.train.seed))
            if init_from and weights:
                state = adopt_weights(state, weights, init_from)
        self.state, self.step = state, int(state.step)
        self.images = int(state.images_seen)
        if self.step < self.total:  # or the process would stay until it had compiled in vain
            self.game.prepare()
        if self.leader:
            self.log = Log(self.run, self.step)
            save_config(self.config, self.run)
        self._greet("; --init-from has no effect" if init_from and self.resumed else "")

    def _greet(self, remark: str) -> None:
        count = len(self.game.devices)
        where = f"{count} {self.game.devices[0].device_kind} device{'s' if count > 1 else ''}"
        verb = f"training in {self.run}"
        if self.resumed:
            verb = f"continuing {self.run} at {self.images / 1000:.1f} kimg"
        self.say(f"{verb} on {where}, up to {self.config.train.total_kimg:g} kimg{remark}")

    def play(self, batches: Batches) -> bool:
        """Plays the rounds that are left."""
        if self.step >= self.total:
            self.say("nothing left to do: train.total_kimg is reached")
            return True
        options, began = self.config.train, time.perf_counter()
        left = itertools.islice(batches(self.step), self.total - self.step)
        self.clock = time.perf_counter()
        with _stop_on_signals(self.say) as stopped:
            for batch in prefetch(left, self.game.place):
                untrained = self._untrained() if self.step == 0 else None
                self.state, info = self.game.step(self.state, batch, self.step)
                self.step, self.images = self.step + 1, self.images + options.batch_size
                self.infos.append(info)
                if untrained and not stopped.is_set():
                    jax.block_until_ready(self.state)
                    self.say(f"first step done after {duration(time.perf_counter() - began)}")
                    self._show(untrained, [o for o in self.observers if o.every_kimg])
                    self._tidy()  # observers compile too
                self.metric = None  # of an earlier round
                last = self.step == self.total
                if last or stopped.is_set() or self._due(options.log_kimg):
                    self._report()
                if stopped.is_set() and not last:
                    self._save()
                    self.say(f"stopped at {self.images / 1000:.1f} kimg; the same command goes on")
                    return False
                self._observe(last)
                if last or self._due(options.checkpoint_kimg):
                    self._save()
        self._checkpoints().wait()
        self.say(f"done: {self.step} steps, {duration(time.perf_counter() - began)}")
        return True

    def close(self) -> None:
        """Waits for what is being written."""
        if self.checkpoints:
            self.checkpoints.close()
        if self.log:
            self.log.close()

    def _due(self, kimg: float) -> bool:
        """Says whether the last round completed a multiple of so many thousand images."""
        before, period = self.images - self.config.train.batch_size, kimg * 1000
        return kimg > 0 and (self.images == 0 or self.images // period > before // period)

    def _observe(self, last: bool) -> None:
        self.metric = None
        due = [o for o in self.observers if o.every_kimg and (last or self._due(o.every_kimg))]
        if due:
            jax.block_until_ready(self.state)
            variables, divided = self.state.generator_variables(), self.game.divided
            self._show(Snapshot(self.step, self.images, variables, divided), due)

    def _untrained(self) -> Snapshot:
        """A copy of the first generator, to be shown once a step has fit into memory."""
        variables = self.state.generator_variables()
        kept = jax.device_put(variables, self.game.replicated, may_alias=False)
        return Snapshot(self.step, self.images, kept, self.game.divided)

    def _show(self, now: Snapshot, due: Sequence[Observer]) -> None:
        began = time.perf_counter()
        for observer in due:
            values = dict(observer.observe(now))
            qualities = [value for name, value in values.items() if name.startswith("metric/")]
            self.metric = qualities[0] if qualities else self.metric
            if values:
                self._write(values, now.step, now.images_seen)
                words = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
                self.say(f"{now.images_seen / 1000:8.1f} kimg  {words}")
        self.clock += time.perf_counter() - began  # not part of the speed

    def _report(self) -> None:
        """Waits for the device, then logs the rounds since the last report."""
        if not self.infos:
            return
        infos, self.infos = jax.device_get(self.infos), []
        seconds = max(time.perf_counter() - self.clock, 1e-9)
        self.clock = time.perf_counter()
        names = sorted({name for info in infos for name in info})
        values = {n: float(np.mean([i[n] for i in infos if n in i])) for n in names}
        self._refuse_nan(values)
        speed = len(infos) * self.config.train.batch_size / seconds
        values |= {"images_per_second": speed, "memory_gib": memory_gib(self.game.devices[0])}
        self._write(values, self.step, self.images)
        self.say(progress(self.images / 1000, self.config.train.total_kimg, speed, values))

    def _refuse_nan(self, values: Mapping[str, float]) -> None:
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            steps = self._checkpoints().steps()
            kept = f"the last checkpoint, {steps[-1]}, is kept" if steps else "no checkpoint yet"
            raise UserError(f"{', '.join(bad)} not finite by step {self.step}: stopped; {kept}")

    def _save(self) -> None:
        self._report()  # refuses to save what is not finite
        self._checkpoints().save(self.step, self.state, self.config, self.metric)

    def _checkpoints(self) -> Checkpoints:
        assert self.checkpoints is not None, "start() comes first"
        return self.checkpoints

    def _write(self, values: Mapping[str, float], step: int, images: int) -> None:
        if self.log:
            self.log.write(step, images, values)

    def _compiled(self, seconds: float) -> None:
        self.say(f"waited {seconds:.1f} s for the steps to be compiled")
        self._tidy()

    def _tidy(self) -> None:
        if self.after_compile:
            self.after_compile()
        self.clock = time.perf_counter()  # not part of the speed


def _weights_of(run: str, say: Callable[[str], None]) -> dict[str, Any]:
    if not pathlib.Path(run).is_dir():
        raise UserError(f"no run in {run}")
    source = Checkpoints(run, warn=say, read_only=True)
    try:
        return source.weights()[0]
    finally:
        source.close()


@contextlib.contextmanager
def _stop_on_signals(say: Callable[[str], None]) -> Iterator[threading.Event]:
    """Turns the first SIGINT or SIGTERM into a set event; a second one acts as usual."""
    stopped = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        yield stopped  # only the main thread may handle signals
        return
    usual = {number: signal.getsignal(number) for number in signals}

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def stop(number: int, frame: Any) -> None:
        restore()
        stopped.set()
        say(f"{signal.Signals(number).name}: finishing this round, then writing a checkpoint")

    for number in signals:
        signal.signal(number, stop)
    try:
        yield stopped
    finally:
        restore()
