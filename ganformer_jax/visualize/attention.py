"""What the latent components attend to, in colors: segmentation, overlay, heat maps."""

from __future__ import annotations

import colorsys
import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganformer_jax.pixels import as_rgb
from ganformer_jax.visualize.images import image_grid

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

# Okabe and Ito's colors, then Paul Tol's "muted" ones: told apart with any color vision.
_PALETTE = (
    "#E69F00 #56B4E9 #009E73 #F0E442 #0072B2 #D55E00 #CC79A7 "
    "#882255 #88CCEE #117733 #DDCC77 #332288 #CC6677 #44AA99 #AA4499 #999933"
).split()
_HEADING = 22  # pixels above a figure's columns


def component_palette(components: int) -> UInt8[np.ndarray, "components 3"]:
    """One RGB color for each latent component; beyond 16, by golden-ratio steps in hue."""
    colors = [tuple(bytes.fromhex(color[1:])) for color in _PALETTE[:components]]
    for i in range(len(colors), components):
        hue, value = i * 0.618034 % 1, (0.95, 0.7, 0.5)[i % 3]
        colors.append(tuple(round(255 * c) for c in colorsys.hsv_to_rgb(hue, 0.75, value)))
    return np.array(colors, np.uint8)


def reduce_attention(
    stacked_BxKxLxNxHxW: Float[np.ndarray, "batch components layers heads height width"],
    last_layers: int | None = None,
) -> Float[np.ndarray, "batch components height width"]:
    """Averages attention over its heads and its last layers, the finest ones.

    Args:
        stacked_BxKxLxNxHxW: Attention of each pixel to each latent component, layers from coarse
            to fine, all brought to one resolution.
        last_layers: How many layers to average; all of them by default.

    Raises:
        ValueError: If the array is not of rank 6, or has fewer layers.
    """
    stacked = np.asarray(stacked_BxKxLxNxHxW, np.float32)
    if stacked.ndim != 6:
        raise ValueError(f"expected rank 6, got shape {list(stacked.shape)}")
    layers = stacked.shape[2]
    if last_layers is not None and not 1 <= last_layers <= layers:
        raise ValueError(f"last_layers must be in 1..{layers}, got {last_layers}")
    return stacked[:, :, layers - (last_layers or layers) :].mean(axis=(2, 3))


def _stretch(attention_KxHxW: np.ndarray) -> np.ndarray:
    """Brings each component's map to [0, 1]: attention is often nearly even, 1/k everywhere.

    A range below a tenth of 1/k counts as flat, so that noise is not blown up.
    """
    low, high = np.percentile(attention_KxHxW, (1, 99), axis=(1, 2), keepdims=True)
    span = np.maximum(high - low, 0.1 / len(attention_KxHxW))
    return np.clip((attention_KxHxW - low) / span, 0, 1)


def _resize(maps_KxHxW: np.ndarray, size: tuple[int, int], smooth: bool) -> np.ndarray:
    """Resizes float maps to (height, width)."""
    method = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    height, width = size
    resized = [
        Image.fromarray(np.asarray(m, np.float32)).resize((width, height), method)
        for m in maps_KxHxW
    ]
    return np.stack([np.asarray(m) for m in resized])


def attention_segmentation(
    attention_KxHxW: Float[np.ndarray, "components height width"], *, hard: bool = False
) -> UInt8[np.ndarray, "height width 3"]:
    """Colors each pixel by the latent components it attends to.

    So do the figures of the GANformer paper (arXiv 2103.01209). Soft, the palette is mixed by
    the attention, each component's map stretched in contrast; hard, each pixel takes the color
    of its strongest stretched component.
    """
    weights = _stretch(np.asarray(attention_KxHxW, np.float32)) ** 2 + 1e-3
    palette = component_palette(len(weights))
    if hard:
        return palette[weights.argmax(axis=0)]
    weights /= weights.sum(axis=0, keepdims=True)
    return np.round(np.tensordot(weights, palette, axes=(0, 0))).astype(np.uint8)


