"""DiffAugment: color, translation and cutout of every image (arXiv 2006.10738)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ganformer_jax.augment.checks import check_count, check_images
from ganformer_jax.errors import did_you_mean

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Key

POLICIES = ("color", "translation", "cutout")
"""Names of the kinds of transformations, in the order in which they are applied."""
SHIFT = 0.125
"""Largest translation, relative to the image."""
CUTOUT = 0.5
"""Sides of the rectangle that is cut out, relative to the image."""
_NUMBERS = 7


class Choices(NamedTuple):
    """The random numbers of each image, in [0, 1)."""

    brightness_B: Float[Array, " b"]
    saturation_B: Float[Array, " b"]
    contrast_B: Float[Array, " b"]
    shift_Bx2: Float[Array, "b 2"]
    cut_Bx2: Float[Array, "b 2"]


def draw_choices(key: Key[Array, ""], count: int) -> Choices:
    """Draw the random numbers of `count` images, whichever policies use them."""
    numbers_BxN = jax.random.uniform(key, (count, _NUMBERS))
    brightness_B, saturation_B, contrast_B = numbers_BxN[:, :3].T
    shift_Bx2, cut_Bx2 = numbers_BxN[:, 3:5], numbers_BxN[:, 5:7]
    return Choices(brightness_B, saturation_B, contrast_B, shift_Bx2, cut_Bx2)


def diff_augment(
    images_BxHxWxC: Float[Array, "b h w c"], key: Key[Array, ""], policies: str | Iterable[str]
) -> Float[Array, "b h w c"]:
    """Augment every image by the given policies (Zhao et al. 2020, arXiv 2006.10738, section 4).

    Color: brightness is moved by up to 0.5, saturation multiplied by 0 to 2, contrast by 0.5 to
    1.5. Translation: by up to an eighth of the image, with zeros around. Cutout: a rectangle of
    half its height and width is set to 0; its center lies anywhere.

    Args:
        images_BxHxWxC: Floating point, usually in [-1, 1]. A fourth channel, opacity, has no color.
        key: Decides all random choices.
        policies: One or several of `POLICIES`.

    Returns:
        Images of the same shape and dtype, differentiable to any order.

    Raises:
        ValueError: An unknown policy, or images of another rank.
        TypeError: Images that are not floating point.
    """
    check_images(images_BxHxWxC)
    return diff_augment_with(images_BxHxWxC, draw_choices(key, images_BxHxWxC.shape[0]), policies)


def diff_augment_with(
    images_BxHxWxC: Float[Array, "b h w c"], choices: Choices, policies: str | Iterable[str]
) -> Float[Array, "b h w c"]:
    """Augment images as `diff_augment` does, with numbers of `draw_choices` for them.

    Raises:
        ValueError: As `diff_augment`, or numbers of another number of images.
        TypeError: As `diff_augment`.
    """
    policies = (policies,) if isinstance(policies, str) else tuple(policies)
    for name in policies:
        if name not in POLICIES:
            near = did_you_mean(name, POLICIES)
            raise ValueError(f"no policy {name!r}: choose from {', '.join(POLICIES)}{near}")
    images_BxHxWxC = check_images(images_BxHxWxC)
    check_count(choices.brightness_B.shape[0], images_BxHxWxC.shape[0])
    x_BxHxWxC = images_BxHxWxC.astype(jnp.float32)
    if "color" in policies:
        x_BxHxWxC = _augment_colors(x_BxHxWxC, choices)
    if "translation" in policies:
        x_BxHxWxC = _translate(x_BxHxWxC, choices.shift_Bx2)
    if "cutout" in policies:
        x_BxHxWxC = _cut_out(x_BxHxWxC, choices.cut_Bx2)
    return x_BxHxWxC.astype(images_BxHxWxC.dtype)


def _augment_colors(x_BxHxWxC: Float[Array, "b h w c"], choices: Choices) -> Array:
    """Change three channels as colors, and leave a fourth; each of other numbers is gray."""
    count = x_BxHxWxC.shape[-1]
    if count in (3, 4):
        colored = _change_colors(x_BxHxWxC[..., :3], choices)
        return jnp.concatenate([colored, x_BxHxWxC[..., 3:]], -1)
    channels = [x_BxHxWxC[..., i : i + 1] for i in range(count)]
    return jnp.concatenate([_change_colors(channel, choices) for channel in channels], -1)


def _change_colors(x_BxHxWxC: Float[Array, "b h w c"], choices: Choices) -> Array:
    brightness, saturation, contrast = (value_B[:, None, None, None] for value_B in choices[:3])
    x_BxHxWxC = x_BxHxWxC + (brightness - 0.5)
    gray_BxHxWx1 = x_BxHxWxC.mean(3, keepdims=True)
    x_BxHxWxC = gray_BxHxWx1 + (x_BxHxWxC - gray_BxHxWx1) * (2 * saturation)
    mean_Bx1x1x1 = x_BxHxWxC.mean((1, 2, 3), keepdims=True)
    return mean_Bx1x1x1 + (x_BxHxWxC - mean_Bx1x1x1) * (contrast + 0.5)


def _translate(x_BxHxWxC: Float[Array, "b h w c"], shift_Bx2: Float[Array, "b 2"]) -> Array:
    """Move each image by a whole number of rows and columns."""
    height, width = x_BxHxWxC.shape[1:3]
    rows, columns = int(height * SHIFT + 0.5), int(width * SHIFT + 0.5)
    shifts_1x2 = jnp.array([[2 * rows + 1, 2 * columns + 1]])
    start_Bx2 = jnp.floor(shift_Bx2 * shifts_1x2).astype(jnp.int32)
    padded = jnp.pad(x_BxHxWxC, ((0, 0), (rows, rows), (columns, columns), (0, 0)))

    def crop(image: Array, start_2: Array) -> Array:
        return lax.dynamic_slice(image, (*start_2, 0), (height, width, image.shape[-1]))

    return jax.vmap(crop)(padded, start_Bx2)


def _cut_out(x_BxHxWxC: Float[Array, "b h w c"], cut_Bx2: Float[Array, "b 2"]) -> Array:
    inside = []
    for axis in (0, 1):
        size = x_BxHxWxC.shape[1 + axis]
        side = int(size * CUTOUT + 0.5)
        center_B = jnp.floor(cut_Bx2[:, axis] * (size + 1 - side % 2))
        start_Bx1 = center_B[:, None] - side // 2
        place_1xP = jnp.arange(size)[None]
        inside.append((place_1xP >= start_Bx1) & (place_1xP < start_Bx1 + side))
    cut_BxHxW = inside[0][:, :, None] & inside[1][:, None, :]
    return jnp.where(cut_BxHxW[..., None], 0, x_BxHxWxC)
