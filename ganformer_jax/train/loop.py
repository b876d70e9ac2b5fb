"""The training loop: batches, steps, logs, observers and checkpoints, of any model."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import math
import pathlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ganformer_jax import hosts
from ganformer_jax.config_files import to_dict
from ganformer_jax.errors import UserError, os_reason
from ganformer_jax.files import exclusive_lock, write_atomically
from ganformer_jax.signals import Stopped
from ganformer_jax.train.checkpoint import Checkpoints
from ganformer_jax.train.compile import Programs
from ganformer_jax.train.devices import Placement, device_words
from ganformer_jax.train.history import History
from ganformer_jax.train.log import Log
from ganformer_jax.train.log_writers import BestEffort, Writer
from ganformer_jax.train.observing import Observer, observe
from ganformer_jax.train.prefetch import prefetch
from ganformer_jax.train.progress import beside_bars, duration
from ganformer_jax.train.recovery import (
    NonFinite,
    Recovery,
    refuse_non_finite,
    refuse_non_finite_state,
)
from ganformer_jax.train.run_folder import CONFIG_FILE, check_run
from ganformer_jax.train.stopping import Stop
from ganformer_jax.train.trainable import Position, State, Trainable
from ganformer_jax.train.wandb_log import wandb_writers

Batches = Callable[[int], Iterator[Mapping[str, np.ndarray]]]
"""Takes the number of images seen; yields this process's share of the batches that follow."""


def train(
    trainable: Trainable,
    placement: Placement,
    config: Any,
    run: str | pathlib.Path,
    batches: Batches,
    observers: Sequence[Observer] = (),
    *,
    warm_start: Callable[[State], State] | None = None,
    identities: Mapping[str, str] | None = None,
    wandb: str | None = None,
    say: Callable[[str], None] = print,
) -> bool:
    """Train, or resume, a run until its length is reached or a signal arrives.

    If losses or the state are not finite, training returns to the last checkpoint with other random
    numbers, `config.train.recoveries` times in a row at most.

    Args:
        trainable: What is trained.
        placement: The devices to train on.
        config: The experiment: a dataclass whose field `train` is a `TrainConfig`.
        run: Folder that receives `config.json`, `metrics.jsonl`, `history.jsonl`, `tensorboard`
            and `checkpoints`; all processes must see the same one. If it holds a run of the same
            config, that run resumes, bit for bit.
        batches: See `Batches`.
        observers: Called in order, before the checkpoint of the same step.
        warm_start: Changes the first state of a new run, to start from other weights.
        identities: Checksum of what an option names, by the option: what has another name but the
            same checksum, such as a dataset that was moved, resumes.
        wandb: Project of Weights and Biases to log to as well.
        say: Receives lines for the user.

    Returns:
        Whether the run is complete; False after SIGINT or SIGTERM, which leave a checkpoint.

    Raises:
        UserError: If the folder cannot be written or holds another run, or losses stay not finite.
    """
    run, options, identities = pathlib.Path(run), config.train, dict(identities or {})
    start = warm_start or (lambda state: state)
    say = beside_bars(say) if hosts.is_first() else lambda line: None
    key, programs = jax.random.key(options.seed), Programs(trainable, placement)
    with contextlib.ExitStack() as stack:
        checkpoints = _open_checkpoints(run, trainable, options, say, stack)
        stored = checkpoints.stored_config()
        changes = hosts.first(lambda: check_run(run, config, stored, identities))
        state = checkpoints.restore(programs.abstract_state(), lambda: programs.init(key))
        resumed = state is not None
        if state is None:
            if warm_start is None and options.total_kimg > 0:  # a failed start would have to wait
                programs.start()
            state = start(programs.init(key))
        at = Position.of(state)
        _store_config(run, config)
        verb = f"resuming {run} at {at.kimg:.1f} kimg" if resumed else f"training in {run}"
        on = device_words(placement.devices)
        say(f"{verb} on {on}, up to {options.total_kimg:g} kimg")
        for change in changes:
            say(f"changed: {change}")
        if at.images >= options.total_kimg * 1000:
            say("nothing left to do: train.total_kimg is reached")
            return True
        history = History(run, {"devices": on, "identities": identities}, say)
        history.add("resumed" if resumed else "started", at.step, at.images, changes=changes)
        data = batches, observers
        session = _Session(run, config, programs, checkpoints, start, *data, history, say)
        return _train_and_recover(session, state, _open_wandb(wandb, run, config, say, stack))


@dataclasses.dataclass(frozen=True)
class _Session:
    """What the steps of one command share."""

    run: pathlib.Path
    config: Any
    programs: Programs
    checkpoints: Checkpoints
    start: Callable[[State], State]
    batches: Batches
    observers: Sequence[Observer]
    history: History
    say: Callable[[str], None]

    def init(self) -> State:
        """Make the first state of the run."""
        return self.start(self.programs.init(jax.random.key(self.config.train.seed)))


def _train_and_recover(session: _Session, state: State, writers: Sequence[Writer]) -> bool:
    """Train to the end, with returns to the last checkpoint; return whether the run is complete."""
    history, say = session.history, session.say
    recovery = Recovery(
        session.programs,
        session.checkpoints,
        session.batches,
        session.config.train.recoveries,
    )
    while True:
        try:
            with contextlib.closing(_open_log(session, Position.of(state), writers)) as log:
                at, done = _train_from(session, state, log)
        except NonFinite as error:
            say(f"warning: {error}")
            traceback.clear_frames(error.__traceback__)  # which hold the state that failed
            del state
            state = recovery.recover(error, session.init)
            at = Position.of(state)
            history.add("recovered", at.step, at.images, reason=str(error))
            say(f"returned to {at.kimg:.1f} kimg, with other random numbers")
            continue
        history.add("completed" if done else "stopped", at.step, at.images)
        return done


