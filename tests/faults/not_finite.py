"""Weights, gradients and data that are not finite, once and for ever."""

import dataclasses
import pathlib
import unittest.mock
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tiny import conditional, labeled_batch, tiny_config
from training import no_images, on_host

from ganformer_jax import losses
from ganformer_jax.errors import UserError
from ganformer_jax.train.checkpoints.checkpoints import Checkpoints
from ganformer_jax.train.compile import Programs
from ganformer_jax.train.devices import place_on
from ganformer_jax.train.logs.history import events
from ganformer_jax.train.loop import train
from ganformer_jax.train.state import make_optimizers
from ganformer_jax.train.updates import gan_trainable

from . import Row

STEPS, FIRST = 20, 9
BASE = conditional(tiny_config(components=0, path_length_weight=0.0, r1_gamma=0.0))
OPTIONS = dataclasses.replace(BASE.train, checkpoint_kimg=0.064, log_kimg=0.016)
CONFIG = dataclasses.replace(BASE, train=OPTIONS)


class Fault:
    """Counts calls, and returns 1 or, at the tenth or from there on, NaN."""

    def __init__(self, ever: bool):
        self.ever, self.calls = ever, 0

    def __call__(self) -> np.ndarray:
        self.calls += 1
        fails = self.calls > FIRST if self.ever else self.calls == FIRST + 1
        return np.asarray(np.nan if fails else 1.0, np.float32)

    def on_device(self) -> jax.Array:
        """Call from a compiled program, each time that it runs."""
        return jax.pure_callback(self, jax.ShapeDtypeStruct((), np.float32))


def in_weights(fault: Fault) -> optax.GradientTransformation:
    """An optimizer whose updates are multiplied by what a fault returns."""
    adam = make_optimizers(CONFIG).generator

    def update(gradients: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        updates, state = adam.update(gradients, state, params)
        factor = fault.on_device()
        return jax.tree.map(lambda update: update * factor, updates), state

    return optax.GradientTransformation(adam.init, update)


def in_gradients(fault: Fault) -> Callable[[jax.Array], jax.Array]:
    """A loss of the generator whose gradient, but not the loss, is multiplied likewise."""

    @jax.custom_vjp
    def loss(logits: jax.Array) -> jax.Array:
        return jax.nn.softplus(-logits)

    def forward(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        return loss(logits), logits

    def backward(logits: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
        return (-cotangent * jax.nn.sigmoid(-logits) * fault.on_device(),)

    loss.defvjp(forward, backward)
    return loss


def run(folder: pathlib.Path, place: str, fault: Fault) -> bool:
    """Train the tiny GAN with a fault in one place."""

    def batches(images_seen: int) -> Iterator[dict[str, np.ndarray]]:
        for number in range(images_seen // OPTIONS.batch_size, 10**9):
            batch = labeled_batch(number)
            if place == "data":
                batch["labels"] = batch["labels"] * fault()
            yield batch

    optimizers, generator_loss = make_optimizers(CONFIG), losses.GENERATOR_LOSSES
    if place == "weights":
        optimizers = optimizers._replace(generator=in_weights(fault))
    if place == "gradients":
        generator_loss = {**generator_loss, CONFIG.loss.generator: in_gradients(fault)}
    placement = place_on(jax.devices()[:1])
    with unittest.mock.patch.dict(losses.GENERATOR_LOSSES, generator_loss):
        trainable = gan_trainable(CONFIG, placement, no_images, optimizers)
        return train(trainable, placement, CONFIG, folder, batches, say=lambda line: None)


def final_state(folder: pathlib.Path) -> Any:
    placement = place_on(jax.devices()[:1])
    trainable = gan_trainable(CONFIG, placement, no_images)
    abstract = Programs(trainable, placement).abstract_state()
    with Checkpoints(folder, read_only=True, version=trainable.state_version) as checkpoints:
        return on_host(checkpoints.restore(abstract))


def numbers(folder: pathlib.Path) -> Iterator[Row]:
    """Train with each of them: once is recovered from, for ever is refused in words."""
    for place in ("weights", "gradients", "data"):
        run_folder = folder / f"{place}-once"
        done = run(run_folder, place, Fault(ever=False))
        state = final_state(run_folder)
        finite = all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(state))
        recovered = [event["event"] for event in events(run_folder)].count("recovered")
        good = done and finite and int(state.step) == STEPS and recovered == 1
        yield f"NaN in {place}, once", 1, "recovered and completed", not good
        try:
            run(folder / f"{place}-ever", place, Fault(ever=True))
            outcome, good = "completed", False
        except UserError as error:
            outcome = str(error).split("recoveries in a row; ")[-1].split(";")[0]
            good = "3 recoveries in a row; first in step" in str(error)
        yield f"NaN in {place}, for ever", 1, f"stopped: {outcome}", not good
