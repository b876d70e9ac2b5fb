"""The network that finds objects: targets and grouping undo each other, and it learns."""

import jax
import numpy as np
import pytest
from ganformer_jax.evaluate.scene_judge import examine_reader
from ganformer_jax.scenes.reader import (
    SceneReader,
    classify,
    group_pixels,
    reading_loss,
    targets,
    train_reader,
)
from ganformer_jax.scenes.truth import ATTRIBUTES, Truth, describe
from ganformer_jax.scenes.world import COLORS, MAX_OBJECTS

from ganformer_jax.metrics.segmentation import foreground_ari, matched_mean_iou
from ganformer_jax.scenes import reader as scene_reader
from ganformer_jax.scenes.rendering import render_batch


@pytest.fixture(scope="module")
def truth():
    batch = jax.tree.map(np.asarray, render_batch(np.arange(16, dtype=np.uint32), 0, 32))
    scene = batch.scenes
    classes = np.stack([scene.shape, scene.size, scene.material, scene.color], -1)
    return Truth(batch.images, batch.masks, classes * scene.present[..., None])


def test_grouping_undoes_the_targets(truth):
    centers, offsets = (np.asarray(array) for array in targets(truth.masks))
    scores = []
    for mask, center, offset in zip(truth.masks, centers, offsets, strict=True):
        found = group_pixels(np.where(mask > 0, 1.0, -1.0), center, offset)
        assert ((found > 0) == (mask > 0)).all()
        scores.append((foreground_ari(mask, found), matched_mean_iou(mask, found)))
    assert np.mean(scores, 0).min() > 0.9, scores  # centers closer than a pixel or two merge


def test_no_center_and_no_foreground():
    nothing = np.full((8, 8), -1.0)
    assert (group_pixels(nothing, nothing, np.zeros((8, 8, 2))) == 0).all()
    one = group_pixels(-nothing, nothing, np.zeros((8, 8, 2)))
    assert (one == 1).all()
    assert classify(np.zeros((8, 8), int), [np.zeros((8, 8, 3))]).shape == (0, 1)


def test_classes_by_the_support_of_their_pixels():
    objects = np.array([[1, 1, 3], [0, 1, 3]])
    logits = np.zeros((2, 3, 4))
    logits[..., 2], logits[0, 2, 1] = 1.0, 5.0
    classes = classify(objects, [logits])
    np.testing.assert_array_equal(classes, [[2], [0], [1]])


def test_attributes_of_an_image(truth):
    found = dict(zip(ATTRIBUTES, describe(truth.masks[0], truth.classes[0]), strict=True))
    seen = np.unique(truth.masks[0][truth.masks[0] > 0]) - 1
    assert found["objects"] == len(seen) <= MAX_OBJECTS
    for i, name in enumerate(COLORS):
        assert found[f"color {name}"] == (truth.classes[0][seen, 3] == i).sum()
    assert found["foreground"] == pytest.approx((truth.masks[0] > 0).mean())
    rows, columns = np.nonzero(truth.masks[0])
    assert found["mean row"] == pytest.approx((rows.mean() + 0.5) / 32)
    assert found["mean column"] == pytest.approx((columns.mean() + 0.5) / 32)
    nothing = describe(np.zeros((4, 4), int), np.zeros((0, 4), int))
    assert nothing.sum() == 1 and nothing.shape == (len(ATTRIBUTES),)


def test_it_learns(truth, monkeypatch):
    monkeypatch.setattr(scene_reader, "BATCH", 4)
    small = Truth(truth.images[:4], truth.masks[:4], truth.classes[:4])
    reader = train_reader(small, steps=25)
    network = SceneReader()
    first = jax.jit(network.init)(jax.random.key(0), small.images)
    apply = jax.jit(network.apply)
    before, after = (
        float(reading_loss(apply(params, small.images), small)) for params in (first, reader.params)
    )
    assert after < 0.5 * before
    judge = examine_reader(reader, small)
    assert set(judge.scores) == {"ari", "iou"} and judge.trusted.shape == (len(ATTRIBUTES),)
    assert judge.trusted_names() == [n for n, t in zip(ATTRIBUTES, judge.trusted, strict=True) if t]