def _train_from(session: _Session, state: State, log: Log) -> tuple[Position, bool]:
    """Train from a state on; return where it ends, and whether the run is complete.

    Raises:
        NonFinite: If losses or the state are not finite; no checkpoint has such a state.
    """
    programs, options, say = session.programs, session.config.train, session.say
    trainable, placement = programs.trainable, programs.placement
    at, began = Position.of(state), time.perf_counter()
    steps = math.ceil((options.total_kimg * 1000 - at.images) / options.batch_size)
    programs.start()
    with Stop(say) as stop:

        def look(
            observers: Sequence[Observer], at: Position, state: State
        ) -> tuple[str, float] | None:
            sample = functools.partial(trainable.sample, state)
            return observe(observers, at, state, sample, log, stop)

        late, untrained = [], None
        if at.step == 0:
            look([o for o in session.observers if o.at_once], at, state)
            late = [o for o in session.observers if not o.at_once and o.every_kimg]
            untrained = programs.copy(state) if late and not stop.requested() else None
        batches = _open_batches(session, at.images, stop, log)
        if batches is None:
            say("stopped before the first step")
            return at, False
        left = itertools.islice(batches, steps)
        for number, batch in enumerate(prefetch(left, trainable.batch, placement.batch), 1):
            state, info = programs.step(state, batch, at.step)
            at = Position(at.step + 1, at.images + options.batch_size)
            log.add(info)
            done, stopping = number == steps, stop.requested()
            due = functools.partial(_due, images=at.images, batch_size=options.batch_size)
            if at.step == 1:
                jax.block_until_ready(state)
                say(f"first step done after {duration(time.perf_counter() - began)}")
            if untrained is not None and not stopping:
                look(late, Position(0, 0), untrained)
                untrained = None
                log.restart()
            save, metric = done or stopping or due(options.checkpoint_kimg), None
            if save or due(options.log_kimg) or log.is_full():
                averages = log.report(at.step, at.images, placement.own[0])
                refuse_non_finite(averages, at.step)
            if done or not stopping:
                chosen = [o for o in session.observers if done or due(o.every_kimg)]
                metric = look(chosen, at, state)
            stopping = stopping or stop.requested()
            if save or stopping:
                refuse_non_finite_state(state, at.step)
                session.checkpoints.save(at.step, state, to_dict(session.config), metric)
            if stopping and not done:
                session.checkpoints.wait()
                say(f"stopped at {at.kimg:.1f} kimg: saved, and can be resumed")
                return at, False
        session.checkpoints.wait()
        say(f"done: {at.step} steps, {duration(time.perf_counter() - began)}")
        return at, True


def _open_batches(
    session: _Session, images_seen: int, stop: Stop, log: Log
) -> Iterator[Mapping[str, np.ndarray]] | None:
    """Open the data while the updates are compiled, and wait for these; None after a signal."""
    batches, stopped = None, False
    try:
        with stop.interruptible():
            batches = session.batches(images_seen)
            if waited := session.programs.wait(stop.check_notice):
                session.say(f"waited {waited:.1f} s for the updates to be compiled")
                log.restart()
    except Stopped:
        stopped = True
    return None if any(hosts.all_of(stopped)) else batches


def _store_config(run: pathlib.Path, config: Any) -> None:
    if hosts.is_first():
        write_atomically(run / CONFIG_FILE, json.dumps(to_dict(config), indent=2) + "\n")


def _open_wandb(
    project: str | None,
    run: pathlib.Path,
    config: Any,
    say: Callable[[str], None],
    stack: contextlib.ExitStack,
) -> Sequence[Writer]:
    """Open the log in a project of Weights and Biases, if there is one."""
    writers = wandb_writers(project, run, to_dict(config))
    for writer in writers:
        stack.callback(BestEffort(say), writer.name, writer.close)
    return writers


def _open_log(session: _Session, at: Position, writers: Sequence[Writer]) -> Log:
    """Open the log at a position; lines of later steps are dropped."""
    options = session.config.train
    lengths = at.images, options.total_kimg
    return Log(session.run, at.step, options.batch_size, session.say, *lengths, writers)


def _open_checkpoints(
    run: pathlib.Path,
    trainable: Trainable,
    options: Any,
    say: Callable[[str], None],
    stack: contextlib.ExitStack,
) -> Checkpoints:
    """Lock the run against other commands that train it, and open its checkpoints."""
    version, added = trainable.state_version, trainable.added_leaves
    try:
        run.mkdir(parents=True, exist_ok=True)
        hosts.check_shared(run)
        if hosts.is_first():
            stack.enter_context(exclusive_lock(run, "training in", say))
        checkpoints = Checkpoints(run, options.checkpoints_kept, say, version=version, added=added)
        return stack.enter_context(checkpoints)
    except OSError as error:
        raise UserError(f"cannot write to {run}: {os_reason(error)}") from error


def _due(kimg: float, images: int, batch_size: int) -> bool:
    """Tell whether the last step completed a multiple of `kimg` thousand images."""
    period = kimg * 1000
    return kimg > 0 and images // period > (images - batch_size) // period
