"""Observers of a state in training, such as sample grids and metrics."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from ganformer_jax import hosts
from ganformer_jax.errors import UserError, os_reason
from ganformer_jax.signals import Stopped
from ganformer_jax.train.compile import PAUSE_EVENT
from ganformer_jax.train.logs.log import Log
from ganformer_jax.train.stopping import Stop
from ganformer_jax.train.trainable import Position, State


@dataclasses.dataclass(frozen=True)
class Moment:
    """One moment of training, as observers see it.

    Attributes:
        step: Steps done.
        images_seen: Images that the networks were trained on.
        state: On the devices; valid only until the observer returns.
        sample: Takes indices; returns uint8 images [M, H, W, C].
        check: Raises if training is to stop. All processes must call it equally often.
    """

    step: int
    images_seen: int
    state: State
    sample: Callable[[Sequence[int]], np.ndarray]
    check: Callable[[], None]


class ObserverResult(NamedTuple):
    """The result of a call of observers.

    Attributes:
        metric: Name and value of what decides which checkpoint is best.
        complete: Whether none was skipped; False after a request to stop.
    """

    metric: tuple[str, float] | None = None
    complete: bool = True


@dataclasses.dataclass(frozen=True)
class Observer:
    """A function called on the untrained state, every `every_kimg` thousand images and at the end.

    With several processes each of them calls it; only the first one may write.

    Attributes:
        every_kimg: Thousand images from one call to the next; 0 for never.
        observe: Returns what to log: numbers, and uint8 images [H, W] or [H, W, C], which only the
            first process needs to return. The first number whose name begins with "metric/" decides
            which checkpoint is best: the lowest among those with a number of this name, to which
            `metric_suffix` is added.
        at_once: Called on the untrained state while updates are compiled, before data are read; by
            default after the first step, so that a lack of memory shows before.
        metric_suffix: The number of images that the deciding number is of, if its name does not
            tell it: values of other numbers of images are not compared.
    """

    every_kimg: float
    observe: Callable[[Moment], Mapping[str, float | np.ndarray]]
    at_once: bool = False
    metric_suffix: str = ""


def observe(
    observers: Iterable[Observer],
    at: Position,
    state: State,
    sample: Callable[[Sequence[int]], np.ndarray],
    log: Log,
    stop: Stop,
    progress: Callable[[], None],
) -> ObserverResult:
    """Call observers and log what they return.

    A request to stop ends this early and skips the observers that remain. An error of the
    disk or the user ends training on the untrained state; later, with one process, it is a warning.
    `progress` is called whenever a part of the work is done.
    """

    def check() -> None:
        progress()
        stop.check()

    metric, complete = None, False
    now = Moment(step=at.step, images_seen=at.images_seen, state=state, sample=sample, check=check)
    with log.paused(), contextlib.suppress(Stopped), stop.interruptible():
        for observer in (o for o in observers if o.every_kimg):
            jax.block_until_ready(state)
            progress()
            try:
                found = stop.call(functools.partial(observer.observe, now))
            except (OSError, UserError) as error:
                if at.step == 0 or hosts.count() > 1:  # where the others wait for this one
                    raise
                reason = str(error) if isinstance(error, UserError) else os_reason(error)
                log.say(f"warning: a figure or metric failed ({reason}); training continues")
                continue
            images = {n: v for n, v in found.items() if isinstance(v, np.ndarray) and v.ndim}
            for name, image in images.items():
                log.write_image(at.step, at.images_seen, name, image)
            values = {n: float(v) for n, v in found.items() if n not in images}
            values = hosts.all_of(values)[0]
            deciding = next((n for n in values if n.startswith("metric/")), None)
            if deciding is not None:
                name = deciding.removeprefix("metric/") + observer.metric_suffix
                metric = name, values[deciding]
            if values:
                log.write(at.step, at.images_seen, values)
                words = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
                log.say(f"{at.kimg:8.1f} kimg  {words}")
        complete = True
        jax.monitoring.record_event(PAUSE_EVENT)
    progress()
    return ObserverResult(metric, complete)
