"""Compiled updates: one program each, made in the background and run on a mesh of devices."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import jax
import jax.numpy as jnp

from ganformer_jax import hosts
from ganformer_jax.errors import UserError
from ganformer_jax.train.devices import Placement
from ganformer_jax.train.trainable import Batch, Info, State, Trainable, Update, train_step

PAUSE_EVENT = "/ganformer_jax/pause"
"""Event that training records with `jax.monitoring` when no program runs and some were compiled."""

_NEEDED = re.compile(
    r"\(([\d.]+)([KMGT])\) exceeds available HBM \(([\d.]+)([KMGT])\)"
    r"|Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT]) hbm"
)
_GIB = {"K": 2.0**-20, "M": 2.0**-10, "G": 1.0, "T": 2.0**10}


class TooLarge(UserError):
    """A program that needs more memory than a device has, as its compiler says.

    Attributes:
        share: Memory that it needs, as a multiple of the device's.
    """

    def __init__(self, message: str, share: float):
        super().__init__(message)
        self.share = share


class Programs:
    """The programs of a trainable on a placement. A program donates the state it is given.

    Attributes:
        trainable: What is trained.
        placement: The devices.
        init: Makes the first state from a key, on the devices.
        compiled: The updates that were asked for, in order, each with its `jax.stages.Compiled`;
            empty before `wait`.
    """

    def __init__(self, trainable: Trainable, placement: Placement):
        self.trainable, self.placement = trainable, placement
        # It runs once, so on a CPU optimizing it takes far longer than it saves.
        cpu = placement.devices[0].platform == "cpu"
        options = {"xla_backend_optimization_level": "0"} if cpu else None
        with _garbage_kept():
            self._shapes = jax.eval_shape(trainable.init, jax.random.key(0))
        self._shardings = placement.state_shardings(self._shapes)
        self.init = jax.jit(trainable.init, out_shardings=self._shardings, compiler_options=options)
        self._copy = self._transform(lambda state: jax.tree.map(jnp.copy, state))
        self._reseed = self._transform(trainable.reseed, donate=True)
        self._compiling: dict[str, Future[jax.stages.Compiled]] = {}
        self.compiled: list[Update] = []

    def abstract_state(self) -> State:
        """Return shapes, dtypes and shardings of the state, without computing one."""

        def abstract(leaf: Any, sharding: jax.sharding.NamedSharding) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

        return jax.tree.map(abstract, self._shapes, self._shardings)

    def abstract_batch(self) -> Batch:
        """Return shapes, dtypes and shardings of a batch over all devices."""
        sharding = self.placement.batch
        return {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
            for name, leaf in self.trainable.batch.items()
        }

    def compile_in_background(self, images_seen: int = 0) -> None:
        """Compile the updates in a thread, one after the other, unless that has begun.

        Args:
            images_seen: Where training starts; updates of stages that ended before are left out.
        """
        needed = [
            update
            for update in reversed(self.trainable.updates)  # first the one that takes longest
            if images_seen < update.until_images and update.name not in self._compiling
        ]
        if not needed:
            return
        state, batch = self.abstract_state(), self.abstract_batch()
        thread = ThreadPoolExecutor(1, hosts.COMPILATION)
        for update in needed:
            lowered = self.lower(update.function, state, batch)  # settings of jax are per thread
            self._compiling[update.name] = thread.submit(
                functools.partial(compile_program, update.name, lowered)
            )
        thread.shutdown(wait=False)

    def wait(self, check: Callable[[], None] = lambda: None) -> float:
        """Wait until the updates are compiled; return the seconds waited, 0 if they were.

        Args:
            check: Called twice a second; what it raises ends the wait.
        """
        if not self._compiling:
            self.compile_in_background()
        if len(self.compiled) == len(self._compiling):
            return 0.0
        began = time.perf_counter()
        while wait(self._compiling.values(), timeout=0.5).not_done:
            check()
        self.compiled = [
            dataclasses.replace(update, function=self._compiling[update.name].result())
            for update in self.trainable.updates
            if update.name in self._compiling
        ]
        jax.monitoring.record_event(PAUSE_EVENT)
        return time.perf_counter() - began

    def step(
        self, state: State, batch: Batch, number: int, images_seen: int = 0
    ) -> tuple[State, Info]:
        """Run the updates of step `number`, counted from 0, without waiting for their end.

        Args:
            state: Donated: do not use it again.
            batch: On the devices.
            number: Equals `state.step`, which is on the device.
            images_seen: Equals `state.images_seen`.
        """
        self.compile_in_background(images_seen)
        self.wait()
        return train_step(self.compiled, state, batch, number, images_seen)

    def copy(self, state: State) -> State:
        """Copy a state that the next step takes over."""
        return self._copy(state)

    def reseed(self, state: State, number: int) -> State:
        """Return a state with other random numbers to come (`Trainable.reseed`).

        The state is donated.
        """
        return self._reseed(state, number)

    def _transform(
        self, function: Callable[..., State], donate: bool = False
    ) -> Callable[..., State]:
        donated = 0 if donate else None
        return jax.jit(function, out_shardings=self._shardings, donate_argnums=donated)

    def lower(self, function: Callable[..., Any], state: Any, batch: Any) -> jax.stages.Lowered:
        """Trace an update, for arrays or for their shapes."""
        ins = self._shardings, self.placement.batch
        outs = self._shardings, self.placement.replicated
        jitted = jax.jit(function, in_shardings=ins, out_shardings=outs, donate_argnums=0)
        with _garbage_kept():
            return jitted.lower(state, batch)


def compile_program(name: str, lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """Compile a program, which errors call by this name.

    Raises:
        TooLarge: If its compiler knows that the memory of a device does not hold it.
    """
    try:
        return lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        needed = _NEEDED.search(str(error))
        if needed is None:
            raise
        used, unit, whole, unit_of_whole = filter(None, needed.groups())
        used, whole = float(used) * _GIB[unit], float(whole) * _GIB[unit_of_whole]
        raise TooLarge(
            f"{name} needs {used:.2f} GiB, and a device has {whole:.2f}: lower train.batch_size; "
            "GANs can also raise train.accumulate or set train.rematerialize",
            used / whole,
        ) from error


def memory_of(compiled: jax.stages.Compiled) -> tuple[int, int]:
    """Return the bytes of a device that the arguments and the temporaries of a program take."""
    memory = compiled.memory_analysis()
    assert memory is not None, "XLA's backends tell it"
    return memory.argument_size_in_bytes, memory.temp_size_in_bytes


@contextlib.contextmanager
def _garbage_kept() -> Iterator[None]:
    """Collect no garbage meanwhile: searching all objects for it takes a fifth of a trace."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
