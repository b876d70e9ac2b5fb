"""Objects that the steps of one command share, and the work that is done between steps."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ganformer_jax import hosts
from ganformer_jax.config.dicts import to_dict
from ganformer_jax.signals import Stopped
from ganformer_jax.train.checkpoints.checkpoints import Checkpoints
from ganformer_jax.train.compile import Programs
from ganformer_jax.train.logs.history import History
from ganformer_jax.train.logs.log import Log
from ganformer_jax.train.logs.progress import duration
from ganformer_jax.train.logs.writers import Writer
from ganformer_jax.train.observing import Observer, ObserverResult, observe
from ganformer_jax.train.recovery import NonFinite, refuse_non_finite, refuse_non_finite_state
from ganformer_jax.train.stalls import Stalls
from ganformer_jax.train.stopping import Stop
from ganformer_jax.train.trainable import Position, State

Batches = Callable[[int], Iterator[Mapping[str, np.ndarray]]]
"""Takes the number of images seen; yields this process's share of the batches to come, forever."""


class End(NamedTuple):
    """The end of training: whether the run is complete, and whether observers were skipped."""

    at: Position
    done: bool
    skipped: bool

    def words(self, seconds: float) -> str:
        """Return how steps that took this long ended, in words."""
        if self.done:
            return f"done: {self.at.step} steps, {duration(seconds)}"
        if self.at.step:
            return f"stopped at {self.at.kimg:.1f} kimg: saved, and can be resumed"
        return "stopped before the first step"


@dataclasses.dataclass(frozen=True)
class Session:
    """Objects that the steps of one command share."""

    run: pathlib.Path
    config: Any
    programs: Programs
    checkpoints: Checkpoints
    warm_start: Callable[[State], State] | None
    write_data_files: Callable[[], None] | None
    batches: Batches
    observers: Sequence[Observer]
    history: History
    say: Callable[[str], None]
    skipped_step: int | None = None
    """The step at which a signal ended an earlier command, which skipped observers."""

    def due_observers(self, at: Position) -> Sequence[Observer]:
        """List the observers that are called after the step that ends at a position."""
        options = self.config.train
        if at.images_seen >= options.total_kimg * 1000:
            return self.observers
        return [o for o in self.observers if is_due(o.every_kimg, at, options.batch_size)]

    def late_observers(self) -> Sequence[Observer]:
        """List the observers that see the untrained state after the first step."""
        return [o for o in self.observers if o.every_kimg and not o.at_once]

    def init(self) -> State:
        """Make the first state of the run, with the weights that `warm_start` puts into it."""
        state = self.programs.init(jax.random.key(self.config.train.seed))
        return state if self.warm_start is None else self.warm_start(state)

    def open_log(self, at: Position, writers: Sequence[Writer]) -> Log:
        """Open the log at a position; lines of later steps are dropped."""
        options = self.config.train
        return Log(
            run=self.run,
            start=at.step,
            batch_size=options.batch_size,
            say=self.say,
            images_seen=at.images_seen,
            total_kimg=options.total_kimg,
            writers=writers,
        )

    def record_end(self, end: End) -> bool:
        """Record the end; return whether the run is complete, with all figures and metrics."""
        details = {}
        if end.skipped:
            details = {"left_out": True}
            self.say("some figures or metrics are not complete: the next command makes them first")
        event = "completed" if end.done else "stopped"
        self.history.add(event, end.at.step, end.at.images_seen, **details)
        return end.done and not end.skipped

    def recovered(self, at: Position, error: NonFinite) -> Session:
        """Record the return to a checkpoint; return the session for what follows."""
        self.history.add("recovered", at.step, at.images_seen, reason=str(error))
        self.say(f"returned to {at.kimg:.1f} kimg, with other random numbers")
        return dataclasses.replace(self, skipped_step=None)

    def record_failed_recovery(self, began: Position, error: NonFinite) -> None:
        """Record a signal that came before the return, from steps that began at a position."""
        steps = error.step - began.step
        images_seen = began.images_seen + steps * self.config.train.batch_size
        self.history.add("stopped", error.step, images_seen, reason=str(error))
        self.say("stopped: resumes from the last checkpoint, with the same random numbers")


@dataclasses.dataclass(frozen=True)
class Attempt:
    """Objects that the steps share up to an end, or to numbers that are not finite."""

    session: Session
    log: Log
    stop: Stop
    stalls: Stalls

    def run_observers(
        self, observers: Sequence[Observer], at: Position, state: State
    ) -> ObserverResult:
        """Call observers on a state, and log what they return."""
        if not observers:
            return ObserverResult()
        sample = functools.partial(self.session.programs.trainable.sample, state)
        return observe(observers, at, state, sample, self.log, self.stop, self.stalls.progress)

    def run_skipped_observers(self, at: Position, state: State) -> bool:
        """Call observers that an earlier command skipped here; return whether none is left."""
        if self.session.skipped_step != at.step:
            return True
        metric, complete = self.run_observers(self.session.due_observers(at), at, state)
        if metric is not None:
            self.session.checkpoints.add_metric(at.step, metric)
        return complete

    def report(self, at: Position) -> None:
        """Log what the steps since the last report did.

        Raises:
            NonFinite: If a number of them is not finite.
        """
        device = self.session.programs.placement.own[0]
        refuse_non_finite(self.log.report(at.step, at.images_seen, device), at.step)

    def save(self, at: Position, state: State, metric: tuple[str, float] | None = None) -> None:
        """Save a checkpoint, after a report.

        Raises:
            NonFinite: If a number of the report or of the state is not finite.
            UserError: If it cannot be written.
        """
        self.report(at)
        refuse_non_finite_state(state, at.step)
        self.session.checkpoints.save(at.step, state, to_dict(self.session.config), metric)

    def open_batches(self, images_seen: int) -> Iterator[Mapping[str, np.ndarray]] | None:
        """Open the data while the updates are compiled, and wait for these; None after a signal."""
        session, batches, stopped = self.session, None, False
        try:
            with self.stop.interruptible():
                if session.write_data_files is not None:
                    session.write_data_files()
                batches = session.batches(images_seen)
                if waited := session.programs.wait(self._check_notice):
                    session.say(f"waited {waited:.1f} s for the updates to be compiled")
                    self.log.restart()
        except Stopped:
            stopped = True
        return None if any(hosts.all_of(stopped)) else batches

    def _check_notice(self) -> None:
        """Look for signals while updates compile, which is progress."""
        self.stalls.progress()
        self.stop.check_notice()


def is_due(kimg: float, at: Position, batch_size: int) -> bool:
    """Tell whether the last step completed a multiple of `kimg` thousand images."""
    period = kimg * 1000
    return kimg > 0 and at.images_seen // period > (at.images_seen - batch_size) // period
