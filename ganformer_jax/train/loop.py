"""The training loop: batches, steps, logs, observers and checkpoints, of any model."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import math
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ganformer_jax.config_files import to_dict
from ganformer_jax.errors import UserError, os_reason
from ganformer_jax.files import write_atomically
from ganformer_jax.train.checkpoint import Checkpoints
from ganformer_jax.train.compile import PAUSE_EVENT, Programs
from ganformer_jax.train.devices import Placement, device_words
from ganformer_jax.train.log import Log
from ganformer_jax.train.prefetch import prefetch
from ganformer_jax.train.progress import beside_bars, duration
from ganformer_jax.train.run_folder import CONFIG_FILE, check_run
from ganformer_jax.train.trainable import State, Trainable
from ganformer_jax.train.wandb_log import wandb_writers

Batches = Callable[[int], Iterator[Mapping[str, np.ndarray]]]
"""Takes the number of steps done; yields this process's share of the batches that follow."""


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """One moment of training, as observers see it.

    Attributes:
        step: Steps done.
        images_seen: Images that the networks were trained on.
        state: On the devices; valid only until the observer returns.
        sample: Takes indices; returns uint8 images [M, H, W, C].
    """

    step: int
    images_seen: int
    state: State
    sample: Callable[[Sequence[int]], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Observer:
    """A function called on the untrained state, every `every_kimg` thousand images and at the end.

    Attributes:
        every_kimg: Thousand images from one call to the next; 0 for never.
        observe: Returns what to log: numbers, and uint8 images [H, W] or [H, W, C]. The first
            number whose name begins with "metric/" decides which checkpoint is best: the lowest
            among those with a number of this name.
    """

    every_kimg: float
    observe: Callable[[Snapshot], Mapping[str, float | np.ndarray]]


def train(
    trainable: Trainable,
    placement: Placement,
    config: Any,
    run: str | pathlib.Path,
    batches: Batches,
    observers: Sequence[Observer] = (),
    *,
    warm_start: Callable[[State], State] | None = None,
    wandb: str | None = None,
    say: Callable[[str], None] = print,
) -> bool:
    """Train, or resume, a run until its length is reached or a signal arrives.

    Observers get the untrained state once the first step has succeeded, so that a lack of memory
    shows at once.

    Args:
        trainable: What is trained.
        placement: The devices to train on.
        config: The experiment: a dataclass whose field `train` is a `TrainConfig`.
        run: Folder that receives `config.json`, `metrics.jsonl`, `tensorboard` and `checkpoints`.
            If it holds a run of the same config, that run resumes, bit for bit.
        batches: See `Batches`.
        observers: Called in order, before the checkpoint of the same step.
        warm_start: Changes the first state of a new run, to start from other weights.
        wandb: Project of Weights and Biases to log to as well.
        say: Receives lines for the user.

    Returns:
        Whether the run is complete; False after SIGINT or SIGTERM, which leave a checkpoint.

    Raises:
        UserError: If the folder cannot be written or holds another run, or a loss is not finite.
    """
    run, options, values = pathlib.Path(run), config.train, to_dict(config)
    say = beside_bars(say) if jax.process_index() == 0 else lambda line: None
    last_step = math.ceil(max(options.total_kimg, 0) * 1000 / options.batch_size)
    key, programs = jax.random.key(options.seed), Programs(trainable, placement)
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(_open_checkpoints(run, trainable, options, say))
        check_run(run, config, checkpoints.stored_config())
        state = checkpoints.restore(programs.abstract_state(), lambda: programs.init(key))
        resumed = state is not None
        if state is None:
            state = _first_state(programs, key, warm_start, compiles=last_step > 0)
        step, images = int(state.step), int(state.images_seen)
        writers = wandb_writers(wandb, run, values) if step < last_step else []
        log = Log(run, step, options.batch_size, say, images, options.total_kimg, writers)
        stack.enter_context(contextlib.closing(log))
        if jax.process_index() == 0:
            write_atomically(run / CONFIG_FILE, json.dumps(values, indent=2) + "\n")
        verb = f"resuming {run} at {images / 1000:.1f} kimg" if resumed else f"training in {run}"
        say(f"{verb} on {device_words(placement.devices)}, up to {options.total_kimg:g} kimg")
        if step >= last_step:
            say("nothing left to do: train.total_kimg is reached")
            return True
        programs.start()

        began, left = time.perf_counter(), itertools.islice(batches(step), last_step - step)
        stopped = stack.enter_context(_stop_on_signals(say))
        for batch in prefetch(left, trainable.batch, placement.batch):
            if waited := programs.wait():
                say(f"waited {waited:.1f} s for the updates to be compiled")
                log.restart()
            untrained = _copy(state, placement) if step == 0 and observers else None
            state, info = programs.step(state, batch, step)
            step, images = step + 1, images + options.batch_size
            log.add(info)
            done, stop = step == last_step, stopped.is_set()
            due = functools.partial(_due, images=images, batch_size=options.batch_size)
            if untrained is not None and not stop:
                jax.block_until_ready(state)
                say(f"first step done after {duration(time.perf_counter() - began)}")
                _observe(observers, Snapshot(0, 0, untrained, _sampler(trainable, untrained)), log)
                log.restart()
            save, metric = done or stop or due(options.checkpoint_kimg), None
            if save or due(options.log_kimg):
                device = placement.devices[0]
                averages = log.report(step, images, device)
                _refuse_non_finite(averages, step, checkpoints)
            if done or not stop:
                chosen = [o for o in observers if done or due(o.every_kimg)]
                metric = _observe(
                    chosen, Snapshot(step, images, state, _sampler(trainable, state)), log
                )
            if save:
                checkpoints.save(step, state, values, metric)
            if stop and not done:
                say(f"stopped at {images / 1000:.1f} kimg; the same command resumes")
                return False
        checkpoints.wait()
        say(f"done: {step} steps, {duration(time.perf_counter() - began)}")
        return True


def _open_checkpoints(
    run: pathlib.Path, trainable: Trainable, options: Any, say: Callable[[str], None]
) -> Checkpoints:
    version, added = trainable.state_version, trainable.added_leaves
    try:
        run.mkdir(parents=True, exist_ok=True)
        return Checkpoints(run, options.checkpoints_kept, say, version=version, added=added)
    except OSError as error:
        raise UserError(f"cannot write to {run}: {os_reason(error)}") from error


def _first_state(
    programs: Programs,
    key: jax.Array,
    warm_start: Callable[[State], State] | None,
    compiles: bool,
) -> State:
    """Make the state of a new run, while the updates are compiled if there will be a step."""
    if compiles and not warm_start:  # which may fail, and compiling cannot be interrupted
        programs.start()
    state = programs.init(key)
    return warm_start(state) if warm_start else state


def _sampler(trainable: Trainable, state: State) -> Callable[[Sequence[int]], np.ndarray]:
    return functools.partial(trainable.sample, state)


def _copy(state: State, placement: Placement) -> State:
    """Copy a state that the next step takes over."""
    return jax.device_put(state, placement.replicated, may_alias=False)


def _due(kimg: float, images: int, batch_size: int) -> bool:
    """Tell whether the last step completed a multiple of `kimg` thousand images."""
    period = kimg * 1000
    return kimg > 0 and images // period > (images - batch_size) // period


def _observe(observers: Sequence[Observer], now: Snapshot, log: Log) -> tuple[str, float] | None:
    """Call observers and log what they return; return the metric that decides what is best."""
    metric = None
    with log.paused():
        for observer in (o for o in observers if o.every_kimg):
            jax.block_until_ready(now.state)
            found = observer.observe(now)
            metric = log.write_observed(now.step, now.images_seen, found) or metric
    jax.monitoring.record_event(PAUSE_EVENT)
    return metric


def _refuse_non_finite(values: Mapping[str, float], step: int, checkpoints: Checkpoints) -> None:
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        steps = checkpoints.steps()
        kept = f"the last checkpoint, {steps[-1]}, is kept" if steps else "no checkpoint yet"
        raise UserError(f"{', '.join(wrong)} not finite by step {step}: stopped; {kept}")


@contextlib.contextmanager
def _stop_on_signals(say: Callable[[str], None]) -> Iterator[threading.Event]:
    """Turn the first SIGINT or SIGTERM into a set event; a second one acts as usual."""
    stopped = threading.Event()
    with contextlib.ExitStack() as usual:

        def stop(number: int, frame: Any) -> None:
            usual.close()
            stopped.set()
            say(f"{signal.Signals(number).name}: finishing this step, then writing a checkpoint")

        if threading.current_thread() is threading.main_thread():  # others may not handle signals
            for number in (signal.SIGINT, signal.SIGTERM):
                usual.callback(signal.signal, number, signal.signal(number, stop))
        yield stopped
