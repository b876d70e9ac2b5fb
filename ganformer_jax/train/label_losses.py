"""Losses about images and their labels: with labels of other images, and contrastive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

from ganformer_jax import losses
from ganformer_jax.train.discriminator_loss import compared
from ganformer_jax.train.networks import Judgment, Networks
from ganformer_jax.train.trainable import Batch

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def mismatch_loss(
    networks: Networks, real_Bx1: Float[Array, "b 1"], other_Bx1: Float[Array, "b 1"], reals: Batch
) -> Float[Array, ""]:
    """Return the mean loss with real images of other labels in place of generated ones.

    Images of the same label count as 0.
    """
    differs_B = jnp.any(reals["labels"] != reals["other_labels"], 1)
    return (compared(networks, real_Bx1, other_Bx1) * differs_B).mean()


def labels_to_contrast(networks: Networks, batch: Batch) -> Float[Array, "n y"] | None:
    """Return the labels of the whole batch, on every device; None without a contrastive loss."""
    if not networks.config.loss.contrastive_weight:
        return None
    return networks.parallel.whole(batch["labels"])


def contrastive_loss(
    networks: Networks,
    judged: Judgment,
    labels_BxY: Float[Array, "b y"] | None,
    every_label_NxY: Float[Array, "n y"],
) -> Float[Array, ""]:
    """Return the mean contrastive loss of images, of which the discriminator has judged.

    Args:
        networks: Of these images.
        judged: With their similarities to `every_label_NxY`.
        labels_BxY: Their own labels.
        every_label_NxY: Labels of the whole batch.
    """
    assert labels_BxY is not None and judged.similarities_BxN is not None
    same_BxN = jnp.all(labels_BxY[:, None] == every_label_NxY[None], -1)
    temperature = networks.config.loss.contrastive_temperature
    return losses.contrastive(judged.similarities_BxN, same_BxN, temperature).mean()
