"""Scores of how well images show their captions: number of objects, attributes and relation.

The objects of an image are those that the segmentation network of `panoptic` finds. The objects
that the caption describes are matched to them such that as many attributes as possible agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy  # its submodules are loaded on first use

from ganformer_jax.scenes.captions import (
    HELD_OUT_PAIRS,
    RELATIONS,
    SceneObjects,
    described,
    relation,
)
from ganformer_jax.scenes.layout import COLORS, OBJECT_ATTRIBUTES, SHAPES
from ganformer_jax.scenes.panoptic import ReadScene

SCORES = ("count", *OBJECT_ATTRIBUTES, "pair", "object", "relation", "held_out_pair")
"""Scores: "count" of the number of objects; one of each attribute of the described objects; "pair"
of color and shape together, "object" of all four attributes; "relation" of the first object to the
second; "held_out_pair" of color and shape for pairs that may be held out."""


def caption_scores(
    scenes: Sequence[tuple[SceneObjects, int]], found: Sequence[ReadScene], resolution: int
) -> dict[str, float]:
    """Return the share of statements in captions that images show, in [0, 1], for each of `SCORES`.

    Args:
        scenes: Objects and index of the scene that each caption describes.
        found: Predicted contents of the image generated for each caption.
        resolution: Width of the images.
    """
    seen = [_agreement(*scene, read, resolution) for scene, read in zip(scenes, found, strict=True)]
    pooled = {name: [value for one in seen for value in one[name]] for name in SCORES}
    return {name: float(np.mean(v)) if v else math.nan for name, v in pooled.items()}


def _agreement(
    objects: SceneObjects, index: int, read: ReadScene, resolution: int
) -> dict[str, list[bool]]:
    """Return whether the image shows each statement of a caption."""
    visible = np.unique(read.objects_HxW[read.objects_HxW > 0])
    chosen = described(objects, index)
    classes_QxA = np.stack([getattr(objects, f"{name}_Q") for name in OBJECT_ATTRIBUTES], 1)
    agree_TxQxA = classes_QxA[chosen][:, None] == read.classes_QxA[visible - 1][None]
    rows, columns = scipy.optimize.linear_sum_assignment(-agree_TxQxA.sum(-1))
    # False for described objects without a match.
    seen_TxA = np.zeros((len(chosen), len(OBJECT_ATTRIBUTES)), bool)
    seen_TxA[rows] = agree_TxQxA[rows, columns]
    scores = {name: seen_TxA[:, i].tolist() for i, name in enumerate(OBJECT_ATTRIBUTES)}
    pairs = [bool(c and s) for c, s in zip(scores["color"], scores["shape"], strict=True)]
    scores["count"] = [len(visible) == len(objects.shape_Q)]
    scores["pair"] = pairs
    scores["held_out_pair"] = [p for p, n in zip(pairs, chosen, strict=True) if _rare(objects, n)]
    scores["object"] = seen_TxA.all(1).tolist()
    scores["relation"] = []
    if len(chosen) == 2:
        both, said = len(rows) == 2, relation(objects, chosen[0], chosen[1], resolution)
        places = _relations(read.objects_HxW, *visible[columns]) if both else set()
        scores["relation"] = [said in places]
    return scores


def _rare(objects: SceneObjects, number: int) -> bool:
    """Return whether the color and shape of an object are a pair that may be held out."""
    pair = COLORS[objects.color_Q[number]], SHAPES[objects.shape_Q[number]]
    return pair in HELD_OUT_PAIRS


def _relations(objects_HxW: np.ndarray, one: int, other: int) -> set[str]:
    """Return the relations of one object to another, by the centers of their pixels.

    The one that is lower in the image is in front, because the camera looks down.
    """
    centers = [np.argwhere(objects_HxW == number).mean(0) for number in (one, other)]
    row, column = centers[0] - centers[1]
    return {RELATIONS[int(column > 0)], RELATIONS[2 + int(row < 0)]}
