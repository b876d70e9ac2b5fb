"""Figures of samples, attention and training: arrays in, uint8 arrays or PNG files out.

Needs numpy and Pillow; `training_curve` needs matplotlib too, and MP4 videos PyAV.
"""

from ganformer_jax.pixels import to_uint8
from ganformer_jax.visualize.animations import animation_suffixes, save_animation
from ganformer_jax.visualize.attention import (
    attention_figure,
    attention_grid,
    attention_overlay,
    attention_segmentation,
    attention_segments,
    finest_attention,
    reduce_attention,
)
from ganformer_jax.visualize.curves import projection_curve, training_curve
from ganformer_jax.visualize.images import (
    NO_COMPONENT,
    component_legend,
    component_palette,
    image_grid,
    save_png,
    segments_grid,
)

__all__ = [
    "NO_COMPONENT",
    "animation_suffixes",
    "attention_figure",
    "attention_grid",
    "attention_overlay",
    "attention_segmentation",
    "attention_segments",
    "component_legend",
    "component_palette",
    "finest_attention",
    "image_grid",
    "projection_curve",
    "reduce_attention",
    "save_animation",
    "save_png",
    "segments_grid",
    "to_uint8",
    "training_curve",
]
