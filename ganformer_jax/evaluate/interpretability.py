"""Whether components own objects: attention and latents against what is in the image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ganformer_jax.metrics.segmentation import color_clusters, foreground_ari, matched_mean_iou

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8


def component_segments(
    attention_NxKxNxHxW: Float[np.ndarray, "n components heads height width"], side: int
) -> Int[np.ndarray, "n side across"]:
    """The component that each pixel attends to most, heads averaged, pixels repeated to a side."""
    strongest = np.asarray(attention_NxKxNxHxW).mean(2).argmax(1)
    factor = side // strongest.shape[-2]
    return strongest.repeat(factor, 1).repeat(factor, 2)


def segmentation_scores(
    objects_NxHxW: Int[np.ndarray, "n height width"],
    segments_NxHxW: Iterable[Int[np.ndarray, "height width"]],
) -> dict[str, float]:
    """Foreground ARI and matched mean IoU, averaged over the images that have them.

    Raises:
        ValueError: If no image has two objects.
    """
    pairs = list(zip(objects_NxHxW, segments_NxHxW, strict=True))
    scores = {
        "ari": [foreground_ari(*pair) for pair in pairs],
        "iou": [matched_mean_iou(*pair) for pair in pairs],
    }
    if np.isnan(scores["ari"]).all():
        raise ValueError("no image has two objects, so there is nothing to tell apart")
    return {name: float(np.nanmean(values)) for name, values in scores.items()}


def attention_segments(
    images_NxHxWx3: UInt8[np.ndarray, "n height width 3"],
    attention: Sequence[Float[np.ndarray, "n components heads map_height map_width"]],
) -> dict[str, Int[np.ndarray, "n height width"]]:
    """Segments images by every attention layer, and in ways that an attention has to beat.

    Args:
        images_NxHxWx3: Generated images.
        attention: A map for each layer, coarse to fine.

    Returns:
        "layer<i>_<side>px" for every layer; "uniform", as even attention would; and "color", as
        many clusters of colors as there are components.

    Raises:
        ValueError: If there are no attention maps.
    """
    if not attention:
        raise ValueError("the generator has no attention layers")
    side, components = images_NxHxWx3.shape[1], attention[0].shape[1]
    found = {
        f"layer{i}_{layer.shape[-1]}px": component_segments(layer, side)
        for i, layer in enumerate(attention)
    }
    found["uniform"] = np.zeros(images_NxHxWx3.shape[:3], int)
    found["color"] = np.stack([color_clusters(image, components) for image in images_NxHxWx3])
    return found
