"""Scenes as arrays: images, masks and classes of objects, and attributes of the whole image."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ganformer_jax.errors import UserError
from ganformer_jax.scenes.world import COLORS, MATERIALS, MAX_OBJECTS, SHAPES, SIZES

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

    from ganformer_jax.data.batches import DatasetSource

KINDS = {"shape": SHAPES, "size": SIZES, "material": MATERIALS, "color": COLORS}
"""What objects are classed by, and the classes."""
ATTRIBUTES = (
    "objects",
    *(f"{kind} {name}" for kind, names in KINDS.items() for name in names),
    "mean row",
    "mean column",
    "foreground",
)
"""Of an image: objects in all and of each class, where their pixels are on average, and the share
of the image that they cover."""


class Truth(NamedTuple):
    """What is known of real scenes."""

    images: UInt8[np.ndarray, "n height width 3"]
    masks: UInt8[np.ndarray, "n height width"]
    """0 for the ground, i for object i."""
    classes: Int[np.ndarray, "n objects kinds"]
    """Of object i in row i - 1; 0 where there is none."""


def read_truth(source: DatasetSource, count: int) -> Truth:
    """Reads the first so many scenes.

    Raises:
        UserError: If the dataset is not one of scenes, or has fewer.
    """
    if "mask" not in source.features or "objects" not in source.features:
        raise UserError(f"{source.name} has no masks of objects; only scenes have")
    if count > len(source):
        raise UserError(f"{source.name} has {len(source)} scenes; {count} were asked for")
    records = [source.record(index) for index in range(count)]
    classes = np.zeros((count, MAX_OBJECTS, len(KINDS)), np.int32)
    for row, record in enumerate(records):
        for column, kind in enumerate(KINDS):
            values = record["objects"]["colour" if kind == "color" else kind]
            classes[row, : len(values), column] = values
    return Truth(
        np.stack([record["image"] for record in records]),
        np.stack([record["mask"][..., 0] for record in records]),
        classes,
    )


def describe(
    objects_HxW: Int[np.ndarray, "height width"], classes_OxK: Int[np.ndarray, "objects kinds"]
) -> Float[np.ndarray, " attributes"]:
    """`ATTRIBUTES` of one image, from what can be seen in it.

    Args:
        objects_HxW: The object of each pixel, from 1 up; 0 for the background.
        classes_OxK: Classes of object i in row i - 1.
    """
    seen = np.unique(objects_HxW[objects_HxW > 0])
    counts = [
        np.bincount(classes_OxK[seen - 1, column], minlength=len(names))
        for column, names in enumerate(KINDS.values())
    ]
    places = np.argwhere(objects_HxW > 0)
    middle = (places.mean(0) + 0.5) / objects_HxW.shape if len(places) else (0.5, 0.5)
    share = len(places) / objects_HxW.size
    return np.array([len(seen), *np.concatenate(counts), *middle, share], np.float32)
