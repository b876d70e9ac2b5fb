"""Augmentation of a batch: every transformation in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax.numpy as jnp

from ganformer_jax.augment.checks import check_count, check_images
from ganformer_jax.augment.color import change_colors
from ganformer_jax.augment.corruption import add_noise, cut_out
from ganformer_jax.augment.filtering import filter_bands
from ganformer_jax.augment.geometry import change_geometry
from ganformer_jax.augment.transforms import Chances, Draws, check_transforms, draw

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Key


def augment(
    images_BxHxWxC: Float[Array, "b h w c"],
    key: Key[Array, ""],
    p: Float[Array, ""] | float,
    transforms: Mapping[str, float],
    percentile: float | None = None,
) -> Float[Array, "b h w c"]:
    """Augment images as adaptive discriminator augmentation does (arXiv 2006.06676, appendix B).

    Differentiable in the images, to any order. Each image is treated by itself: the result for one
    does not depend on the others.

    Args:
        images_BxHxWxC: Floating point, usually in [-1, 1]; any number of channels, see
            `color.change_colors`. Height and width may differ.
        key: Decides all random choices.
        p: Probability of each transformation of strength 1, in [0, 1]; may be traced.
        transforms: Strength by name (`TRANSFORMS`), by which p is multiplied: `expand(["bgc"])`.
        percentile: For comparison with published numbers: every transformation is applied, and
            every random choice takes this quantile, in [0, 1) (see `Chances`). The values of noise
            are random.

    Returns:
        Images of the same shape and dtype; computed in float32.

    Raises:
        ValueError: An unknown transformation, or images of another rank.
        TypeError: Images that are not floating point, or names without strengths.
    """
    check_images(images_BxHxWxC)
    draws = draw(key, images_BxHxWxC.shape, transforms)
    return augment_with(images_BxHxWxC, draws, p, transforms, percentile)


def augment_with(
    images_BxHxWxC: Float[Array, "b h w c"],
    draws: Draws,
    p: Float[Array, ""] | float,
    transforms: Mapping[str, float],
    percentile: float | None = None,
) -> Float[Array, "b h w c"]:
    """Augment images as `augment` does, with random numbers that `draw` has drawn for them.

    Raises:
        ValueError: As `augment`; or the numbers are of another number of images, or without those
            of `noise`.
        TypeError: As `augment`.
    """
    check_transforms(transforms)
    images_BxHxWxC = check_images(images_BxHxWxC)
    check_count(draws.uniform_BxN.shape[0], images_BxHxWxC.shape[0])
    if transforms.get("noise") and draws.normal_BxHxWxC is None:
        raise ValueError("the random numbers are without those of noise: draw them with it")
    chances = Chances(draws.uniform_BxN, p, transforms, percentile)
    x_BxHxWxC = images_BxHxWxC.astype(jnp.float32)
    x_BxHxWxC = change_geometry(x_BxHxWxC, chances)
    x_BxHxWxC = change_colors(x_BxHxWxC, chances)
    x_BxHxWxC = filter_bands(x_BxHxWxC, chances)
    x_BxHxWxC = add_noise(x_BxHxWxC, draws.normal_BxHxWxC, chances)
    x_BxHxWxC = cut_out(x_BxHxWxC, chances)
    return x_BxHxWxC.astype(images_BxHxWxC.dtype)
