"""Measures of a GANformer2's segments: agreement with objects, edits, and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ganformer_jax.evaluate.component_metrics import ValidatedSegmenter, segmentation_scores
from ganformer_jax.experiment.ganformer2.edits import measure_edit
from ganformer_jax.sampling.planned_scenes import SceneSampler, SegmentEdit

STYLE_SEED = 10**6
"""Seed of the style that edits take."""
MOVE = 0.125
"""Distance by which edits move a segment to the right, in widths."""


def segment_agreement(
    sampler: SceneSampler,
    weights: Mapping[str, Any],
    segmenter: ValidatedSegmenter,
    seeds: Sequence[int],
) -> dict[str, float]:
    """Compare planned segments with the objects that a segmentation network finds in the images.

    Args:
        sampler: Sampler of the run.
        weights: Arrays that the sampler reads, by name.
        segmenter: Trained on real scenes, see `load_segmenter`.
        seeds: Seeds of the images.

    Returns:
        `segments_ari`, of the foreground, and `segments_iou`, matched and averaged over objects;
        and the same of the network itself on held-out scenes, as `network_`.
    """
    scenes = sampler(weights, seeds)
    objects, _ = segmenter.segmenter(scenes.images)
    found = segmentation_scores(objects, scenes.layouts[:, -1])
    numbers = {f"segments_{name}": value for name, value in found.items()}
    return numbers | {f"network_{name}": value for name, value in segmenter.scores.items()}


def edit_locality(
    sampler: SceneSampler, weights: Mapping[str, Any], seeds: Sequence[int]
) -> dict[str, float]:
    """Return the median changes inside and outside of segments by edits of each segment.

    Changes are in levels of 0 to 255; edits are a style of another seed, a move to the right by an
    eighth of the width, and removal. Segments that are not in an image do not count.
    """
    planning, width = sampler.config.planning, sampler.config.execution.resolution
    before = sampler(weights, seeds)
    edits = {"restyle": {"style_seed": STYLE_SEED}, "remove": {"remove": True}}
    edits["move"] = {"right": round(MOVE * width)}
    numbers = {}
    for name, values in edits.items():
        inside, outside = [], []
        for segment in range(1, planning.segments):
            edit = SegmentEdit(segment, **values)
            change = measure_edit(before, sampler(weights, seeds, edit), edit)
            there = ~np.isnan(change.inside)
            inside.append(change.inside[there])
            outside.append(change.outside[there])
        numbers[f"{name}_inside"] = float(np.median(np.concatenate(inside)))
        numbers[f"{name}_outside"] = float(np.median(np.concatenate(outside)))
    return numbers


def layout_counts(layouts_BxHxW: np.ndarray) -> dict[str, float]:
    """Return how many segments layouts have, the share of the background, and their pieces.

    Args:
        layouts_BxHxW: The segment of each pixel, 0 for the background.

    Returns:
        Means over layouts: `segments`, of which there are pixels; `background`, its share; and
        `pieces`, connected regions for each of these segments, 1 where each is in one piece.
    """
    from scipy import ndimage  # takes a moment to import

    counts, shares, pieces = [], [], []
    for labels in layouts_BxHxW:
        present = np.unique(labels[labels > 0])
        counts.append(len(present))
        shares.append((labels == 0).mean())
        for segment in present:
            found: Any = ndimage.label(labels == segment)
            pieces.append(found[1])
    means = {"segments": counts, "background": shares, "pieces": pieces or [0]}
    return {name: float(np.mean(values)) for name, values in means.items()}
