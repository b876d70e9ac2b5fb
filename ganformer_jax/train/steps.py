"""The adversarial game: what one training step does to the state, as pure functions.

A round is: now and then the generator's path lengths are regularized, and the discriminator's
gradients at real images; then the generator plays, the discriminator plays, and the generator's
average follows. Each of these takes `(state, batch)` and returns `(state, info)`. A regularizer
is an update of its own, every so many rounds and that much stronger (lazy regularization, Karras
et al. 2020, arXiv 1912.04958, appendix B); it comes first so that it can be a program of its own
and the rest of the round another.

The same functions run under `jax.jit` over a mesh (give `batch_sharding`) and under `jax.pmap`
or `shard_map` (give `axis_name`). Every draw is made for the whole batch from a key that only
the step and its purpose decide, so results do not depend on the number of devices. Two things
are per device under `axis_name`: groups of the minibatch standard deviation hold images of one
device, and noise and dropout inside the generator, though they differ from device to device,
are not those of `jax.jit`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax
from jax import lax

from ganformer_jax import losses
from ganformer_jax.train.players import Batch, Players
from ganformer_jax.train.state import Optimizers, TrainState, Tree, make_optimizers

if TYPE_CHECKING:
    from jaxtyping import Array, Float

Info = dict[str, jax.Array]
"""Float32 scalars to log, averaged over the whole batch."""


@dataclasses.dataclass(frozen=True)
class Game(Players):
    """The steps of one experiment.

    Attributes:
        optimizers: By default those of `make_optimizers(config)`; the state must come from the
            same ones.
    """

    optimizers: Optimizers | None = None

    def train_step(
        self, state: TrainState, batch: Batch, *, path_length: bool = False, r1: bool = False
    ) -> tuple[TrainState, Info]:
        """Plays one whole round: the regularizers that take part in it, then the game."""
        info: Info = {}
        for takes_part, step in ((path_length, self.path_length_step), (r1, self.r1_step)):
            if takes_part:
                state, more = step(state, batch)
                info |= more
        state, more = self.adversarial_step(state, batch)
        return state, info | more

    def adversarial_step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Info]:
        """Generator, discriminator, average: what every round has, and what counts it."""
        state, info = self.generator_step(state, batch)
        state, more = self.discriminator_step(state, batch)
        return self.average_step(state, batch), info | more

    def generator_step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Info]:
        """Updates the generator to raise the logits of its images, and the mean of w."""
        labels = self._labels(batch)
        keys = self._keys(state, "generator")

        def loss_of(params: Tree) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            w_BxKxLxW, w_mean_W = self._map(params, state, keys, labels, self._count(batch))
            images_BxHxWxC = self._synthesize(params, state, keys, w_BxKxLxW)
            logits_Bx1 = self._discriminate(state.discriminator, images_BxHxWxC, labels)
            loss_B = losses.GENERATOR_LOSSES[self.config.loss.generator](logits_Bx1)
            return loss_B.mean(), (logits_Bx1, w_mean_W)

        (loss, (logits_Bx1, w_mean_W)), gradients = jax.value_and_grad(loss_of, has_aux=True)(
            state.generator
        )
        state, norm = self._update(state, "generator", gradients)
        beta = self.config.optimizer.w_average_beta
        w_mean_W = lax.stop_gradient(self._mean(w_mean_W))
        state = state.replace(w_average=w_mean_W + beta * (state.w_average - w_mean_W))
        info = {"loss/generator": loss, "logits/generator": logits_Bx1.mean()}
        return state, self._mean(info) | {"gradient_norm/generator": norm}

    def path_length_step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Info]:
        """Updates the generator to pull path lengths to their running mean."""
        options = self.config.loss
        count = self._count(batch) // options.path_length_batch_shrink
        labels = self._labels(batch, count)
        keys = self._keys(state, "path_length")
        shape = (count, *batch["images"].shape[1:])
        pixels_BxHxWxC = self._normal(keys["pixels"], shape)

        def loss_of(params: Tree) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            w_BxKxLxW, _ = self._map(params, state, keys, labels, count)
            lengths_B = losses.path_length(
                lambda w_BxKxLxW: self._synthesize(params, state, keys, w_BxKxLxW),
                w_BxKxLxW,
                pixels_BxHxWxC,
            )
            mean = state.path_length_mean
            mean += options.path_length_decay * (self._mean(lengths_B.mean()) - mean)
            mean = lax.stop_gradient(mean)
            loss = options.path_length_weight * jnp.square(lengths_B - mean).mean()
            return options.path_length_interval * loss, (loss, mean)

        gradients, (loss, mean) = jax.grad(loss_of, has_aux=True)(state.generator)
        state, norm = self._update(state, "generator", gradients)
        info = {"loss/path_length": self._mean(loss), "path_length/mean": mean}
        info["gradient_norm/path_length"] = norm
        return state.replace(path_length_mean=mean), info

    def discriminator_step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Info]:
        """Updates the discriminator to tell real images from generated ones."""
        labels, keys = self._labels(batch), self._keys(state, "discriminator")
        w_BxKxLxW, _ = self._map(state.generator, state, keys, labels, self._count(batch))
        fakes_BxHxWxC = self._synthesize(state.generator, state, keys, w_BxKxLxW)
        reals_BxHxWxC = self._images(batch)

        def loss_of(params: Tree) -> tuple[jax.Array, Info]:
            real_Bx1 = self._discriminate(params, reals_BxHxWxC, labels)
            fake_Bx1 = self._discriminate(params, fakes_BxHxWxC, labels)
            loss_B = self._discriminator_loss(real_Bx1, fake_Bx1)
            return loss_B.mean(), {"logits/real": real_Bx1.mean(), "logits/fake": fake_Bx1.mean()}

        (loss, info), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.discriminator)
        state, norm = self._update(state, "discriminator", gradients)
        info = self._mean({"loss/discriminator": loss} | info)
        return state, info | {"gradient_norm/discriminator": norm}

    def r1_step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Info]:
        """Updates the discriminator to flatten it at real images."""
        labels, reals_BxHxWxC = self._labels(batch), self._images(batch)

        def loss_of(params: Tree) -> tuple[jax.Array, jax.Array]:
            penalty = losses.r1_penalty(
                lambda images: self._discriminate(params, images, labels), reals_BxHxWxC
            ).mean()
            loss = self.config.loss.r1_gamma / 2 * penalty
            return self.config.loss.r1_interval * loss, loss

        gradients, loss = jax.grad(loss_of, has_aux=True)(state.discriminator)
        state, norm = self._update(state, "discriminator", gradients)
        return state, {"loss/r1": self._mean(loss), "gradient_norm/r1": norm}

    def average_step(self, state: TrainState, batch: Batch) -> TrainState:
        """Moves the generator's average and counts the step.

        The half-life is in images, and shorter in the beginning so that the average does not
        hold on to the first weights.
        """
        options = self.config.optimizer
        half_life = jnp.asarray(options.ema_kimg * 1000)
        if options.ema_rampup is not None:
            half_life = jnp.minimum(half_life, state.images_seen * options.ema_rampup)
        count = self._count(batch)
        beta = 0.5 ** (count / jnp.maximum(half_life, 1e-8))
        return state.replace(
            ema=jax.tree.map(lambda a, p: p + beta * (a - p), state.ema, state.generator),
            step=state.step + 1,
            images_seen=state.images_seen + count,
        )

    def _discriminator_loss(
        self, real_Bx1: Float[Array, "batch 1"], fake_Bx1: Float[Array, "batch 1"]
    ) -> Float[Array, " batch"]:
        options = self.config.loss
        if options.discriminator == "wgan":
            return losses.wgan_discriminator(real_Bx1, fake_Bx1, options.wgan_epsilon)
        return losses.DISCRIMINATOR_LOSSES[options.discriminator](real_Bx1, fake_Bx1)

    def _update(
        self, state: TrainState, network: str, gradients: Tree
    ) -> tuple[TrainState, Float[Array, ""]]:
        """Averages gradients over devices and applies one network's optimizer to them."""
        gradients = self._mean(gradients)
        optimizer = getattr(self.optimizers or make_optimizers(self.config), network)
        params, memory = getattr(state, network), getattr(state, f"{network}_optimizer")
        updates, memory = optimizer.update(gradients, memory, params)
        params = optax.apply_updates(params, updates)
        state = state.replace(**{network: params, f"{network}_optimizer": memory})
        return state, optax.tree.norm(gradients)
