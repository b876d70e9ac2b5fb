"""Ground truth of scenes: masks, classes of objects, and attributes of whole images."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ganformer_jax.scenes.layout import COLORS, MATERIALS, SHAPES, SIZES

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

OBJECT_ATTRIBUTES = {"shape": SHAPES, "size": SIZES, "material": MATERIALS, "color": COLORS}
"""Attributes of an object, and the classes of each."""
IMAGE_ATTRIBUTES = (
    "objects",
    *(f"{name} {label}" for name, labels in OBJECT_ATTRIBUTES.items() for label in labels),
    "mean row",
    "mean column",
    "foreground",
)
"""Attributes of an image: the number of objects, in total and by class, the mean position of their
pixels, and the fraction of the image that they cover."""


class SceneLabels(NamedTuple):
    """Scenes and their ground truth."""

    images: UInt8[np.ndarray, "b h w 3"]
    masks: UInt8[np.ndarray, "b h w"]
    """Instance ids: 0 for the ground, i for object i."""
    classes: Int[np.ndarray, "b q a"]
    """Class ids of object i in row i - 1, by `OBJECT_ATTRIBUTES`; 0 where there is no object."""


def image_attributes(
    objects_HxW: Int[np.ndarray, "h w"], classes_QxA: Int[np.ndarray, "q a"]
) -> Float[np.ndarray, " a"]:
    """Return `IMAGE_ATTRIBUTES` of one image, counting only objects with visible pixels.

    Args:
        objects_HxW: Object of each pixel, from 1; 0 for the background.
        classes_QxA: Class ids of object i in row i - 1.
    """
    visible = np.unique(objects_HxW[objects_HxW > 0])
    counts = [
        np.bincount(classes_QxA[visible - 1, column], minlength=len(labels))
        for column, labels in enumerate(OBJECT_ATTRIBUTES.values())
    ]
    pixels_Px2 = np.argwhere(objects_HxW > 0)
    position = (pixels_Px2.mean(0) + 0.5) / objects_HxW.shape if len(pixels_Px2) else (0.5, 0.5)
    covered = len(pixels_Px2) / objects_HxW.size
    return np.array([len(visible), *np.concatenate(counts), *position, covered], np.float32)
