"""Checks of what networks are given, which would otherwise be misread in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def refuse_network(config: Any) -> None:
    """Raise TypeError for a network in place of its config."""
    if isinstance(config, nn.Module):
        kind = type(config).__name__
        raise TypeError(f"config is a network, {kind}: give its config, the field `config`")


def check_shape(name: str, array: Any, wanted: tuple[int, ...]) -> None:
    """Raise ValueError for an array of another shape; None passes."""
    if array is not None and np.shape(array) != wanted:
        raise ValueError(f"{name} {list(np.shape(array))}: give {list(wanted)}")


def check_seeds(noise_seeds_B: Any, batch: int) -> None:
    """Raise ValueError or TypeError for what are not integer seeds of a batch; None passes."""
    check_shape("noise seeds", noise_seeds_B, (batch,))
    if noise_seeds_B is not None and not jnp.issubdtype(noise_seeds_B.dtype, jnp.integer):
        raise TypeError(f"noise seeds are {noise_seeds_B.dtype}: give integers")


def check_floats(images_BxHxWxC: Float[Array, "b h w c"]) -> None:
    """Raise TypeError for images of integers, and ValueError for those of another rank."""
    if not jnp.issubdtype(images_BxHxWxC.dtype, jnp.floating):
        raise TypeError(f"images are {images_BxHxWxC.dtype}: convert them to [-1, 1]")
    if images_BxHxWxC.ndim != 4:
        shape = list(images_BxHxWxC.shape)
        raise ValueError(f"images {shape}: give [batch, height, width, channels]")


def check_sides(images_BxHxWxC: Float[Array, "b h w c"], multiple: int = 1, least: int = 1) -> None:
    """Check the images of a network without a base grid.

    Args:
        images_BxHxWxC: The images.
        multiple: Number that has to divide their height and width.
        least: Least height and width.

    Raises:
        TypeError: If they are not floating point.
        ValueError: If they are of another rank or size.
    """
    check_floats(images_BxHxWxC)
    height, width = images_BxHxWxC.shape[1:3]
    least = max(least, multiple)
    if height % multiple or width % multiple or min(height, width) < least:
        of = f"multiples of {multiple}, " if multiple > 1 else ""
        raise ValueError(f"images of {height}x{width}: give {of}{least}x{least} or more")


def check_images(images_BxHxWxC: Float[Array, "b h w c"], base_grid: tuple[int, int]) -> None:
    """Check the images of a discriminator.

    Raises:
        TypeError: If they are not floating point.
        ValueError: If they are of another rank, or not the base grid doubled.
    """
    check_floats(images_BxHxWxC)
    (height, width), (rows, columns) = images_BxHxWxC.shape[1:3], base_grid
    doubled = height // rows
    if (height, width) != (rows * doubled, columns * doubled) or doubled.bit_count() != 1:
        raise ValueError(
            f"images of {height}x{width} are not the base grid, {rows}x{columns}, doubled"
        )


def check_labels(labels_BxY: Float[Array, "b y"] | None, batch: int) -> None:
    """Raise ValueError for labels that are not [batch, classes], such as class numbers."""
    if labels_BxY is None:
        return
    if labels_BxY.ndim != 2:
        raise ValueError(f"labels {list(labels_BxY.shape)}: give one-hot classes [batch, classes]")
    if labels_BxY.shape[0] != batch:
        raise ValueError(f"labels {list(labels_BxY.shape)} for {batch} images: give one for each")


def check_generator_labels(
    labels_BxY: Float[Array, "b y"] | None, batch: int, label_size: int
) -> None:
    """Check the labels of a generator; without labels it takes None or labels of no width.

    Raises:
        ValueError: If labels are missing, superfluous, or of another shape than
            [batch, label_size].
    """
    if labels_BxY is None:
        if label_size:
            raise ValueError(f"this generator needs labels [batch, {label_size}]")
        return
    if labels_BxY.ndim == 2 and labels_BxY.shape[1] == label_size:
        return check_labels(labels_BxY, batch)
    shape = list(labels_BxY.shape)
    if not label_size:
        hint = "leave them out, or set label_size"
        raise ValueError(f"labels {shape} for a generator without labels: {hint}")
    raise ValueError(f"labels {shape}: give one-hot classes [batch, {label_size}]")
