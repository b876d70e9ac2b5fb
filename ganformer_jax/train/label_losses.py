"""Losses about images and their labels: with labels of other images, and contrastive."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax.numpy as jnp

from ganformer_jax import losses
from ganformer_jax.train.discriminator_loss import compared
from ganformer_jax.train.networks import DiscriminatorOutput, Networks
from ganformer_jax.train.trainable import Batch, Info

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def labels_to_contrast(networks: Networks, batch: Batch) -> Float[Array, "n y"] | None:
    """Return the labels of all images of a batch, on every device; None without that loss."""
    if not networks.config.loss.contrastive_weight:
        return None
    return networks.parallel.gather_batch(batch["labels"])


def with_other_labels(networks: Networks, batch: Batch) -> Batch:
    """Return a batch with `other_labels`, those of the image before, if the loss needs them."""
    if not networks.config.loss.mismatch_weight:
        return batch
    return {**batch, "other_labels": networks.parallel.roll_batch(batch["labels"])}


def discriminator_label_loss(
    networks: Networks,
    discriminate: Callable[[Float[Array, "b y"]], Float[Array, "b 1"]],
    real: DiscriminatorOutput,
    reals: Batch,
    every_label_NxY: Float[Array, "n y"] | None,
) -> tuple[Float[Array, ""], Info]:
    """Return the sum of the discriminator's losses about labels, weighted, and each to log.

    Args:
        networks: Networks for these images.
        discriminate: Takes labels [B, Y]; returns the logits [B, 1] of these real images with them.
        real: Output of the discriminator for the images with their own labels.
        reals: A batch with `labels`, and `other_labels` from `with_other_labels`, [B, Y].
        every_label_NxY: Labels of all images of the batch, from `labels_to_contrast`.
    """
    options, total, info = networks.config.loss, jnp.zeros(()), {}
    if options.mismatch_weight:
        other_Bx1 = discriminate(reals["other_labels"])
        info["loss/mismatch"] = mismatch_loss(networks, real.logits_Bx1, other_Bx1, reals)
        total += options.mismatch_weight * info["loss/mismatch"]
    if every_label_NxY is not None:
        contrast = contrastive_loss(networks, real, reals["labels"], every_label_NxY)
        info["loss/discriminator_contrastive"] = contrast
        total += options.contrastive_weight * contrast
    return total, info


def generator_label_loss(
    networks: Networks,
    fake: DiscriminatorOutput,
    batch: Batch,
    every_label_NxY: Float[Array, "n y"] | None,
) -> tuple[Float[Array, ""], Info]:
    """Return the generator's loss about labels, weighted, and what to log; 0 without one."""
    if every_label_NxY is None:
        return jnp.zeros(()), {}
    contrast = contrastive_loss(networks, fake, batch["labels"], every_label_NxY)
    weight = networks.config.loss.contrastive_weight
    return weight * contrast, {"loss/generator_contrastive": contrast}


def mismatch_loss(
    networks: Networks, real_Bx1: Float[Array, "b 1"], other_Bx1: Float[Array, "b 1"], reals: Batch
) -> Float[Array, ""]:
    """Return the mean loss with real images of other labels in place of generated ones.

    Images of the same label count as 0.
    """
    differs_B = jnp.any(reals["labels"] != reals["other_labels"], 1)
    return (compared(networks, real_Bx1, other_Bx1) * differs_B).mean()


def contrastive_loss(
    networks: Networks,
    output: DiscriminatorOutput,
    labels_BxY: Float[Array, "b y"],
    every_label_NxY: Float[Array, "n y"],
) -> Float[Array, ""]:
    """Return the mean of `losses.contrastive`.

    Args:
        networks: Networks for these images.
        output: Output of the discriminator, with similarities to `every_label_NxY`.
        labels_BxY: The label of each image.
        every_label_NxY: Labels of all images of the batch.
    """
    assert output.similarities_BxN is not None
    same_BxN = jnp.all(labels_BxY[:, None] == every_label_NxY[None], -1)
    temperature = networks.config.loss.contrastive_temperature
    return losses.contrastive(output.similarities_BxN, same_BxN, temperature).mean()
