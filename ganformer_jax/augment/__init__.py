"""Augmentation of what the discriminator sees: pure functions of images, a key and a probability.

- `augment`: the transformations of adaptive discriminator augmentation (arXiv 2006.06676).
- `diff_augment`: those of DiffAugment (arXiv 2006.10738).
- `random_crop`: crops of enlarged images.
"""

from ganformer_jax.augment.crop import random_crop
from ganformer_jax.augment.diff_augment import (
    POLICIES,
    Choices,
    diff_augment,
    diff_augment_with,
    draw_choices,
)
from ganformer_jax.augment.pipeline import augment, augment_with
from ganformer_jax.augment.transforms import PRESETS, TRANSFORMS, Draws, draw, expand

__all__ = [
    "POLICIES",
    "PRESETS",
    "TRANSFORMS",
    "Choices",
    "Draws",
    "augment",
    "augment_with",
    "diff_augment",
    "diff_augment_with",
    "draw",
    "draw_choices",
    "expand",
    "random_crop",
]
