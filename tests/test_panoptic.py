"""Panoptic segmentation of scenes: targets and grouping are inverse, and the network learns."""

import dataclasses

import jax
import numpy as np
import pytest
from small_scenes import render_scenes

from ganformer_jax.evaluate.component_metrics import validate
from ganformer_jax.metrics.segmentation import foreground_ari, matched_mean_iou
from ganformer_jax.scenes import panoptic
from ganformer_jax.scenes.layout import (
    COLORS,
    IMAGE_ATTRIBUTES,
    STANDARD,
    SceneLabels,
    image_attributes,
)
from ganformer_jax.scenes.panoptic import (
    PanopticNetwork,
    classify_objects,
    group_pixels,
    panoptic_loss,
    panoptic_targets,
    train_segmenter,
)


@pytest.fixture(scope="module")
def labels():
    batch = render_scenes(16)
    scene = batch.scenes
    classes = np.stack([scene.shape, scene.size, scene.material, scene.color], -1)
    return SceneLabels(batch.images, batch.masks, classes * scene.present[..., None])


def test_grouping_undoes_the_targets(labels):
    centers, offsets = (
        np.asarray(array) for array in panoptic_targets(labels.masks, STANDARD.max_objects)
    )
    scores = []
    for mask, center, offset in zip(labels.masks, centers, offsets, strict=True):
        found = group_pixels(np.where(mask > 0, 1.0, -1.0), center, offset)
        assert ((found > 0) == (mask > 0)).all()
        scores.append((foreground_ari(mask, found), matched_mean_iou(mask, found)))
    assert np.mean(scores, 0).min() > 0.9, scores  # centers closer than a pixel or two merge


def test_no_center_and_no_foreground():
    nothing = np.full((8, 8), -1.0)
    assert (group_pixels(nothing, nothing, np.zeros((8, 8, 2))) == 0).all()
    one = group_pixels(-nothing, nothing, np.zeros((8, 8, 2)))
    assert (one == 1).all()
    assert classify_objects(np.zeros((8, 8), int), [np.zeros((8, 8, 3))]).shape == (0, 1)


def test_classes_by_the_support_of_their_pixels():
    objects = np.array([[1, 1, 3], [0, 1, 3]])
    logits = np.zeros((2, 3, 4))
    logits[..., 2], logits[0, 2, 1] = 1.0, 5.0
    classes = classify_objects(objects, [logits])
    np.testing.assert_array_equal(classes, [[2], [0], [1]])


def test_attributes_of_an_image(labels):
    found = dict(
        zip(IMAGE_ATTRIBUTES, image_attributes(labels.masks[0], labels.classes[0]), strict=True)
    )
    seen = np.unique(labels.masks[0][labels.masks[0] > 0]) - 1
    assert found["objects"] == len(seen) <= STANDARD.max_objects
    for i, name in enumerate(COLORS):
        assert found[f"color {name}"] == (labels.classes[0][seen, 3] == i).sum()
    assert found["foreground"] == pytest.approx((labels.masks[0] > 0).mean())
    rows, columns = np.nonzero(labels.masks[0])
    assert found["mean row"] == pytest.approx((rows.mean() + 0.5) / 32)
    assert found["mean column"] == pytest.approx((columns.mean() + 0.5) / 32)
    nothing = image_attributes(np.zeros((4, 4), int), np.zeros((0, 4), int))
    assert nothing.sum() == 1 and nothing.shape == (len(IMAGE_ATTRIBUTES),)


@pytest.mark.slow
def test_it_learns(labels, monkeypatch):
    monkeypatch.setattr(panoptic, "BATCH", 4)
    monkeypatch.setattr(panoptic, "WIDTH", 8)
    few = SceneLabels(*(array[:4] for array in labels))
    segmenter = dataclasses.replace(train_segmenter(few, steps=25), batch_size=4)
    network = PanopticNetwork()
    initial = jax.jit(network.init)(jax.random.key(0), few.images[:1])
    loss = jax.jit(lambda params: panoptic_loss(network.apply(params, few.images), few))
    assert loss(segmenter.params) < 0.5 * loss(initial)
    validated = validate(segmenter, few)
    assert set(validated.scores) == {"ari", "iou"}
    reliable = dict(zip(IMAGE_ATTRIBUTES, validated.reliable, strict=True))
    assert validated.reliable_names == [
        name for name, is_reliable in reliable.items() if is_reliable
    ]
