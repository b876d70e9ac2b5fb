"""Updates bound to a config, and helpers that every kind of training needs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from ganformer_jax.config.checks import need_multiple
from ganformer_jax.train.data_parallel import DataParallel
from ganformer_jax.train.devices import Placement
from ganformer_jax.train.trainable import Batch, Info, State


def bind(
    function: Callable[..., tuple[State, Info]],
    config: Any,
    placement: Placement,
    name: str | None = None,
) -> Callable[[State, Batch], tuple[State, Info]]:
    """Return an update of a state and a batch, under the name by which profilers know its program.

    Args:
        function: Takes the config, `DataParallel`, a state and a batch.
        config: The experiment, whose `train.matmul_precision` it has.
        placement: The devices.
        name: The name; by default that of the function.
    """
    update = functools.partial(function, config, DataParallel(placement.batch))
    update.__name__ = name or function.__name__  # type: ignore[attr-defined]
    return with_matmul_precision(update, config.train.matmul_precision)


def check_devices(batch: int, placement: Placement) -> None:
    """Raise `UserError` unless the devices divide a batch."""
    devices = len(placement.devices)
    need_multiple(batch, devices, f"{devices} device{'s' * (devices > 1)}")


def count_step(state: Any, count: int) -> Any:
    """Return a state after one more step, of `count` images over all devices.

    Keys of a step are folded with `state.step`, so an update counts it after all of its draws.
    """
    return state.replace(step=state.step + 1, images_seen=state.images_seen + count)


def reseed(state: Any, number: jax.Array) -> Any:
    """Return a state with other random numbers to come, from its field `key`."""
    return state.replace(key=jax.random.fold_in(state.key, number))


def with_matmul_precision(function: Callable[..., Any], precision: str) -> Callable[..., Any]:
    """Return a function whose matrix products and convolutions have at least this precision.

    Those of its gradients too: everything is traced within the setting. "default" leaves the
    function as it is, under the setting that jax has when it is traced.
    """
    if precision == "default":
        return function

    def precise(*arguments: Any) -> Any:
        with jax.default_matmul_precision(precision):
            return function(*arguments)

    precise.__name__ = getattr(function, "__name__", precise.__name__)
    return precise
