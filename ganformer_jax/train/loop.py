"""The training loop: batches, steps, logs, observers and checkpoints, of any model."""

from __future__ import annotations

import collections
import contextlib
import functools
import pathlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from ganformer_jax import hosts
from ganformer_jax.config.dicts import to_dict
from ganformer_jax.config.training import TrainConfig
from ganformer_jax.errors import UserError
from ganformer_jax.signals import Stopped
from ganformer_jax.train.checkpoints.checkpoints import Checkpoints
from ganformer_jax.train.checkpoints.structure import refuse_unstorable
from ganformer_jax.train.compile import Programs
from ganformer_jax.train.devices import Placement, device_words
from ganformer_jax.train.logs.history import History, observers_skipped
from ganformer_jax.train.logs.progress import beside_bars, duration
from ganformer_jax.train.logs.wandb_log import wandb_writers
from ganformer_jax.train.logs.writers import BestEffort, Writer
from ganformer_jax.train.observing import Observer, ObserverResult
from ganformer_jax.train.prefetch import prefetch
from ganformer_jax.train.recovery import NonFinite, Recovery
from ganformer_jax.train.run_folder import (
    check_hosts,
    check_run,
    open_checkpoints,
    store_config,
)
from ganformer_jax.train.session import Attempt, Batches, End, Session, is_due
from ganformer_jax.train.stalls import Stalls
from ganformer_jax.train.stopping import Stop
from ganformer_jax.train.trainable import Batch, Info, Position, State, Trainable

AHEAD = 4
"""Steps that may wait for the devices: a signal is acted on after them."""


