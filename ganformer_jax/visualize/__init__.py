"""Figures of samples, attention and training: numpy arrays in, uint8 arrays or PNG files out.

Needs numpy and Pillow; `training_curve` needs matplotlib too, and `attention_figure` jax.
"""

from ganformer_jax.pixels import to_uint8
from ganformer_jax.visualize.attention import (
    attention_figure,
    attention_grid,
    attention_overlay,
    attention_segmentation,
    reduce_attention,
)
from ganformer_jax.visualize.curves import training_curve
from ganformer_jax.visualize.images import (
    component_palette,
    image_grid,
    save_png,
    segments_grid,
)

__all__ = [
    "attention_figure",
    "attention_grid",
    "attention_overlay",
    "attention_segmentation",
    "component_palette",
    "image_grid",
    "reduce_attention",
    "save_png",
    "segments_grid",
    "to_uint8",
    "training_curve",
]
