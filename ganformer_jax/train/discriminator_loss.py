"""The discriminator's adversarial loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

from ganformer_jax import losses
from ganformer_jax.errors import choose
from ganformer_jax.train.networks import Networks
from ganformer_jax.train.trainable import Info

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def discriminator_loss(
    networks: Networks, real_Bx1: Float[Array, "b 1"], fake_Bx1: Float[Array, "b 1"]
) -> tuple[Float[Array, ""], Info]:
    """Return the mean adversarial loss, and it and its logits to log."""
    name = networks.config.loss.discriminator
    loss = compared(networks, real_Bx1, fake_Bx1).mean()
    info = {"loss/discriminator": loss}
    info |= {"logits/real": real_Bx1.mean(), "logits/fake": fake_Bx1.mean()}
    if name in losses.DECISION_LOGITS:
        above_Bx1 = jnp.sign(real_Bx1 - losses.DECISION_LOGITS[name])
        info["overfitting/r_t"] = above_Bx1.mean()  # arXiv 2006.06676, equation 1
    return loss, info


def compared(
    networks: Networks, real_Bx1: Float[Array, "b 1"], fake_Bx1: Float[Array, "b 1"]
) -> Float[Array, " b"]:
    """Return the discriminator's loss of each image."""
    options = networks.config.loss
    name = options.discriminator
    settings = {"epsilon": options.wgan_epsilon} if name == "wgan" else {}
    loss = choose("the discriminator's loss", name, losses.DISCRIMINATOR_LOSSES)
    return loss(real_Bx1, fake_Bx1, **settings)
