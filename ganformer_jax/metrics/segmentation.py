"""How well segments follow objects, whatever the numbers that either have.

Foreground ARI as K. Greff et al., "Multi-Object Representation Learning with Iterative Variational
Inference", ICML 2019 (arXiv 1903.00450), use it: the adjusted Rand index of L. Hubert and P.
Arabie, "Comparing Partitions" (1985), on the pixels of objects. Mean IoU under the best matching of
segments to objects (H. W. Kuhn, "The Hungarian Method for the Assignment Problem", 1955).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.optimize

if TYPE_CHECKING:
    from jaxtyping import Int


def foreground_ari(
    objects_HxW: Int[np.ndarray, "height width"], segments_HxW: Int[np.ndarray, "height width"]
) -> float:
    """Agreement of segments with objects on the objects' pixels: 1 is best, 0 is by chance.

    Args:
        objects_HxW: The object of each pixel, from 1 up; 0 for the background.
        segments_HxW: The segment of each pixel.

    Returns:
        NaN where there are fewer than two objects to tell apart.

    Raises:
        ValueError: If shapes differ.
    """
    from sklearn.metrics import adjusted_rand_score  # takes a second to import

    objects, segments = _check(objects_HxW, segments_HxW)
    seen = objects > 0
    if len(np.unique(objects[seen])) < 2:
        return float("nan")
    return float(adjusted_rand_score(objects[seen], segments[seen]))


def matched_mean_iou(
    objects_HxW: Int[np.ndarray, "height width"], segments_HxW: Int[np.ndarray, "height width"]
) -> float:
    """Mean over objects of the intersection over union with the segment that is matched to each.

    Every segment, the one of the background included, is matched to one object at most, so that
    the sum is greatest; objects that none is left for count as 0.

    Args:
        objects_HxW: The object of each pixel, from 1 up; 0 for the background.
        segments_HxW: The segment of each pixel.

    Returns:
        From 0 to 1; NaN where there is no object.

    Raises:
        ValueError: If shapes differ.
    """
    objects, segments = _check(objects_HxW, segments_HxW)
    masks = [objects == i for i in np.unique(objects[objects > 0])]
    if not masks:
        return float("nan")
    found = [segments == i for i in np.unique(segments)]
    iou = np.array([[(a & b).sum() / (a | b).sum() for b in found] for a in masks])
    rows, columns = scipy.optimize.linear_sum_assignment(iou, maximize=True)
    return float(iou[rows, columns].sum() / len(masks))


def color_clusters(
    image_HxWxC: np.ndarray, clusters: int, seed: int = 0
) -> Int[np.ndarray, "height width"]:
    """Segments by color alone, with k-means: what a map has to beat.

    Args:
        image_HxWxC: One picture.
        clusters: How many segments at most.
        seed: Of the first centers.
    """
    from sklearn.cluster import KMeans

    height, width, channels = image_HxWxC.shape
    colors = image_HxWxC.reshape(-1, channels).astype(np.float64)
    clusters = min(clusters, len(np.unique(colors, axis=0)))
    once: Any = 1
    found = KMeans(clusters, n_init=once, random_state=seed).fit_predict(colors)
    return found.reshape(height, width)


def _check(objects_HxW: np.ndarray, segments_HxW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    objects, segments = np.asarray(objects_HxW), np.asarray(segments_HxW)
    if objects.shape != segments.shape or objects.ndim != 2:
        raise ValueError(
            "objects and segments must be of one size [height, width]: got "
            f"{list(objects.shape)} and {list(segments.shape)}"
        )
    return objects, segments
