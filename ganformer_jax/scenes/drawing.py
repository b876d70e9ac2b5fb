"""Scenes as drawings: flat colors and dark outlines on paper, without light and shadow."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ganformer_jax.scenes import layout
from ganformer_jax.scenes.layout import Scene

SIDE = 3  # height and width, in pixels of the mask, of a pixel of the drawing
PAPER = (244, 240, 230)  # sRGB, 0..255
INK = (38, 34, 40)
GLOSS = 0.45  # share of white in the colors of metal


def draw(scene: Scene, mask_HxW: Int[Array, "h w"]) -> Float[Array, "h2 w2 3"]:
    """Draw a scene.

    Args:
        scene: One scene, without a batch axis.
        mask_HxW: 0 for the ground and i + 1 for the object in slot i, at `SIDE` times the
            drawing's height and width.

    Returns:
        The drawing, sRGB in [0, 1]: paper, objects in their colors, lighter for metal, and outlines
        that are two thirds of a pixel wide at 32 pixels.
    """
    color_Qx3 = jnp.array(layout.COLOR_VALUES, jnp.float32)[scene.color]
    metal_Q = scene.material == layout.MATERIALS.index("metal")
    color_Qx3 = jnp.where(metal_Q[:, None], GLOSS * 255 + (1 - GLOSS) * color_Qx3, color_Qx3)
    flat_HxWx3 = jnp.concatenate([jnp.array([PAPER], jnp.float32), color_Qx3])[mask_HxW]
    line_HxW = jnp.zeros(mask_HxW.shape, bool)
    for step in range(1, 1 + max(1, len(mask_HxW) // (48 * SIDE))):
        padded = jnp.pad(mask_HxW, step, mode="edge")
        middle = slice(step, -step)
        for near in (padded[: -2 * step, middle], padded[2 * step :, middle]):
            line_HxW |= near != mask_HxW
        for near in (padded[middle, : -2 * step], padded[middle, 2 * step :]):
            line_HxW |= near != mask_HxW
    drawn = jnp.where(line_HxW[..., None], jnp.array([[INK]], jnp.float32), flat_HxWx3) / 255
    height, width = mask_HxW.shape
    return drawn.reshape(height // SIDE, SIDE, width // SIDE, SIDE, 3).mean((1, 3))


def vote(mask_HxW: Int[Array, "h w"], count: int) -> Int[Array, "h2 w2"]:
    """Return the mask at the drawing's size, by majority; of ties, the lowest label.

    Args:
        mask_HxW: Mask as in `draw`.
        count: Number of slots for objects.
    """
    height, width = mask_HxW.shape
    blocks = mask_HxW.reshape(height // SIDE, SIDE, width // SIDE, SIDE, 1)
    numbers = jnp.arange(count + 1)[None, None, None, None]
    return (blocks == numbers).sum((1, 3)).argmax(-1).astype(jnp.int32)
