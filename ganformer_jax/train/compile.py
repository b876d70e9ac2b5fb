"""Compiled steps over a mesh of devices: where arrays live and which programs exist."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ganformer_jax.config import Config
from ganformer_jax.config_ranges import check_ranges
from ganformer_jax.errors import UserError
from ganformer_jax.train.state import Optimizers, TrainState, create_state
from ganformer_jax.train.steps import Batch, Game, Info

DATA_AXIS = "data"
Device = Any  # jax.Device, which type checkers do not take for a type


def find_devices(platform: str | None = None, count: int | None = None) -> list[Device]:
    """Finds the devices to train on.

    Args:
        platform: "cpu", "gpu" or "tpu"; None for what jax prefers. Takes effect only if jax has
            not looked for devices yet.
        count: How many; None for all of them.

    Raises:
        UserError: When there is no such accelerator, or there are too few devices.
    """
    if platform and platform != "gpu":  # which has several names in jax, and all must be there
        jax.config.update("jax_platforms", platform)
    try:
        devices = jax.devices()
    except RuntimeError as error:
        raise UserError(f"no {platform or 'device'} found: jax cannot use one here") from error
    found = "gpu" if devices[0].platform in ("gpu", "cuda", "rocm") else devices[0].platform
    if platform and found != platform:
        raise UserError(f"no {platform} found: jax runs on {devices[0].platform} here")
    if count is not None and not 1 <= count <= len(devices):
        raise UserError(f"train.devices is {count}, but there are {len(devices)}")
    return devices[:count]


def check_training(config: Config, devices: int) -> None:
    """Refuses batches that do not divide evenly, and numbers out of their range.

    Raises:
        UserError: Which names the option.
    """
    check_ranges(config)
    _check_batch(config, devices)


def _check_batch(config: Config, devices: int) -> None:
    batch, loss = config.train.batch_size, config.loss
    if batch % devices:
        raise UserError(f"train.batch_size {batch} does not divide over {devices} devices")
    if loss.path_length_weight and loss.path_length_interval:
        shrink = loss.path_length_batch_shrink
        if batch % (devices * shrink):
            raise UserError(
                f"train.batch_size {batch} does not divide by loss.path_length_batch_shrink "
                f"{shrink} times {devices} devices"
            )
    group = min(config.discriminator.minibatch_stddev_group, batch)
    if config.discriminator.minibatch_stddev_channels and batch % group:
        raise UserError(
            f"train.batch_size {batch} is not a multiple of "
            f"discriminator.minibatch_stddev_group {group}"
        )


@dataclasses.dataclass
class CompiledGame:
    """The steps of an experiment, compiled over a one-dimensional mesh.

    The state is replicated and the batch divided. A call donates the state it is given.

    Attributes:
        config: The experiment.
        devices: Devices of the mesh.
        optimizers: To train with others than `make_optimizers(config)`.
        on_compile: Told, once there are programs, the seconds they were waited for.
    """

    config: Config
    devices: Sequence[Device]
    optimizers: Optimizers | None = None
    on_compile: Callable[[float], None] = lambda seconds: None

    def __post_init__(self) -> None:
        check_training(self.config, len(self.devices))
        # Auto: the minibatch-stddev reshape does not type-check on jax's default, Explicit.
        mesh = Mesh(np.asarray(self.devices), (DATA_AXIS,), axis_types=(AxisType.Auto,))
        self.replicated = NamedSharding(mesh, PartitionSpec())
        self.divided = NamedSharding(mesh, PartitionSpec(DATA_AXIS))
        self.game = Game(self.config, batch_sharding=self.divided, optimizers=self.optimizers)
        make = functools.partial(create_state, self.config, optimizers=self.optimizers)
        # It runs once, so on a CPU optimizing it takes far longer than it saves.
        cpu = self.devices[0].platform == "cpu"
        options = {"xla_backend_optimization_level": "0"} if cpu else None
        self._create = jax.jit(make, out_shardings=self.replicated, compiler_options=options)
        self._compiling: dict[str, Future[jax.stages.Compiled]] = {}
        self._programs: dict[str, jax.stages.Compiled] = {}

    def create(self, key: jax.Array) -> TrainState:
        """Makes the first state, on every device of the mesh."""
        return self._create(key)

    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and shardings of the state, without computing one."""
        shapes = self._create.eval_shape(jax.random.key(0))
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self.replicated),
            shapes,
        )

    def abstract_batch(self) -> Batch:
        """Shapes, dtypes and shardings of a batch of all processes."""
        generator, count = self.config.generator, self.config.train.batch_size

        def abstract(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((count, *shape), dtype, sharding=self.divided)

        classes = generator.label_size
        batch = {"images": abstract(np.uint8, *generator.image_size, generator.image_channels)}
        return batch | {"labels": abstract(np.float32, classes)} if classes else batch

    def prepare(self) -> None:
        """Starts to compile the steps in the background, one after the other.

        `step` waits for them, and starts this if nobody has.
        """
        if self._compiling:
            return
        state, batch = self.abstract_state(), self.abstract_batch()
        thread = ThreadPoolExecutor(1, "compile")
        for name in reversed(self.due(0)):  # all steps, and first the one that takes longest
            lowered = self.lower(name, state, batch)  # here, as settings of jax are per thread
            self._compiling[name] = thread.submit(lowered.compile)
        thread.shutdown(wait=False)

    def step(self, state: TrainState, batch: Batch, number: int) -> tuple[TrainState, Info]:
        """Plays round `number`, counted from 0, without waiting for it to end.

        Args:
            state: Donated: do not use it again.
            batch: From `place`.
            number: Must equal `state.step`; it decides which regularizers take part, and is
                asked for so that nobody has to wait for the device to tell.
        """
        if not self._programs:
            self._finish_compiling()
        info: Info = {}
        for name in self.due(number):
            state, more = self._programs[name](state, batch)
            info |= more
        return state, info

    def place(self, batch: dict[str, np.ndarray]) -> Batch:
        """Starts moving this process's share of a batch to the devices, labels if they matter."""
        wanted = ("images", "labels") if self.config.generator.label_size else ("images",)
        return {
            name: jax.make_array_from_process_local_data(self.divided, batch[name])
            for name in wanted
        }

    def due(self, number: int) -> list[str]:
        """Names the steps of `Game` that make up round `number`, in order."""
        loss = self.config.loss

        def due(weight: float, interval: int) -> bool:
            return bool(weight and interval) and number % interval == 0

        path_length = due(loss.path_length_weight, loss.path_length_interval)
        r1 = due(loss.r1_gamma, loss.r1_interval)
        return ["path_length_step"] * path_length + ["r1_step"] * r1 + ["adversarial_step"]

    def lower(self, name: str, state: Any, batch: Any) -> jax.stages.Lowered:
        """Traces one of the steps, for arrays or for their shapes."""
        step = jax.jit(
            getattr(self.game, name),
            in_shardings=(self.replicated, self.divided),
            out_shardings=(self.replicated, self.replicated),
            donate_argnums=0,
        )
        return step.lower(state, batch)

    def _finish_compiling(self) -> None:
        began = time.perf_counter()
        self.prepare()
        self._programs = {name: future.result() for name, future in self._compiling.items()}
        self.on_compile(time.perf_counter() - began)


def prefetch(
    batches: Iterable[dict[str, np.ndarray]],
    place: Callable[[dict[str, np.ndarray]], Batch],
    depth: int = 2,
) -> Iterator[Batch]:
    """Keeps the next `depth` batches on their way to the devices."""
    waiting: list[Batch] = []
    for batch in batches:
        waiting.append(place(batch))
        if len(waiting) > depth:
            yield waiting.pop(0)
    yield from waiting
