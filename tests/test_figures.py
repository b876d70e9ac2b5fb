"""What the cells of `visualize`'s figures show, compared with images made directly."""

import dataclasses

import numpy as np
import pytest
from baselines import baseline_config
from exports import initial_variables
from tiny import tiny_config

from ganformer_jax.experiment.figures import (
    FIGURES,
    FigureContext,
    Still,
    Unsuitable,
    Video,
    interpolation,
    mixing,
    variation,
)
from ganformer_jax.experiment.figures.cells import region_cell
from ganformer_jax.sampling import Synthesizer, interpolate, swap_components, swap_layers
from ganformer_jax.visualize import attention_segments, finest_attention

CONFIG = dataclasses.replace(tiny_config(3).generator, latent_size=12, label_size=2)
SEEDS, LABELS, PSI, FRAMES = (4, 9, 2), [0, 1, 1], 0.6, 3


@pytest.fixture(scope="module")
def context():
    variables = initial_variables(CONFIG)
    synthesizer = Synthesizer(CONFIG, batch_size=4)
    latents = synthesizer.latents(variables, SEEDS, LABELS, PSI)
    assert np.ptp(latents.w_BxKxLxD, 0).max() > 0
    z_BxKxD = synthesizer.z(SEEDS)
    return FigureContext(
        synthesizer, variables, latents, z_BxKxD, LABELS, PSI, frames=FRAMES, component=None
    )


@pytest.fixture
def draw(context, monkeypatch):
    """Draws a figure; returns the rows of images it is laid out from, and its videos."""

    def draw_it(name, context=context):
        laid_out = []

        def lay_out(rows, headings=(), row_headings=()):
            laid_out.append([[np.asarray(image) for image in row] for row in rows])
            return np.zeros((1, 1, 3), np.uint8)

        for module in (interpolation, mixing, variation):
            monkeypatch.setattr(module, "lay_out", lay_out)
        found = list(FIGURES[name](context))
        assert [one.name for one in found if isinstance(one, Still)] == [name]
        (rows,) = laid_out
        return rows, [one for one in found if isinstance(one, Video)]

    return draw_it


def same(found, expected):
    np.testing.assert_array_equal(np.stack(found), np.stack(expected))


