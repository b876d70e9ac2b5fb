"""Random crops of enlarged images, as CycleGAN (arXiv 1703.10593) and pix2pix are trained with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from ganformer_jax.augment.checks import check_images

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Key


def random_crop(
    images_BxHxWxC: Float[Array, "b h w c"], key: Key[Array, ""], enlarge: float
) -> Float[Array, "b h w c"]:
    """Enlarge images, then crop each at random to its old size.

    Args:
        images_BxHxWxC: Images of any range, floating point.
        key: Decides the place of each crop, by whole pixels of the enlarged image; crops of images
            of the same number are at the same place for the same key.
        enlarge: By which share of their height and width images grow, 0 or more. They are
            interpolated with a cubic of parameter -0.5.

    Returns:
        Images of the same shape and dtype.

    Raises:
        ValueError: Images of another rank, or `enlarge` below 0.
        TypeError: Images that are not floating point.
    """
    images_BxHxWxC = check_images(images_BxHxWxC)
    if isinstance(enlarge, int | float) and not enlarge >= 0:  # it may be traced
        raise ValueError(f"enlarge is {enlarge}; it should be 0 or more")
    count, height, width, _ = images_BxHxWxC.shape
    sizes = [round(side * (1 + enlarge)) for side in (height, width)]
    margins_2 = jnp.array([sizes[0] - height, sizes[1] - width])
    offsets_Bx2 = jax.random.randint(key, (count, 2), 0, margins_2[None] + 1)
    scale_2 = jnp.array([sizes[0] / height, sizes[1] / width], jnp.float32)

    def crop(image_HxWxC: Array, offset_2: Array) -> Array:
        return jax.image.scale_and_translate(
            image_HxWxC, image_HxWxC.shape, (0, 1), scale_2, -offset_2, "cubic", antialias=False
        )

    return jax.vmap(crop)(images_BxHxWxC, offsets_Bx2.astype(jnp.float32))
