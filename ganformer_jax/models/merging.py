"""Merging of several images into one (k-GAN, van Steenkiste et al. 2018, arXiv 1810.10340).

K images of each row of a batch, folded into its first axis, are added up with a share each at
every position. Their latents are added up with the mean shares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganformer_jax.config import MergeConfig
from ganformer_jax.nn.layers import EqualizedConvolution

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    Shares = Float[Array, "b k h w"]


def fold_images(w_BxKxLxD: Float[Array, "b k l d"]) -> Float[Array, "b*k 1 l d"]:
    """Make a row of the batch of each latent, in the place of a global one."""
    return w_BxKxLxD.reshape(-1, 1, *w_BxKxLxD.shape[2:])


def leaves(scores_BxKxHxW: Shares, of_batch: bool = False) -> Shares:
    """Return the weights of images composited in order, as in the dead leaves model.

    Each image covers those before it by the sigmoid of its score less their highest.

    Args:
        scores_BxKxHxW: Scores of the images.
        of_batch: Take the highest over all positions and images of the batch, as the published
            code does, instead of each position's.
    """
    axes = (0, 1, 2, 3) if of_batch else 1
    shares = [jnp.ones_like(scores_BxKxHxW[:, 0])]
    for index in range(1, scores_BxKxHxW.shape[1]):
        highest = jnp.max(scores_BxKxHxW[:, :index], axes)
        cover_BxHxW = jax.nn.sigmoid(scores_BxKxHxW[:, index] - highest)
        shares = [share * (1 - cover_BxHxW) for share in shares] + [cover_BxHxW]
    return jnp.stack(shares, 1)


class MergeShares(nn.Module):
    """The share of each image in the merged one, from its features."""

    config: MergeConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b*k h w c"]) -> Shares:
        """Return shares, float32, at the resolution of the features."""
        config = self.config
        if config.kind == "sum":
            return jnp.ones((x.shape[0] // config.images, config.images, *x.shape[1:3]))
        scores = EqualizedConvolution(1, 1, use_bias=False, name="scores")(x)
        scores = scores.astype(jnp.float32).reshape(-1, config.images, *x.shape[1:3])
        if config.uniform:
            total = jnp.sum(scores, (2, 3), keepdims=True)
            scores = jnp.broadcast_to(total, scores.shape)
        if config.kind == "softmax":
            return jax.nn.softmax(scores, 1)
        if config.kind == "max":
            return jax.nn.one_hot(jnp.argmax(scores, 1), config.images, axis=1)
        return leaves(scores, of_batch=config.kind == "leaves_of_batch")


def merge_images(x: Float[Array, "b*k h w c"], shares_BxKxHxW: Shares) -> Float[Array, "b h w c"]:
    """Add up the images of each row with their shares, in the type of x."""
    images = x.reshape(*shares_BxKxHxW.shape, x.shape[-1]).astype(jnp.float32)
    return jnp.sum(images * shares_BxKxHxW[..., None], 1).astype(x.dtype)


def merge_latents(w: Float[Array, "b*k 1 l d"], shares_BxKxHxW: Shares) -> Float[Array, "b 1 l d"]:
    """Add up the latents of each row with the mean shares of their images."""
    weights_BxK = jnp.mean(shares_BxKxHxW, (2, 3))
    w_BxKxLxD = w.reshape(*weights_BxK.shape, *w.shape[2:])
    return jnp.sum(w_BxKxLxD * weights_BxK[..., None, None], 1, keepdims=True)
