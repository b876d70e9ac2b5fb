"""Attention to the latent components in color: segmentations, overlays and heat maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ganformer_jax.pixels import as_rgb, strongest_component
from ganformer_jax.visualize.images import NO_COMPONENT, component_palette, image_grid

if TYPE_CHECKING:
    from jax.typing import ArrayLike
    from jaxtyping import Float, Int, UInt8


def reduce_attention(
    stacked_BxKxLxNxHxW: Float[ArrayLike, "b k l n h w"], last_layers: int | None = None
) -> Float[np.ndarray, "b k h w"]:
    """Average attention over its heads and its last layers, the finest ones.

    Args:
        stacked_BxKxLxNxHxW: Attention of each pixel to each latent component, layers from coarse
            to fine, all of one resolution.
        last_layers: Number of layers to average; by default all.

    Raises:
        ValueError: If the array is not of rank 6, or has fewer layers.
        TypeError: If it is a tuple of layers.
    """
    if isinstance(stacked_BxKxLxNxHxW, tuple | list):  # of one layer, it would have rank 6 too
        raise TypeError("attention is a sequence of layers: give that of stack_attention")
    stacked = np.asarray(stacked_BxKxLxNxHxW, np.float32)
    if stacked.ndim != 6:
        raise ValueError(f"expected rank 6, got shape {list(stacked.shape)}")
    layers = stacked.shape[2]
    if last_layers is not None and not 1 <= last_layers <= layers:
        raise ValueError(f"last_layers must be in 1..{layers}, got {last_layers}")
    return stacked[:, :, layers - (last_layers or layers) :].mean(axis=(2, 3))


def _stretch(attention_KxHxW: np.ndarray) -> np.ndarray:
    """Stretch each component's map to [0, 1], since attention is often nearly 1/K everywhere.

    A map whose range is below a tenth of 1/K stays flat, so that noise is not amplified.
    """
    low, high = np.percentile(attention_KxHxW, (1, 99), axis=(1, 2), keepdims=True)
    span = np.maximum(high - low, 0.1 / len(attention_KxHxW))
    return np.clip((attention_KxHxW - low) / span, 0, 1)


def _resize(maps_KxHxW: np.ndarray, size: tuple[int, int], smooth: bool) -> np.ndarray:
    """Resize float maps to (height, width)."""
    method = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    maps = [Image.fromarray(one) for one in np.asarray(maps_KxHxW, np.float32)]
    return np.stack([np.asarray(one.resize((size[1], size[0]), method)) for one in maps])


def _maps(attention_KxHxW: Float[ArrayLike, "k h w"]) -> Float[np.ndarray, "k h w"]:
    """Return the attention of one image as float32, checked."""
    maps = np.asarray(attention_KxHxW, np.float32)
    if maps.ndim != 3 or not len(maps):
        raise ValueError(f"attention is {list(maps.shape)}: give that of one image, [K, H, W]")
    return maps


def attention_segments(attention_KxHxW: Float[ArrayLike, "k h w"]) -> Int[np.ndarray, "h w"]:
    """Return the component of the largest stretched attention at each pixel, from 0.

    It is K where a pixel attends to no component, as in `strongest_component`.

    Raises:
        ValueError: If the attention is of another rank, or to no components.
    """
    maps = _maps(attention_KxHxW)
    segments = _stretch(maps).argmax(axis=0)
    return np.where(strongest_component(maps) == len(maps), len(maps), segments)


def attention_segmentation(
    attention_KxHxW: Float[ArrayLike, "k h w"], *, hard: bool = False
) -> UInt8[np.ndarray, "h w 3"]:
    """Color each pixel by the components that it attends to, as in arXiv 2103.01209.

    The colors of the palette are mixed in proportion to the squares of the stretched maps;
    pixels that attend to no component are gray.

    Args:
        attention_KxHxW: Attention to each component.
        hard: Use only the color of the component with the largest stretched attention.

    Raises:
        ValueError: If the attention is of another rank, or to no components.
    """
    maps = _maps(attention_KxHxW)
    palette = np.vstack([component_palette(len(maps)), [NO_COMPONENT]]).astype(np.uint8)
    if hard:
        return palette[attention_segments(maps)]
    nothing = (strongest_component(maps) == len(maps)).astype(np.float32)
    weights = np.concatenate([_stretch(maps) ** 2 + 1e-3, nothing[None]])
    weights /= weights.sum(axis=0, keepdims=True)
    return np.round(np.tensordot(weights, palette, axes=(0, 0))).astype(np.uint8)


def attention_overlay(
    image_HxWxC: UInt8[ArrayLike, "h w c"],
    attention_KxHxW: Float[ArrayLike, "k h w"],
    *,
    strength: float = 0.55,
    hard: bool = False,
    smooth: bool = False,
) -> UInt8[np.ndarray, "h w 3"]:
    """Blend the colors of the components with the image in gray.

    Args:
        image_HxWxC: uint8 image of any number of channels.
        attention_KxHxW: Attention to each component, at any resolution of the image's aspect ratio.
        strength: Weight of the colors, 0 to 1; the image has the rest.
        hard: Give each pixel the color of one component instead of a mixture.
        smooth: Resize the attention bilinearly instead of pixel by pixel.

    Raises:
        ValueError: If the image is not uint8, or the attention is of another rank or to no
            components.
    """
    image = as_rgb(np.asarray(image_HxWxC)[None])[0]
    maps = _resize(_maps(attention_KxHxW), image.shape[:2], smooth)
    colors = attention_segmentation(maps, hard=hard)
    gray = image @ np.array([[0.299], [0.587], [0.114]])  # luma of ITU-R BT.601
    return np.round((1 - strength) * gray + strength * colors).astype(np.uint8)


def _heat_map(stretched_HxW: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Map 0..1 to a ramp from black through the component's color to white."""
    stops = np.stack([np.zeros(3), color.astype(np.float32), np.full(3, 255.0)])
    channels = [np.interp(stretched_HxW, (0, 0.7, 1), stops[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def attention_grid(
    images_BxHxWxC: UInt8[ArrayLike, "b h w c"],
    attention_BxKxHxW: Float[ArrayLike, "b k h w"],
    *,
    cell: int = 128,
    padding: int = 4,
    smooth: bool = False,
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw one row for each sample: image, segmentation, overlay, a heat map per component.

    The contrast of each heat map is stretched separately: it shows where a component is attended
    to, not how much more than another.

    Args:
        images_BxHxWxC: uint8 images of any number of channels.
        attention_BxKxHxW: Result of `reduce_attention`, of the aspect ratio of the images.
        cell: Smallest width of a cell in pixels; images are enlarged by a whole factor.
        padding: Pixels between cells.
        smooth: Resize the attention bilinearly instead of pixel by pixel.

    Raises:
        ValueError: If images are not uint8 or do not fit the attention.
    """
    images = as_rgb(images_BxHxWxC)
    count, height, width, _ = images.shape
    attention_BxKxHxW = np.asarray(attention_BxKxHxW)
    shape = attention_BxKxHxW.shape
    fits = len(shape) == 4 and shape[0] == count and shape[2] * width == shape[3] * height
    if not fits or not count or not shape[1]:
        raise ValueError(
            f"need as many attention maps [K, H, W] as images, of one shape: got {count} images of "
            f"{height}x{width} and attention {list(shape)}"
        )
    scale = max(1, math.ceil(cell / width))
    images = images.repeat(scale, axis=1).repeat(scale, axis=2)
    components = shape[1]
    palette = component_palette(components)
    cells = []
    for image, attention in zip(images, attention_BxKxHxW, strict=True):
        maps = _resize(attention, image.shape[:2], smooth)
        cells += [image, attention_segmentation(maps), attention_overlay(image, maps)]
        cells += [_heat_map(*pair) for pair in zip(_stretch(maps), palette, strict=True)]
    headings = ["image", "components", "overlay", *(str(i + 1) for i in range(components))]
    return image_grid(np.stack(cells), components + 3, padding=padding, headings=headings)


def finest_attention(
    layers: Sequence[Float[ArrayLike, "b k n h w"]],
) -> Float[np.ndarray, "b k h w"]:
    """Average attention over heads and the layers of the highest resolution.

    Args:
        layers: Attention maps of each layer, as `Samples.attention`; one or more.

    Raises:
        ValueError: If there are none.
    """
    if not len(layers):
        raise ValueError("no attention maps: sample with attention=True, of a generator that has")
    found = [np.asarray(layer) for layer in layers]
    finest = max(layer.shape[-2:] for layer in found)
    chosen = [layer for layer in found if layer.shape[-2:] == finest]
    return reduce_attention(np.stack(chosen, 2))


def attention_figure(
    images_BxHxWxC: UInt8[ArrayLike, "b h w c"],
    attention: Sequence[Float[ArrayLike, "b k n h w"]],
    rows: int,
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw the attention of the first samples, averaged over heads and the finest layers.

    Args:
        images_BxHxWxC: uint8 images.
        attention: Attention maps of each layer, as `Samples.attention`; one or more.
        rows: Number of samples to draw, 1 or more.

    Raises:
        ValueError: If there are no maps or samples, or images do not fit the attention.
    """
    maps = finest_attention([np.asarray(layer)[:rows] for layer in attention])
    return attention_grid(np.asarray(images_BxHxWxC)[:rows], maps)