def attention_overlay(
    image_HxWxC: UInt8[np.ndarray, "height width channels"],
    attention_KxHxW: Float[np.ndarray, "components map_height map_width"],
    *,
    strength: float = 0.55,
    hard: bool = False,
    smooth: bool = False,
) -> UInt8[np.ndarray, "height width 3"]:
    """Lays the colored components over the image in gray, so that hues are the components' own.

    Args:
        image_HxWxC: Uint8, one or three channels.
        attention_KxHxW: Attention to each component, at any resolution.
        strength: Share of the colors, 0 to 1; the rest is the image.
        hard: One color a pixel instead of a mixture.
        smooth: Resizes the attention bilinearly instead of pixel by pixel.
    """
    image = as_rgb(np.asarray(image_HxWxC)[None])[0]
    maps = _resize(attention_KxHxW, image.shape[:2], smooth)
    colors = attention_segmentation(maps, hard=hard)
    gray = image @ np.array([[0.299], [0.587], [0.114]])  # luma of ITU-R BT.601
    return np.round((1 - strength) * gray + strength * colors).astype(np.uint8)


def _heat_map(stretched_HxW: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Ramps from black over the component's color to white."""
    stops = np.stack([np.zeros(3), color.astype(np.float32), np.full(3, 255.0)])
    channels = [np.interp(stretched_HxW, (0, 0.7, 1), stops[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def headings(texts: list[str], cell: int, padding: int) -> np.ndarray:
    """A strip of headings above a row of an image grid, whose cells are `cell` pixels wide."""
    strip = Image.new("RGB", (len(texts) * (cell + padding) + padding, _HEADING), "white")
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(size=14)
    for i, text in enumerate(texts):
        center = padding + i * (cell + padding) + cell / 2
        draw.text((center, _HEADING - 4), text, fill="black", font=font, anchor="ms")
    return np.asarray(strip)


def attention_grid(
    images_BxHxWxC: UInt8[np.ndarray, "batch height width channels"],
    attention_BxKxHxW: Float[np.ndarray, "batch components map_height map_width"],
    *,
    cell: int = 128,
    padding: int = 4,
    smooth: bool = False,
) -> UInt8[np.ndarray, "figure_height figure_width 3"]:
    """Draws one row a sample: image, segmentation, overlay, then each component's heat map.

    Heat maps are stretched in contrast one by one: they show where a component is attended to,
    not how much more than another.

    Args:
        images_BxHxWxC: Uint8 images, one or three channels.
        attention_BxKxHxW: What `reduce_attention` returns, at any resolution of the same shape.
        cell: Width of each picture in pixels, at least; images keep whole pixels.
        padding: Pixels between cells.
        smooth: Enlarges the attention bilinearly instead of pixel by pixel.

    Raises:
        ValueError: If images and attention differ in number or shape, or images are not uint8.
    """
    images = as_rgb(images_BxHxWxC)
    count, height, width, _ = images.shape
    found, components, rows, columns = np.asarray(attention_BxKxHxW).shape
    if found != count or rows * width != columns * height:
        raise ValueError(
            f"need as many attention maps as images, of one shape: got {count} images of "
            f"{height}x{width} and attention {list(np.asarray(attention_BxKxHxW).shape)}"
        )
    scale = max(1, math.ceil(cell / width))
    images = images.repeat(scale, axis=1).repeat(scale, axis=2)
    palette = component_palette(components)
    cells = []
    for image, attention in zip(images, attention_BxKxHxW, strict=True):
        maps = _resize(attention, image.shape[:2], smooth)
        cells += [image, attention_segmentation(maps), attention_overlay(image, maps)]
        cells += [_heat_map(*pair) for pair in zip(_stretch(maps), palette, strict=True)]
    grid = image_grid(np.stack(cells), components + 3, padding=padding)
    texts = ["image", "components", "overlay", *(str(i + 1) for i in range(components))]
    return np.concatenate([headings(texts, image.shape[1], padding), grid])
