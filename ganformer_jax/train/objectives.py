"""Objectives of the networks of a GAN: losses of images, of their labels, and penalties."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import jax

from ganformer_jax import losses
from ganformer_jax.pixels import from_uint8
from ganformer_jax.train.discriminator_loss import discriminator_loss
from ganformer_jax.train.label_losses import discriminator_label_loss, generator_label_loss
from ganformer_jax.train.networks import Networks
from ganformer_jax.train.regularization import penalties
from ganformer_jax.train.state import TrainState, Tree
from ganformer_jax.train.trainable import Batch, Info

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from ganformer_jax.train.networks import Keys


def generator_objective(
    networks: Networks,
    params: Tree,
    state: TrainState,
    keys: Keys,
    reals: Batch,
    count: int,
    every_label_NxY: Float[Array, "n y"] | None,
) -> tuple[Float[Array, ""], tuple[Info, Float[Array, " d"], Tree]]:
    """Return the generator's loss; and what to log, the mean of w, and "batch_stats".

    Args:
        networks: Networks for these images, a full batch or a microbatch.
        params: Parameters of the generator.
        state: State with the discriminator's parameters and all statistics.
        keys: Random keys of the update, from `Networks.keys`.
        reals: Batch of real images, uint8 [B, H, W, C], whose labels [B, Y] the generated ones
            take.
        count: Number of images of the full batch.
        every_label_NxY: Labels of all images of the batch, from `labels_to_contrast`.
    """
    labels_BxY = reals.get("labels")
    discriminate = functools.partial(
        networks.discriminate_with_output,
        state.discriminator,
        state,
        labels_BxY=labels_BxY,
        count=count,
    )

    def real_logits() -> jax.Array:
        return discriminate(keys["augment_real"], from_uint8(reals["images"])).logits_Bx1

    w_BxKxLxD, w_mean_D = networks.sample_w(params, state, keys, labels_BxY, count)
    images_BxHxWxC, stats = networks.synthesize_with_stats(params, state, keys, w_BxKxLxD)
    fake = discriminate(keys["augment_fake"], images_BxHxWxC, others_NxY=every_label_NxY)
    loss_B = losses.generator_loss(networks.config.loss.generator, fake.logits_Bx1, real_logits)
    info = {"loss/generator": loss_B.mean(), "logits/generator": fake.logits_Bx1.mean()}
    of_labels, more = generator_label_loss(networks, fake, reals, every_label_NxY)
    return info["loss/generator"] + of_labels, (info | more, w_mean_D, stats)


def discriminator_objective(
    networks: Networks,
    params: Tree,
    state: TrainState,
    keys: Keys,
    reals: Batch,
    fakes_BxHxWxC: Float[Array, "b h w c"],
    count: int,
    every_label_NxY: Float[Array, "n y"] | None,
    penalized: bool,
) -> tuple[Float[Array, ""], tuple[Info, Tree]]:
    """Return the discriminator's loss, and what to log and "batch_stats".

    Args:
        networks: Networks for these images, a full batch or a microbatch.
        params: Parameters of the discriminator.
        state: State with all statistics and the probability of augmentation.
        keys: Random keys of the update, from `Networks.keys`.
        reals: Batch of real images, uint8 [B, H, W, C], with labels [B, Y] as `with_other_labels`
            returns them.
        fakes_BxHxWxC: Generated images of these labels, in [-1, 1].
        count: Number of images of the full batch.
        every_label_NxY: Labels of all images of the batch, from `labels_to_contrast`.
        penalized: Whether the penalties are part of the loss.
    """
    labels_BxY, reals_BxHxWxC = reals.get("labels"), from_uint8(reals["images"])
    real = networks.discriminate_with_output(
        params,
        state,
        keys["augment_real"],
        reals_BxHxWxC,
        labels_BxY=labels_BxY,
        count=count,
        others_NxY=every_label_NxY,
    )
    after = state.with_stats("discriminator", real.stats)
    fake_Bx1, stats, _ = networks.discriminate_with_output(
        params, after, keys["augment_fake"], fakes_BxHxWxC, labels_BxY=labels_BxY, count=count
    )
    loss, info = discriminator_loss(networks, real.logits_Bx1, fake_Bx1)
    with_labels = functools.partial(
        networks.discriminate, params, after, keys["augment_real"], reals_BxHxWxC, count=count
    )
    of_labels, more = discriminator_label_loss(networks, with_labels, real, reals, every_label_NxY)
    loss, info = loss + of_labels, info | more
    if penalized:
        logits = functools.partial(
            networks.discriminate, params, state, labels_BxY=labels_BxY, count=count
        )
        named = penalties(
            networks,
            state,
            keys,
            count=count,
            discriminate=logits,
            real_BxHxWxC=reals_BxHxWxC,
            fakes=lambda: fakes_BxHxWxC,
        )
        loss, info = loss + sum(named.values()), info | named
    return loss, (info, stats)
