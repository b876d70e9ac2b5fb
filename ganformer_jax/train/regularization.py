"""Regularizers of both networks: path lengths, and penalties on the discriminator's gradients.

Each is an update of its own, once in an interval of steps and stronger by that interval (lazy
regularization, Karras et al. 2020, arXiv 1912.04958, appendix B). With an interval of 1 the
penalties are part of the discriminator's loss instead: see `discriminator_update`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ganformer_jax import losses
from ganformer_jax.models.captions import insert_words, without_words
from ganformer_jax.pixels import from_uint8
from ganformer_jax.train import schedules
from ganformer_jax.train.accumulate import accumulate
from ganformer_jax.train.networks import Networks
from ganformer_jax.train.optimizer_step import optimizer_step
from ganformer_jax.train.state import TrainState, Tree
from ganformer_jax.train.trainable import Batch, Info

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Key

    Images = Float[Array, "b h w c"]

Result = tuple[TrainState, Info]


class PathLengthMeans(NamedTuple):
    """Means of path lengths, constants for gradients."""

    batch: Float[Array, ""]
    """Over the full batch."""
    running: Float[Array, ""]
    """The running mean, after it has moved toward that of the batch."""


def path_length_update(networks: Networks, state: TrainState, batch: Batch) -> Result:
    """Penalize deviations of path lengths from their mean (arXiv 1912.04958, section 3.2).

    The running mean contains these lengths; gradients go through it, as in the published code.
    """
    options, parallel = networks.config.loss, networks.parallel
    count = networks.count(batch) // options.path_length_batch_shrink
    if not count or count % parallel.axis_size():
        raise ValueError(
            f"loss.path_length_batch_shrink {options.path_length_batch_shrink} leaves {count} of "
            f"{networks.count(batch)} images for {parallel.axis_size()} devices"
        )
    shape, labels = (count, *batch["images"].shape[1:]), batch.get("labels")
    few = {} if labels is None else {"labels": parallel.take_first(labels, count)}

    def means_with(length: jax.Array) -> PathLengthMeans:
        """Return the means after a batch, of which this device has this mean length."""
        batch_mean, running = lax.stop_gradient(parallel.mean(length)), state.path_length_mean
        running = running + options.path_length_decay * (batch_mean - running)
        return PathLengthMeans(batch_mean, running)

    def mean_length(part: Networks, few: Batch) -> tuple[jax.Array, tuple[()]]:
        lengths_of = _path_lengths(part, state, few.get("labels"), shape)
        return lengths_of(state.generator).mean(), ()

    # The penalty of every image contains the mean length of the full batch. A single microbatch is
    # the full batch, whose lengths `loss_of` has anyway; several need a pass of their own.
    means_of_batch = None
    if networks.config.train.accumulate > 1:
        means_of_batch = means_with(accumulate(networks, (), few, mean_length)[0])

    def gradients_of(part: Networks, few: Batch) -> tuple[Any, Tree]:
        lengths_of = _path_lengths(part, state, few.get("labels"), shape)

        def loss_of(params: Tree) -> tuple[jax.Array, tuple[jax.Array, PathLengthMeans]]:
            lengths_B = lengths_of(params)
            means = means_of_batch or means_with(lengths_B.mean())
            weight, decay = options.path_length_weight, options.path_length_decay
            loss, penalty = path_length_loss(lengths_B, means, weight, decay)
            return options.path_length_interval * loss, (penalty, means)

        return jax.value_and_grad(loss_of, has_aux=True)(state.generator)

    (_, (penalty, means)), gradients = accumulate(networks, state.generator, few, gradients_of)
    state, norm = optimizer_step(networks, state, "generator", gradients)
    info = {"loss/path_length": parallel.mean(penalty), "path_length/mean": means.running}
    info["gradient_norm/path_length"] = norm
    return state.replace(path_length_mean=means.running), info


def path_length_loss(
    lengths_B: Float[Array, " b"], means: PathLengthMeans, weight: float, decay: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return a loss whose gradient is that of the path length penalty, and the penalty.

    The penalty of lengths l_i (StyleGAN2, arXiv 1912.04958, equation 4) is

        penalty = weight * mean_i (l_i - a)^2,  a = a_before + decay * (m - a_before),

    where m is the mean of l_i over the full batch. As a contains m, the gradient is

        mean_i 2 weight (l_i - a) grad l_i - 2 weight decay (m - a) grad m.

    Every microbatch needs the same m and a, which are therefore constants in `means`: the penalty
    has the first term of the gradient only. The loss adds the second: the mean length, times the
    constant -2 weight decay (m - a).

    Args:
        lengths_B: Path lengths of the images of a microbatch.
        means: m and a, of the full batch.
        weight: Factor of the penalty.
        decay: Share by which a moves toward m.
    """
    penalty = weight * jnp.square(lengths_B - means.running).mean()
    slope_of_mean = -2 * weight * decay * (means.batch - means.running)
    return penalty + slope_of_mean * lengths_B.mean(), penalty


