"""Pictures of samples, of attention and of training: numpy arrays in, uint8 arrays or PNGs out.

Needs numpy and Pillow; matplotlib only for `training_curve`, when it is called.
"""

from ganformer_jax.pixels import to_uint8
from ganformer_jax.visualize.attention import (
    attention_grid,
    attention_overlay,
    attention_segmentation,
    component_palette,
    reduce_attention,
)
from ganformer_jax.visualize.curves import training_curve
from ganformer_jax.visualize.images import image_grid, save_png
from ganformer_jax.visualize.segments import segments_grid

__all__ = [
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
