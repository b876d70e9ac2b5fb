"""Agreement of segments with objects, independent of how either are numbered.

Foreground ARI as in K. Greff et al., "Multi-Object Representation Learning with Iterative
Variational Inference", ICML 2019 (arXiv 1903.00450): the adjusted Rand index of L. Hubert and P.
Arabie, "Comparing Partitions" (1985), on the pixels of objects. Mean IoU under the best matching of
segments to objects (H. W. Kuhn, "The Hungarian Method for the Assignment Problem", 1955).
"""

from typing import Any

import numpy as np
import scipy  # its submodules are loaded on first use
from jax.typing import ArrayLike
from jaxtyping import Int, UInt8


def foreground_ari(
    objects_HxW: Int[ArrayLike, "h w"], segments_HxW: Int[ArrayLike, "h w"]
) -> float:
    """Return the adjusted Rand index on pixels of objects: 1 is best, 0 is chance.

    Args:
        objects_HxW: Object of each pixel, from 1; 0 for the background.
        segments_HxW: Segment of each pixel.

    Returns:
        NaN if there are fewer than two objects.

    Raises:
        ValueError: If the shapes differ.
    """
    from sklearn.metrics import adjusted_rand_score  # takes a second to import

    objects, segments = _check(objects_HxW, segments_HxW)
    foreground = objects > 0
    if len(np.unique(objects[foreground])) < 2:
        return float("nan")
    return float(adjusted_rand_score(objects[foreground], segments[foreground]))


def matched_mean_iou(
    objects_HxW: Int[ArrayLike, "h w"], segments_HxW: Int[ArrayLike, "h w"]
) -> float:
    """Return the mean over objects of the IoU with the segment matched to each.

    Each segment, including the one of the background, is matched to at most one object such that
    the sum of IoUs is largest; an object without a segment counts as 0.

    Args:
        objects_HxW: Object of each pixel, from 1; 0 for the background.
        segments_HxW: Segment of each pixel.

    Returns:
        A number from 0 to 1; NaN if there is no object.

    Raises:
        ValueError: If the shapes differ.
    """
    objects, segments = _check(objects_HxW, segments_HxW)
    object_masks = [objects == i for i in np.unique(objects[objects > 0])]
    if not object_masks:
        return float("nan")
    segment_masks = [segments == i for i in np.unique(segments)]
    iou = np.array([[(a & b).sum() / (a | b).sum() for b in segment_masks] for a in object_masks])
    rows, columns = scipy.optimize.linear_sum_assignment(iou, maximize=True)
    return float(iou[rows, columns].sum() / len(object_masks))


def color_clusters(
    image_HxWxC: UInt8[ArrayLike, "h w c"], clusters: int, seed: int = 0
) -> Int[np.ndarray, "h w"]:
    """Segment an image by k-means on colors, the baseline for attention maps.

    Args:
        image_HxWxC: The image.
        clusters: Largest number of segments.
        seed: Seed of the initial centers.
    """
    from sklearn.cluster import KMeans

    image = np.asarray(image_HxWxC)
    height, width, channels = image.shape
    colors_PxC = image.reshape(-1, channels).astype(np.float64)
    clusters = min(clusters, len(np.unique(colors_PxC, axis=0)))
    restarts: Any = 1  # scikit-learn's types allow only "auto"
    segments_P = KMeans(clusters, n_init=restarts, random_state=seed).fit_predict(colors_PxC)
    return segments_P.reshape(height, width)


def _check(objects_HxW: ArrayLike, segments_HxW: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    objects, segments = np.asarray(objects_HxW), np.asarray(segments_HxW)
    if objects.shape != segments.shape or objects.ndim != 2:
        raise ValueError(
            "objects and segments must have the same shape [height, width]: got "
            f"{list(objects.shape)} and {list(segments.shape)}"
        )
    return objects, segments
