"""Layouts: composition, planning, execution of a layout, and the losses that look at segments."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import random_variables

from ganformer_jax.config.ganformer2 import ExecutionConfig, PlanningConfig
from ganformer_jax.experiment.ganformer2.edits import measure_edit
from ganformer_jax.experiment.ganformer2.evaluation import layout_counts
from ganformer_jax.losses.layouts import OFFSETS, READ, layout_matching, segment_fidelity
from ganformer_jax.models.executor import Executor
from ganformer_jax.models.planner import Planner, draw_present
from ganformer_jax.nn.layouts import (
    HIDDEN,
    compose,
    harden,
    hierarchical_noise,
    layout_scores,
    move_maps,
    one_hot_layout,
    pool_segments,
    shrink,
    shuffle_segments,
)
from ganformer_jax.sampling.planned_scenes import PlannedScenes, SegmentEdit

SIZE, BATCH = 8, 3
PLANNING = PlanningConfig(steps=2, step_segments=2, latent_size=4, channel_base=32, channel_max=4)
EXECUTION = ExecutionConfig(
    resolution=SIZE, style_size=4, channel_base=64, channel_max=8, gate=False
)
SEGMENTS = PLANNING.segments


def normal(number, *shape):
    return jax.random.normal(jax.random.key(number), shape)


def test_scores_of_a_batch_of_symbolic_size():
    """As by `jax.export`."""
    (batch,) = jax.export.symbolic_shape("b")
    layout = jax.ShapeDtypeStruct((batch, 4, 8, 3), jnp.float32)
    scores = jax.eval_shape(lambda layout: layout_scores(layout, 2, 4), layout)
    assert scores.shape == (batch, 8, 3)


def some_layout(number=0):
    labels = jax.random.randint(jax.random.key(number), (BATCH, SIZE, SIZE), 0, SEGMENTS)
    return one_hot_layout(labels, SEGMENTS)


@pytest.fixture(scope="module")
def planned():
    present = draw_present(PLANNING, jax.random.key(1), BATCH)
    z_BxKxD = normal(2, BATCH, SEGMENTS, PLANNING.latent_size)
    planner = Planner(PLANNING, SIZE)
    variables = jax.jit(planner.init)(jax.random.key(3), z_BxKxD, present)
    apply = jax.jit(planner.apply)
    return apply, variables, z_BxKxD, present, apply(variables, z_BxKxD, present)


def test_a_nearer_segment_occludes_others():
    shape = jnp.zeros((1, SIZE, SIZE, 3)).at[..., 2].set(jnp.where(jnp.arange(SIZE) < 4, 0, HIDDEN))
    depth = jnp.zeros((1, SIZE, SIZE, 3)).at[..., 1].set(4.0).at[..., 2].set(12.0)
    layout = compose(shape, depth, jnp.ones((1, 3)))
    np.testing.assert_allclose(layout.sum(-1), 1, rtol=1e-6)
    assert (layout[:, :, :4, 2] > 0.99).all() and (layout[:, :, 4:, 1] > 0.98).all()
    behind = compose(shape, depth.at[..., 2].set(-12.0), jnp.ones((1, 3)))
    assert (behind[..., 1] > 0.98).all()
    without = compose(shape, depth, jnp.array([[1.0, 1.0, 0.0]]))
    assert (without[..., 2] == 0).all()


def test_every_step_only_adds_segments(planned):
    *_, present, plan = planned
    first, *rest = plan.layout_SxBxHxWxK
    assert (first[..., 0] == 1).all() and len(rest) == PLANNING.steps
    done, earlier = 1, first
    for layout in rest:
        np.testing.assert_allclose(layout.sum(-1), 1, rtol=1e-5)
        assert (layout >= 0).all()
        # What was there keeps its proportions, and what is new takes a share of all of it.
        left = layout[..., :done].sum(-1, keepdims=True)
        np.testing.assert_allclose(
            layout[..., :done], earlier[..., :done] * left, rtol=1e-3, atol=1e-6
        )
        done, earlier = done + PLANNING.step_segments, layout
        assert (layout[..., done:] == 0).all()
    absent = np.broadcast_to((np.asarray(present) == 0)[:, None, None], earlier.shape)
    assert (np.asarray(earlier)[absent] == 0).all()


def test_the_number_of_segments_varies_and_every_step_has_one():
    present = draw_present(PLANNING, jax.random.key(0), 64)
    assert (present[:, 0] == 1).all() and (present[:, 1] == 1).all() and (present[:, 3] == 1).all()
    assert {0.0, 1.0} == set(np.asarray(present[:, 2]))


def test_later_segments_depend_on_earlier_ones_and_not_the_other_way(planned):
    apply, variables, z_BxKxD, present, plan = planned
    present = jnp.ones_like(present)
    plan = apply(variables, z_BxKxD, present)
    other = apply(variables, z_BxKxD.at[:, 1].set(3.0), present)
    changed = [
        not np.allclose(plan.shape_BxHxWxK[..., k], other.shape_BxHxWxK[..., k], atol=1e-5)
        for k in range(SEGMENTS)
    ]
    assert changed == [False, True, False, True, True]
    last = apply(variables, z_BxKxD.at[:, 3].set(3.0), present)
    np.testing.assert_array_equal(plan.layout_SxBxHxWxK[1], last.layout_SxBxHxWxK[1])


def test_attention_to_latents_ends_at_the_largest_grid_that_attends():
    for largest, grids in ((4, {4}), (8, {4, 8})):
        planner = Planner(dataclasses.replace(PLANNING, attention_largest=largest), SIZE)
        inputs = normal(0, BATCH, SEGMENTS, PLANNING.latent_size), jnp.ones((BATCH, SEGMENTS))
        shapes = jax.eval_shape(planner.init, jax.random.key(0), *inputs)
        names = [name for name in shapes["params"]["segment"] if name.startswith("attention_")]
        assert {int(name.removeprefix("attention_")) for name in names} == grids


@pytest.mark.parametrize("has_style", [False, True])
def test_the_style_of_the_image_is_an_option(has_style):
    """The last style latent; without the option it changes nothing."""
    config = dataclasses.replace(EXECUTION, global_style=has_style)
    executor, layout = Executor(config, SEGMENTS), some_layout()
    z = normal(0, BATCH, SEGMENTS + 1, EXECUTION.style_size)
    init = functools.partial(executor.init, noise="none")
    variables = random_variables(lambda: init(jax.random.key(1), z, layout))
    apply = jax.jit(functools.partial(executor.apply, variables, noise="none"))
    changed = bool((apply(z, layout) != apply(z.at[:, -1].set(-z[:, -1]), layout)).any())
    assert changed == has_style


def test_hard_layouts_have_the_gradients_of_soft_ones():
    soft = jax.nn.softmax(normal(0, 1, SIZE, SIZE, 3))
    weights = normal(1, 1, SIZE, SIZE, 3)
    hard, gradient = jax.value_and_grad(lambda x: (harden(x) * weights).sum())(soft)
    np.testing.assert_allclose(gradient, weights, rtol=1e-6)
    picked = jnp.take_along_axis(weights, soft.argmax(-1)[..., None], -1).sum()
    np.testing.assert_allclose(hard, picked, rtol=1e-4)


def test_scores_of_attention_are_the_layout():
    layout = some_layout()
    scores = layout_scores(layout, SIZE // 2, SIZE // 2)
    with_nothing = jnp.pad(scores, ((0, 0), (0, 0), (0, 1)))
    shares = jax.nn.softmax(with_nothing)[..., :-1].reshape(BATCH, SIZE // 2, SIZE // 2, -1)
    np.testing.assert_allclose(shares, shrink(layout, SIZE // 2), atol=2e-3)


@pytest.mark.slow
def test_a_style_changes_its_segment_alone_where_gates_and_convolutions_do_not_reach():
    """With a 1x1 segment far away, what changes is within the reach of the convolutions."""
    size = 32
    config = dataclasses.replace(EXECUTION, resolution=size)
    labels = jnp.zeros((1, size, size), jnp.int32).at[:, 2:6, 2:6].set(1)
    layout = one_hot_layout(labels, 2)
    executor, z = Executor(config, 2), normal(0, 1, 3, 4)
    variables = jax.jit(executor.init, static_argnums=3)(jax.random.key(1), z, layout, "const")
    apply = jax.jit(executor.apply, static_argnums=3)
    images = apply(variables, z, layout, "const")
    other = apply(variables, z.at[:, 1].set(-z[:, 1]), layout, "const")
    change = np.abs(images - other).mean((0, 3))
    inside = np.asarray(labels[0] == 1)
    assert change[inside].mean() > 5 * change[~inside].mean()
    removed = apply(variables, z.at[:, 1].set(-z[:, 1]), one_hot_layout(labels * 0, 2), "const")
    still = apply(variables, z, one_hot_layout(labels * 0, 2), "const")
    assert np.abs(removed - still).max() < 0.05 * np.abs(images - other).max()


def test_matching_asks_for_background_and_neighbors():
    layout = some_layout()
    right = jnp.zeros((BATCH, SIZE, SIZE, READ)).at[..., 0].set(layout[..., 0])
    for channel, (down, across) in enumerate(OFFSETS, 1):
        moved = jnp.roll(layout, (-down, -across), (1, 2))
        right = right.at[..., channel].set((layout * moved).sum(-1))
    logits = 20 * (2 * right - 1)
    assert layout_matching(logits, layout).max() < 1e-4
    assert layout_matching(-logits, layout).min() > 10
    order = shuffle_segments(layout, normal(3, BATCH, SEGMENTS))
    np.testing.assert_allclose(
        layout_matching(logits / 20, order), layout_matching(logits / 20, layout), rtol=1e-5
    )
    with pytest.raises(ValueError, match=f"{READ} logits"):
        layout_matching(logits[..., 1:], layout)


def test_fidelity_counts_segments_that_are_there():
    logits = jnp.array([[2.0, -30.0, -1.0]])
    area = jnp.array([[0.5, 0.0, 0.5]])
    expected = (np.log1p(np.exp(-2.0)) + np.log1p(np.exp(1.0))) / 2
    np.testing.assert_allclose(segment_fidelity(logits, area, real=True), [expected], rtol=1e-5)
    expected = (np.log1p(np.exp(2.0)) + np.log1p(np.exp(-1.0))) / 2
    np.testing.assert_allclose(segment_fidelity(logits, area, real=False), [expected], rtol=1e-5)


def test_features_are_pooled_by_segment():
    layout = some_layout()
    pooled, area = pool_segments(layout, layout)
    np.testing.assert_allclose(pooled, np.broadcast_to(np.eye(SEGMENTS), pooled.shape), atol=1e-5)
    np.testing.assert_allclose(area.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("size", [64, 128, 256])
def test_features_of_a_pixel_are_those_of_its_segment(size):
    layout = jnp.zeros((1, size, size, 2)).at[..., 0].set(1).at[0, 3, 5].set([0, 1])
    pooled, _ = pool_segments(jnp.ones((1, size, size, 3)), layout)
    np.testing.assert_allclose(pooled, 1, rtol=1e-5)


def test_shuffled_layouts_keep_their_background_and_their_segments():
    layout = some_layout()
    other = shuffle_segments(layout, normal(5, BATCH, SEGMENTS))
    np.testing.assert_array_equal(other[..., 0], layout[..., 0])
    np.testing.assert_array_equal(
        np.sort(other.sum((1, 2))[:, 1:], 1), np.sort(layout.sum((1, 2))[:, 1:], 1)
    )
    assert not np.array_equal(other, layout)


def test_noise_is_of_every_resolution():
    noise = hierarchical_noise(jax.random.key(0), (64, 8, 8, 2), 0.5)
    np.testing.assert_allclose(noise.var(), 3 * 0.25, rtol=0.1)
    cells = shrink(noise, 2)  # of these the coarsest noise is left, and little of the others
    np.testing.assert_allclose(cells.var(), 0.25 * (1 + 1 / 4 + 1 / 16), rtol=0.15)


def test_moved_maps_leave_the_image():
    maps = jnp.arange(9.0).reshape(1, 3, 3)
    expected = [[[-1, -1, -1], [-1, 0, 1], [-1, 3, 4]]]
    np.testing.assert_array_equal(move_maps(maps, 1, 1, -1.0), expected)
    np.testing.assert_array_equal(move_maps(maps, 0, 0, -1.0), maps)


def test_pieces_of_segments_are_counted():
    layouts = np.zeros((2, 6, 6), int)
    layouts[0, 0, 0] = layouts[0, 5, 5] = 1
    layouts[0, 2:4, 2:4] = 2
    layouts[1, :3] = 3
    found = layout_counts(layouts)
    assert found["segments"] == 1.5 and found["pieces"] == (2 + 1 + 1) / 3
    np.testing.assert_allclose(found["background"], (30 / 36 + 18 / 36) / 2)


def test_edits_are_measured_where_the_segment_was_and_is():
    layouts = np.zeros((2, 1, 4, 4), int)
    layouts[0, 0, 0] = 1
    moved = np.roll(layouts, 1, 2)
    images = np.zeros((2, 4, 4, 3), np.uint8)
    changed = images.copy()
    changed[0, :2] = 10
    changed[0, 3] = 4
    nothing = np.zeros((2, 4, 4))
    before = PlannedScenes(images, layouts, nothing, nothing)
    after = PlannedScenes(changed, moved, nothing, nothing)
    change = measure_edit(before, after, SegmentEdit(1, down=1))
    np.testing.assert_array_equal(change.inside, [10, np.nan])
    np.testing.assert_array_equal(change.outside, [2, np.nan])
    np.testing.assert_array_equal(change.everywhere, [6, 0])


def test_no_change_is_outside_of_a_segment_that_covers_the_image():
    layouts, images = np.ones((1, 1, 4, 4), int), np.zeros((1, 4, 4, 3), np.uint8)
    scenes = PlannedScenes(images, layouts, np.zeros((1, 4, 4)), np.zeros((1, 4, 4)))
    change = measure_edit(scenes, scenes._replace(images=images + 5), SegmentEdit(1))
    np.testing.assert_array_equal(change.outside, [np.nan])