def train(
    trainable: Trainable,
    placement: Placement,
    config: Any,
    run: str | pathlib.Path,
    batches: Batches,
    observers: Sequence[Observer] = (),
    *,
    write_data_files: Callable[[], None] | None = None,
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
        write_data_files: Writes what the run's folder holds of the data, such as names of classes;
            called before `batches`, once the folder is known to be this run's.
        warm_start: Changes the first state of a new run, to start from other weights.
        identities: Checksum of what an option names, by the option: what has another name but the
            same checksum, such as a dataset that was moved, resumes; another checksum is refused.
        wandb: Project of Weights and Biases to log to as well.
        say: Receives lines for the user.

    Returns:
        Whether the run is complete; False after SIGINT or SIGTERM, which leave a checkpoint. The
        figures and metrics that the signal interrupts are made when the run resumes, but for those
        of the untrained networks.

    Raises:
        UserError: If the folder cannot be written, holds another run or one whose checkpoints are
            gone, checkpoints cannot hold the state, or losses stay not finite.
    """
    run, options, identities = pathlib.Path(run), config.train, dict(identities or {})
    say = beside_bars(say) if hosts.is_first() else lambda line: None
    programs = Programs(trainable, placement)
    with contextlib.ExitStack() as stack:
        stalls = stack.enter_context(Stalls(options.stall_minutes, say))
        check_hosts(config, identities)
        checkpoints = open_checkpoints(run, trainable, options.checkpoints_kept, say, stack)
        stored = checkpoints.stored_config()
        changes = hosts.first(lambda: check_run(run, config, stored, identities))
        state, resumed = _first_state(programs, checkpoints, options, warm_start)
        at = Position.of(state)
        store_config(run, config)
        devices = device_words(placement.devices)
        verb = f"resuming {run} at {at.kimg:.1f} kimg" if resumed else f"training in {run}"
        say(f"{verb} on {devices}, up to {options.total_kimg:g} kimg")
        for change in changes:
            say(f"changed: {change}")
        skipped = hosts.first(lambda: observers_skipped(run, at.step))
        if at.images_seen >= options.total_kimg * 1000 and not skipped:
            say("nothing left to do: train.total_kimg is reached")
            return True
        history = History(run, {"devices": devices, "identities": identities}, say)
        history.add("resumed" if resumed else "started", at.step, at.images_seen, changes=changes)
        session = Session(
            run=run,
            config=config,
            programs=programs,
            checkpoints=checkpoints,
            warm_start=warm_start,
            write_data_files=write_data_files,
            batches=batches,
            observers=observers,
            history=history,
            say=say,
            skipped_step=at.step if skipped else None,
        )
        writers = _open_wandb(wandb, run, config, say, stack)
        return _train_and_recover(session, state, writers, stalls)


def _first_state(
    programs: Programs,
    checkpoints: Checkpoints,
    options: TrainConfig,
    warm_start: Callable[[State], State] | None,
) -> tuple[State, bool]:
    """Return the state of the newest checkpoint, else a new one, and whether it is the former."""
    key, abstract = jax.random.key(options.seed), programs.abstract_state()
    refuse_unstorable(abstract)
    state = checkpoints.restore(abstract, lambda: programs.init(key))
    if state is not None:
        return state, True
    if warm_start is not None:
        return warm_start(programs.init(key)), False
    if options.total_kimg > 0:  # while a state is made; a failed warm start would have to wait
        programs.compile_in_background()
    return programs.init(key), False


def _train_and_recover(
    session: Session, state: State, writers: Sequence[Writer], stalls: Stalls
) -> bool:
    """Train to the end, with returns to the last checkpoint; return whether the run is complete."""
    with Stop(session.say) as stop:

        def repeated_step() -> None:
            stalls.progress()
            stop.check()

        recovery = Recovery(
            programs=session.programs,
            checkpoints=session.checkpoints,
            batches=session.batches,
            limit=session.config.train.recoveries,
            repeated_step=repeated_step,
            say=session.say,
        )
        while True:
            at = Position.of(state)
            try:
                with contextlib.closing(session.open_log(at, writers)) as log:
                    end = _train_from(Attempt(session, log, stop, stalls), state)
                return session.record_end(end)
            except NonFinite as error:
                session.say(f"warning: {error}")
                traceback.clear_frames(error.__traceback__)  # which hold the state that failed
                failure = error.with_traceback(None)
            del state
            state = _recover(session, recovery, failure, stop)
            if state is None:
                session.record_failed_recovery(at, failure)
                return False
            session = session.recovered(Position.of(state), failure)


def _recover(session: Session, recovery: Recovery, error: NonFinite, stop: Stop) -> State | None:
    """Return to the last good state; None after a signal."""
    try:
        stop.check()
        with stop.interruptible():
            return recovery.recover(error, session.init)
    except Stopped:
        return None


def _train_from(attempt: Attempt, state: State) -> End:
    """Train from a state on.

    Raises:
        NonFinite: If losses or the state are not finite; no checkpoint has such a state.
    """
    session, at, began = attempt.session, Position.of(state), time.perf_counter()
    programs, done = session.programs, at.images_seen >= session.config.train.total_kimg * 1000
    if not done:
        programs.compile_in_background(at.images_seen)
    if at.step == 0:
        attempt.run_observers([o for o in session.observers if o.at_once], at, state)
    skipped = not attempt.run_skipped_observers(at, state)
    if done:
        return End(at, done, skipped)
    batches = attempt.open_batches(at.images_seen)
    if batches is None:
        session.say("stopped before the first step")
        return End(at, done, skipped)
    stream = prefetch(batches, programs.trainable.batch, programs.placement.batch)
    return _run_steps(attempt, state, stream, began)


def _run_steps(attempt: Attempt, state: State, stream: Iterator[Batch], began: float) -> End:
    """Do the steps of `_train_from`, which began at this time, until the end or a signal."""
    session, stop, at = attempt.session, attempt.stop, Position.of(state)
    options = session.config.train
    total, running = options.total_kimg * 1000, collections.deque[Info]()
    stopping, result = False, ObserverResult()
    sees_untrained = at.step == 0 and session.late_observers()
    untrained = session.programs.copy(state) if sees_untrained else None
    with _saved_on_error(lambda: attempt.save(at, state)):
        while at.images_seen < total and not stopping:
            batch = _next(stream, stop, at)
            if batch is None:
                break
            state, info = session.programs.step(state, batch, at.step, at.images_seen)
            at = Position(at.step + 1, at.images_seen + options.batch_size)
            attempt.log.add(info)
            _wait_for_earlier_steps(running, info)
            attempt.stalls.progress()
            stopping = stop.requested()
            if at.step == 1:
                _finish_first_step(attempt, state, None if stopping else untrained, began)
                untrained = None

            due = functools.partial(is_due, at=at, batch_size=options.batch_size)
            saves = at.images_seen >= total or stopping or due(options.checkpoint_kimg)
            if saves or due(options.log_kimg) or attempt.log.is_full():
                attempt.report(at)
            result = attempt.run_observers(session.due_observers(at), at, state)
            stopping = stop.requested()
            if saves or stopping:
                attempt.save(at, state, result.metric)
        if at.step:
            attempt.save(at, state)  # unless it is saved
        session.checkpoints.wait()
    end = End(at, at.images_seen >= total, not result.complete)
    session.say(end.words(time.perf_counter() - began))
    return end


def _wait_for_earlier_steps(running: collections.deque[Info], info: Info) -> None:
    """Add what a step reports to those that run; wait for the oldest if there are too many."""
    running.append(info)
    if len(running) > AHEAD:
        jax.block_until_ready(running.popleft())


def _finish_first_step(
    attempt: Attempt, state: State, untrained: State | None, began: float
) -> None:
    """Wait for the first step of a run; then call observers on the untrained state, if given."""
    jax.block_until_ready(state)
    attempt.session.say(f"first step done after {duration(time.perf_counter() - began)}")
    if untrained is not None:
        attempt.run_observers(attempt.session.late_observers(), Position(0, 0), untrained)
    attempt.log.restart()


def _next(stream: Iterator[Batch], stop: Stop, at: Position) -> Batch | None:
    """Wait for the next batch; None after a signal, as storage may not answer for long."""
    try:
        with stop.interruptible():
            return next(stream)
    except Stopped:
        return None
    except StopIteration:
        words = f"the batches ended after {at.images_seen} images: give an iterator without end"
        raise UserError(words) from None


@contextlib.contextmanager
def _saved_on_error(save: Callable[[], None]) -> Iterator[None]:
    """Save the state when something else fails: the data, or an observer.

    Numbers that are not finite are not saved. Several processes cannot save: those that did not
    fail wait in a step for the one that did.
    """
    try:
        yield
    except NonFinite:
        raise
    except Exception:
        if hosts.count() == 1:
            with contextlib.suppress(Exception):  # as if the devices failed
                save()
        raise


def _open_wandb(
    project: str | None,
    run: pathlib.Path,
    config: Any,
    say: Callable[[str], None],
    stack: contextlib.ExitStack,
) -> Sequence[Writer]:
    """Open the log in a project of Weights and Biases, if there is one."""
    writers = wandb_writers(project, run, to_dict(config), say)
    for writer in writers:
        stack.callback(BestEffort(say), writer.name, writer.close)
    return writers