def _path_lengths(
    networks: Networks,
    state: TrainState,
    labels_BxY: Float[Array, "b y"] | None,
    shape: tuple[int, ...],
) -> Callable[[Tree], Float[Array, " b"]]:
    """Draw latents and image directions; return path lengths by the generator's parameters."""
    keys = networks.keys(state, "path_length")
    pixels_BxHxWxC = networks.normal(keys["pixels"], shape)

    def lengths_of(params: Tree) -> Float[Array, " b"]:
        w_BxKxLxD, _ = networks.sample_w(params, state, keys, labels_BxY, shape[0])
        words = networks.config.generator.words
        words_BxTxLxD = w_BxKxLxD[:, -1 - words : -1]

        def synthesize(own_BxKxLxD: Array) -> Array:
            w_BxKxLxD = insert_words(own_BxKxLxD, words_BxTxLxD)
            return networks.synthesize(params, state, keys, w_BxKxLxD)

        return losses.path_length(synthesize, without_words(w_BxKxLxD, words), pixels_BxHxWxC)

    return lengths_of


def discriminator_penalty_update(networks: Networks, state: TrainState, batch: Batch) -> Result:
    """Apply the discriminator's penalties that have a weight: R1 and, if asked for, others."""
    options = networks.config.loss
    count, keys = networks.count(batch), networks.keys(state, "regularization")

    def gradients_of(part: Networks, reals: Batch) -> tuple[Any, Tree]:
        labels, reals_BxHxWxC = reals.get("labels"), from_uint8(reals["images"])

        def fakes() -> Images:
            w_BxKxLxD, _ = part.sample_w(state.generator, state, keys, labels, count)
            return part.synthesize(state.generator, state, keys, w_BxKxLxD)

        def loss_of(params: Tree) -> tuple[jax.Array, Info]:
            discriminate = functools.partial(
                part.discriminate, params, state, labels_BxY=labels, count=count
            )
            named = penalties(
                part,
                state,
                keys,
                count=count,
                discriminate=discriminate,
                real_BxHxWxC=reals_BxHxWxC,
                fakes=fakes,
            )
            return options.r1_interval * sum(named.values(), jnp.zeros(())), named

        return jax.value_and_grad(loss_of, has_aux=True)(state.discriminator)

    (_, named), gradients = accumulate(networks, state.discriminator, batch, gradients_of)
    state, norm = optimizer_step(networks, state, "discriminator", gradients)
    return state, networks.parallel.mean(named) | {"gradient_norm/r1": norm}


def penalties(
    networks: Networks,
    state: TrainState,
    keys: dict[str, Key[Array, ""]],
    count: int,
    discriminate: Callable[[Key[Array, ""], Images], Float[Array, "b 1"]],
    real_BxHxWxC: Images,
    fakes: Callable[[], Images],
) -> Info:
    """Return the mean penalties of the discriminator that have a weight, weighed.

    Args:
        networks: Networks for a microbatch.
        state: State of training, whose `images_seen` decides the schedule of R1.
        keys: Random keys of the update, from `Networks.keys`.
        count: Number of images of the full batch.
        discriminate: Takes the key of an augmentation and images [B, H, W, C]; returns logits
            [B, 1].
        real_BxHxWxC: Real images of this microbatch, in [-1, 1].
        fakes: Returns as many generated images; called only if a penalty needs them.
    """
    options, named = networks.config.loss, {}
    r1, schedule = options.r1_gamma, options.r1_gamma_schedule
    at_real = functools.partial(discriminate, keys["augment_real"])
    at_fake = functools.partial(discriminate, keys["augment_fake"])
    fake_BxHxWxC = fakes() if options.r2_gamma or options.gradient_penalty_weight else None
    if r1:
        gamma = schedules.value(schedule, r1, state.images_seen)
        named["loss/r1"] = gamma / 2 * losses.r1_penalty(at_real, real_BxHxWxC).mean()
    if options.r2_gamma:
        assert fake_BxHxWxC is not None
        own = schedules.scaled(schedule, r1, options.r2_gamma)
        gamma = schedules.value(own, options.r2_gamma, state.images_seen)
        named["loss/r2"] = gamma / 2 * losses.r1_penalty(at_fake, fake_BxHxWxC).mean()
    if options.gradient_penalty_weight:
        assert fake_BxHxWxC is not None
        share_Bx1x1x1 = networks.uniform(keys["interpolation"], (count, 1, 1, 1))
        penalty_B = losses.gradient_penalty(at_real, real_BxHxWxC, fake_BxHxWxC, share_Bx1x1x1)
        named["loss/gradient_penalty"] = options.gradient_penalty_weight * penalty_B.mean()
    return named