@pytest.mark.parametrize("name", ["interpolation-w", "interpolation-z"])
def test_paths_begin_and_end_at_their_images(context, draw, name):
    rows, (video,) = draw(name)
    made = context.made.images
    same([row[0] for row in rows], made[:-1])
    same([row[-1] for row in rows], made[1:])
    assert all((row[0] != row[len(row) // 2]).any() for row in rows)
    frames = list(video.frames)
    assert len(frames) == video.count == len(SEEDS) * FRAMES
    side = frames[0].shape[0] // made.shape[1]
    same([frame[::side, ::side] for frame in frames[::FRAMES]], made)
    assert all((one != other).any() for one, other in zip(frames, frames[1:], strict=False))


def test_points_of_a_path_in_w(context, draw):
    rows, _ = draw("interpolation-w")
    w = context.latents.w_BxKxLxD
    t = 3 / (len(rows[1]) - 1)
    between = interpolate(w[1], w[2], t)[None]
    same(rows[1][3:4], context.images(context.latents.take([0]).with_w(between)))


def test_paths_keep_what_is_removed(context, draw):
    """As in latents of `edit --remove`; a component that one image has is hidden in one half."""
    mask = np.array([[1, 0, 1], [1, 0, 1], [1, 1, 1]], np.float32)
    hidden = dataclasses.replace(context.latents, mask_BxK=mask)
    other = dataclasses.replace(context, latents=hidden)
    made = other.made.images
    assert (made[0] != context.made.images[0]).any()
    rows, (video,) = draw("interpolation-w", other)
    same([row[0] for row in rows], made[:-1])
    same([row[-1] for row in rows], made[1:])
    assert len(list(video.frames)) == video.count
    rows, _ = draw("interpolation-components", other)
    same([row[0] for row in rows], made[[0] * CONFIG.components])


def test_paths_keep_what_is_moved(context):
    shift = np.zeros((3, CONFIG.components, 2), np.float32)
    shift[:, 1] = [[0.5, 0.0], [0.0, 1.0], [0.0, 0.0]]
    latents = dataclasses.replace(context.latents, shift_BxKx2=shift)
    moved = dataclasses.replace(context, latents=latents)
    t = np.array([0.0, 0.25, 1.0])
    w_BxKxLxD = np.repeat(latents.w_BxKxLxD[:1], 3, 0)
    found = interpolation._on_path(moved, 0, 1, t, w_BxKxLxD).shift_BxKx2
    assert found is not None
    np.testing.assert_allclose(found[:, 1], [[0.5, 0.0], [0.375, 0.25], [0.0, 1.0]])


def test_attention_is_made_of_the_images_that_figures_show(context, monkeypatch):
    rows = np.arange(20) % len(SEEDS)
    many = dataclasses.replace(
        context,
        latents=context.latents.take(rows),
        z_BxKxD=context.z_BxKxD[rows],
        labels=[LABELS[row] for row in rows],
    )
    with_attention, make = [], Synthesizer.__call__

    def counted(self, variables, latents):
        with_attention.extend([len(latents)] if self.attention else [])
        return make(self, variables, latents)

    monkeypatch.setattr(Synthesizer, "__call__", counted)
    for name in ("samples", "attention", "segments", "layers", "mixing-components", "removal"):
        list(FIGURES[name](many))
    assert with_attention == [8]
    assert many.first.labels == [LABELS[row] for row in rows[:8]]


def test_one_component_moves_to_the_second_image(context, draw):
    rows, _ = draw("interpolation-components")
    w = context.latents.w_BxKxLxD
    same([row[0] for row in rows], context.made.images[[0] * CONFIG.components])
    for component, row in enumerate(rows):
        swapped = swap_components(w[:1], w[1:2], [component])
        same(row[-1:], context.images(context.latents.take([0]).with_w(swapped)))
    one, _ = draw("interpolation-components", dataclasses.replace(context, component=1))
    same(one[0], rows[1])


def test_layers_of_other_images(context, draw):
    (others, *rows), _ = draw("mixing-layers")
    w, made = context.latents.w_BxKxLxD, context.made.images
    same(others[1:], made[1:])
    layers = w.shape[2]
    used = []
    for row, part in zip(rows, np.array_split(np.arange(layers), 3), strict=True):
        same(row[:1], made[:1])
        mixed = swap_layers(w[:1], w[1:], part)
        same(row[1:], context.images(context.latents.take([0]).with_w(mixed)))
        used += list(part)
    assert used == list(range(layers))


def test_components_of_other_images(context, draw):
    (others, *rows), _ = draw("mixing-components")
    w, made = context.latents.w_BxKxLxD, context.made.images
    same(others[1:], made)
    segments = attention_segments(finest_attention(context.made.attention)[0])
    side = made.shape[1] // len(segments)
    segments = segments.repeat(side, 0).repeat(side, 1)
    assert len(np.unique(segments)) > 1
    for component, (region, image, *mixed) in enumerate(rows):
        same([image], made[:1])
        swapped = swap_components(w[:1], w[1:], [component])
        same(mixed, context.images(context.latents.take([0]).with_w(swapped)))
        same([region], [region_cell(made[0], segments == component)])


def test_hidden_components_and_what_changes(context, draw):
    rows, _ = draw("removal")
    for component in range(CONFIG.components):
        without = context.images(context.latents.without(component))
        for number, (before, after) in enumerate(zip(context.made.images, without, strict=True)):
            same([rows[2 * number][0], rows[2 * number][1 + component]], [before, after])
            change = np.minimum(2 * np.abs(after.astype(int) - before).max(-1), 255)
            assert change.max() > 0
            same([rows[2 * number + 1][1 + component]], [np.stack([change] * 3, -1)])


def test_truncation_ends_at_the_mean_and_at_the_whole_latent(context, draw):
    rows, _ = draw("truncation")
    whole = context.synthesizer.latents(context.variables, SEEDS, LABELS, 1.0)
    same([row[-1] for row in rows], context.images(whole))
    chosen = variation.PSI.index(0.0)
    same([row[chosen] for row in rows], [rows[0][chosen]] * len(rows))
    assert (rows[0][-1] != rows[1][-1]).any()


@pytest.mark.parametrize("kind", ["ganformer", "dcgan with classes"])
def test_truncation_is_that_of_samples(context, draw, kind):
    """The cutoff included, and of a DCGAN the class in w, which stays."""
    cutoff, variables, synthesizer = 2, context.variables, context.synthesizer
    if kind != "ganformer":
        cutoff, config = None, baseline_config("dcgan").generator
        variables, synthesizer = initial_variables(config), Synthesizer(config, batch_size=4)
    latents = synthesizer.latents(variables, SEEDS, LABELS, PSI, cutoff)
    given = (LABELS, PSI, cutoff)
    z_BxKxD = synthesizer.z(SEEDS)
    rows, _ = draw("truncation", FigureContext(synthesizer, variables, latents, z_BxKxD, *given))
    for column, psi in enumerate(variation.PSI):
        truncated = synthesizer.latents(variables, SEEDS, LABELS, psi, cutoff)
        same([row[column] for row in rows], synthesizer(variables, truncated).images)


def test_a_component_that_is_the_last_visible_one_is_not_hidden(context, draw):
    """Attention to none of them would be attention to all."""
    hidden = context.latents.without(0).without(2)
    with pytest.raises(Unsuitable, match="component 2 is the last visible one in 3 of 3 images"):
        draw("removal", dataclasses.replace(context, latents=hidden))


def test_mean_and_deviation_of_noise(context, draw):
    rows, _ = draw("noise")
    synthesizer = dataclasses.replace(context.synthesizer, noise="random")
    deviations = []
    for number, (*shown, mean, deviation) in enumerate(rows):
        latents = context.latents.take([number] * variation.DRAWS)
        seeds = np.arange(variation.DRAWS, dtype=np.uint32)
        latents = dataclasses.replace(latents, noise_seeds_B=seeds)
        images = synthesizer(context.variables, latents).images.astype(np.float32)
        same(shown, images[: variation.SHOWN])
        np.testing.assert_allclose(mean, images.mean(0), atol=0.501)
        deviations.append((images.std(0).mean(-1), deviation))
    largest = max(exact.max() for exact, _ in deviations)
    assert largest > 0
    for exact, drawn in deviations:
        np.testing.assert_allclose(drawn[..., 0], exact * 255 / largest, atol=0.51)
