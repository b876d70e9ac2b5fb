"""Training in tests: runs of the tiny GAN, and of a model that compiles in no time."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from tiny import random_batches, tiny_config

from ganformer_jax.config import Config
from ganformer_jax.train.compile import Programs
from ganformer_jax.train.devices import place_on
from ganformer_jax.train.loop import train
from ganformer_jax.train.observing import Observer
from ganformer_jax.train.prefetch import place_batch
from ganformer_jax.train.state import Optimizers
from ganformer_jax.train.trainable import Trainable, Update
from ganformer_jax.train.updates import gan_trainable

DATA = Path(__file__).parent / "data"
SGD_RATE = 0.05


def sgd():
    """Optimizers that do not hide a gradient of the wrong scale, as Adam would."""
    return Optimizers(optax.sgd(SGD_RATE), optax.sgd(SGD_RATE))


def gan_programs(config, devices=None, optimizers=None, **mesh: int) -> Programs:
    """Programs of the tiny GAN on some devices, by default one."""
    placement = place_on(devices or jax.devices()[:1], **mesh)
    return Programs(gan_trainable(config, placement, no_images, optimizers), placement)


def no_images(state: Any, indices: Iterable[int]) -> np.ndarray:
    raise AssertionError("nobody asked for images")


def run_steps(programs: Programs, batches: Iterable[dict[str, np.ndarray]], seed: int = 0):
    """The state and what updates report after the steps of these batches, on the host."""
    state, infos = programs.init(jax.random.key(seed)), []
    names, sharding = programs.trainable.batch, programs.placement.batch
    for number, batch in enumerate(batches):
        state, info = programs.step(state, place_batch(batch, names, sharding), number)
        infos.append(info)
    return on_host((state, infos))


def on_host(tree: Any) -> Any:
    """Arrays on the host; random keys as their words."""

    def plain(leaf: Any) -> Any:
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(leaf) if is_key else leaf

    return jax.device_get(jax.tree.map(plain, tree))


def assert_close(one: Any, other: Any, rtol: float = 2e-4, atol: float = 2e-5) -> None:
    """Compare two trees leaf by leaf, naming the one that differs."""
    leaves = jax.tree_util.tree_leaves_with_path(one)
    for (path, a), b in zip(leaves, jax.tree.leaves(other), strict=True):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=name)


@functools.cache
def trainable_on_one(config: Config) -> Trainable:
    """The same functions for equal configs, so that JAX traces them once."""
    return gan_trainable(config, place_on(jax.devices()[:1]), no_images)


def train_gan(config, run, batches=random_batches, observers: Iterable[Observer] = (), **options):
    """Train the tiny GAN on one device, without a word unless `say` is given."""
    placement = place_on(jax.devices()[:1])
    lengths = {field: 0.0 for field in ("total_kimg", "log_kimg", "checkpoint_kimg")}
    trainable = trainable_on_one(
        dataclasses.replace(config, train=dataclasses.replace(config.train, **lengths))
    )
    options.setdefault("say", lambda line: None)
    return train(trainable, placement, config, run, batches, list(observers), **options)


# A model that compiles in no time: the loop knows nothing of what it trains.


class MeanState(flax.struct.PyTreeNode):
    """State of a model that follows the mean of its images."""

    mean: jax.Array
    decay: jax.Array
    step: jax.Array
    images_seen: jax.Array
    key: jax.Array


def follow_mean(state: MeanState, batch: dict[str, Any]) -> tuple[MeanState, dict[str, jax.Array]]:
    """Move to the mean of a batch, with noise drawn by the step."""
    key = jax.random.fold_in(state.key, state.step)
    mean = batch["images"].astype(jnp.float32).mean() + jax.random.normal(key)
    loss = jnp.square(mean - state.mean)
    state = state.replace(
        mean=state.mean + state.decay * (mean - state.mean),
        step=state.step + 1,
        images_seen=state.images_seen + batch["images"].shape[0],
    )
    return state, {"loss/generator": loss}


def halve_decay(state: MeanState, batch: dict[str, Any]) -> tuple[MeanState, dict[str, jax.Array]]:
    """A regularizer of sorts."""
    return state.replace(decay=state.decay / 2), {"loss/r1": state.decay}


def init_mean(key: jax.Array) -> MeanState:
    zero = jnp.int32(0)
    return MeanState(jnp.full((3,), 7.0), jnp.float32(0.5), zero, jnp.int32(0), key)


def sample_mean(state: MeanState, indices: Iterable[int]) -> np.ndarray:
    return np.stack([np.full((8, 8, 3), float(state.mean[0]) + i, np.uint8) for i in indices])


EXPERIMENT = tiny_config(components=0)  # 20 steps of 16 images


def mean_trainable(**changes: Any) -> Trainable:
    """What trains in milliseconds."""
    shape = (EXPERIMENT.train.batch_size, 8, 8, 3)
    updates = (Update("decay", halve_decay, 3), Update("mean", follow_mean))
    batch = {"images": jax.ShapeDtypeStruct(shape, np.uint8)}
    return dataclasses.replace(Trainable(init_mean, updates, batch, sample_mean), **changes)


def with_train(**values: Any):
    """The experiment of tests with other values of `train`."""
    return dataclasses.replace(EXPERIMENT, train=dataclasses.replace(EXPERIMENT.train, **values))


def train_mean(
    run,
    config=EXPERIMENT,
    batches=random_batches,
    observers: Iterable[Observer] = (),
    trainable: Trainable | None = None,
    say: Callable[[str], None] = lambda line: None,
    **options,
) -> bool:
    """Train the mean."""
    placement = place_on(jax.devices()[:1])
    trainable = trainable or mean_trainable()
    return train(trainable, placement, config, run, batches, list(observers), say=say, **options)


@functools.cache
def mean_programs() -> Programs:
    return Programs(mean_trainable(), place_on(jax.devices()[:1]))


def failing_mean(first_step: int, only_key: jax.Array | None = None) -> Trainable:
    """A model whose loss is not a number from a step on, or only with the first random numbers."""

    def update(state, batch):
        state, info = follow_mean(state, batch)
        fails = state.step > first_step
        if only_key is not None:
            fails &= (jax.random.key_data(state.key) == jax.random.key_data(only_key)).all()
        nan = jnp.where(fails, jnp.nan, 0.0)
        info = {"loss/generator": info["loss/generator"] + nan}
        return state.replace(mean=state.mean + nan), info

    return mean_trainable(
        updates=(Update("mean", update),),
        reseed=lambda state, number: state.replace(key=jax.random.fold_in(state.key, number)),
        diagnose=lambda state, batch: f"layer of step {int(state.step) + 1}",
    )
