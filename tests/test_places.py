"""Places of components: where they act, what moves them, and what cannot be."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import random_variables, tiny_config

from ganformer_jax import AttentionConfig, Generator, MappingConfig
from ganformer_jax.config.checks import validate
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.component_metrics import layer_segments, segmentation_scores
from ganformer_jax.nn.attention import BipartiteAttention
from ganformer_jax.nn.places import (
    CENTER_GAIN,
    ComponentPlaces,
    Places,
    place_scores,
    spread_means,
)
from ganformer_jax.sampling import Synthesizer, read_latents, save_latents
from ganformer_jax.visualize import NO_COMPONENT, attention_segmentation

GENERATOR = tiny_config().generator
SIMPLEX = dataclasses.replace(GENERATOR.attention, kmeans_iterations=0, dropout=0.0)


ONE, OTHER = jnp.eye(2), jnp.eye(2)[::-1]


def config(places, base_grid=(4, 4)):
    attention = dataclasses.replace(SIMPLEX, places=places)
    return dataclasses.replace(
        GENERATOR, attention=attention, attention_resolutions=(4, 8), base_grid=base_grid
    )


@functools.cache
def unmoved(config):
    return made(config)


def made(config, **options):
    """Images and attention of three images, and the places of their components."""
    generator = Generator(config)
    z = jax.random.normal(jax.random.key(0), (3, config.num_latents, config.z_size))
    variables = random_variables(lambda: generator.init(jax.random.key(0), z, noise="const"))
    height, width = config.image_size
    module = ComponentPlaces((width / max(height, width), height / max(height, width)))

    @jax.jit
    def make(variables):
        w = generator.apply(variables, z, method="map")
        layers = (*w.shape[:2], generator.num_layers, w.shape[2])
        w_BxKxLxD = jnp.broadcast_to(w[:, :, None], layers)
        images, out = generator.apply(
            variables, w_BxKxLxD, noise="const", method="synthesize", **options
        )
        params = {"params": variables["params"]["synthesis"]["places"]}
        return images, out["attention"], module.apply(params, w[:, :-1])

    return jax.device_get(make(variables))


def test_places_stay_in_the_image_whatever_the_latents():
    """Outside it a component would get no gradient to return by."""
    w = 30 * jax.random.normal(jax.random.key(0), (8, 3, 4))
    places, _ = ComponentPlaces((1.0, 0.5)).init_with_output(jax.random.key(1), w)
    assert (jnp.abs(places.center_BxKx2) <= jnp.array([1.0, 0.5])[None, None]).all()
    rounding = 1e-6
    assert places.spread_BxKx2.min() >= 0.04 - rounding
    assert places.spread_BxKx2.max() <= 0.36 + rounding


def test_a_learning_rate_multiplier_keeps_places_and_shortens_steps():
    """Adam's steps of stored parameters have the same length, whatever the multiplier."""
    w = jax.random.normal(jax.random.key(0), (2, 3, 4))

    def centers(multiplier):
        module = ComponentPlaces((1.0, 0.5), multiplier)
        places, variables = module.init_with_output(jax.random.key(1), w)
        stepped = jax.tree.map(lambda leaf: leaf + 0.01, variables)
        return places.center_BxKx2, module.apply(stepped, w).center_BxKx2

    with jax.default_matmul_precision("highest"):
        (start, stepped), (same, barely) = centers(1.0), centers(0.1)
    np.testing.assert_allclose(same, start, rtol=1e-5, atol=1e-6)
    ratio = np.abs(stepped - start).max() / np.abs(barely - start).max()
    assert ratio == pytest.approx(10, rel=0.1)


def test_places_start_spread_over_the_image():
    """Every quarter of it has a component at least, and no two are close."""
    for count in (8, 16):
        means_KxD = spread_means(jax.random.key(0), (count, 5))
        centers_Kx2 = np.tanh(CENTER_GAIN * means_KxD[:, :2])
        quarters = {tuple(quarter) for quarter in centers_Kx2 > 0}
        between = np.linalg.norm(centers_Kx2[:, None] - centers_Kx2[None], axis=-1)
        assert len(quarters) == 4
        assert (between + 2 * np.eye(count)).min() > 0.6 / np.sqrt(count)


def test_labels_change_images_without_a_style():
    """The global latent, which reads labels elsewhere, makes nothing of such an image."""
    synthesis = dataclasses.replace(GENERATOR.synthesis, style=False)
    mapping = dataclasses.replace(GENERATOR.mapping, learning_rate_multiplier=1.0)
    options = {"synthesis": synthesis, "mapping": mapping, "label_size": 2}
    options["attention_resolutions"] = (4, 4)
    generator = Generator(dataclasses.replace(config(True), **options))
    z = jax.random.normal(jax.random.key(0), (2, 3, 4))
    init = functools.partial(generator.init, noise="const")
    variables = random_variables(lambda: init(jax.random.key(0), z, jnp.zeros((2, 2))))
    run = jax.jit(lambda labels: generator.apply(variables, z, labels, noise="const")[0])
    assert np.abs(run(ONE) - run(OTHER)).max() > 1e-3


def test_scores_are_logarithms_of_gaussians():
    random = np.random.default_rng(0)
    center, spread, height = (random.random(shape) for shape in ((2, 3, 2), (2, 3, 2), (2, 3)))
    found = place_scores(Places(*map(jnp.asarray, (center, spread, height))), 4, 8)
    expected = np.empty((2, 4, 8, 3))
    for row, y in enumerate(np.arange(4) * 2 / 7 - 3 / 7):  # half as high as wide: in the middle
        for column, x in enumerate(np.linspace(-1, 1, 8)):
            squares = ((np.array([x, y]) - center) / spread) ** 2
            expected[:, row, column] = height - squares.sum(-1) / 2
    np.testing.assert_allclose(found, expected.reshape(2, 32, 3), rtol=1e-5)


def test_attention_is_the_softmax_of_the_scores_and_of_nothing():
    _, attention, places = unmoved(config(True))
    for maps_BxKxNxHxW in attention:
        side = maps_BxKxNxHxW.shape[-1]
        expected = with_nothing(place_scores(places, side, side))
        found = maps_BxKxNxHxW[:, :, 0].reshape(3, 2, -1).swapaxes(1, 2)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert found.sum(-1).max() < 1


def with_nothing(scores):
    """The softmax of scores and of 0, without the latter."""
    powers = np.exp(scores)
    return powers / (1 + powers.sum(-1, keepdims=True))


def test_every_head_attends_to_the_places_that_are_visible():
    keys = jax.random.split(jax.random.key(0), 3)
    x, y, scores = (
        jax.random.normal(key, shape)
        for key, shape in zip(keys, [(2, 6, 4), (2, 3, 5), (2, 6, 3)], strict=True)
    )
    attention = BipartiteAttention(heads=2)
    given = {"place_scores_BxFxT": scores, "mask_BxT": jnp.array([[1.0, 0.0, 1.0]] * 2)}
    variables = random_variables(lambda: attention.init(jax.random.key(1), x, y, **given))
    assert set(variables["params"]) == {"values", "modulation"}
    _, found, _ = jax.jit(attention.apply)(variables, x, y, **given)
    expected = with_nothing(scores[..., [0, 2]])[:, None].repeat(2, 1)
    np.testing.assert_allclose(found[..., [0, 2]], expected, atol=1e-6)
    assert np.asarray(found[..., 1]).max() == 0


def test_all_components_can_be_hidden():
    """Pixels then attend to nothing, so images do not depend on the components."""
    options = dataclasses.replace(config(True), attention_resolutions=(4, 4))
    synthesizer = Synthesizer(options, 3, attention=True)
    z = np.zeros((1, options.num_latents, options.z_size), np.float32)
    init = functools.partial(Generator(options).init, noise="const")
    variables = random_variables(lambda: init(jax.random.key(0), z))
    latents = synthesizer.latents(variables, [1, 2, 3])
    hidden = latents.without(0).take([0, 1, 2]).without(1)
    images, (maps,) = synthesizer(variables, hidden)
    assert maps.max() == 0
    w_BxKxLxD = np.where(np.arange(3)[:, None, None] < 2, -latents.w_BxKxLxD, latents.w_BxKxLxD)
    np.testing.assert_array_equal(synthesizer(variables, hidden.with_w(w_BxKxLxD)).images, images)
    assert (synthesizer(variables, latents.with_w(w_BxKxLxD)).images != images).any()


def test_pixels_that_attend_to_nothing_are_of_no_component():
    """Unless the question is which component is the nearest; the sheet shows them in gray."""
    pixels = np.array([[0.3, 0.6], [0.1, 0.2], [0.04, 0.01], [0.0, 0.0]], np.float32)
    maps = pixels.T.reshape(1, 2, 1, 2, 2)
    (segments,) = layer_segments([maps], 2).values()
    np.testing.assert_array_equal(segments, [[[1, 1], [2, 2]]])
    (segments,) = layer_segments([maps], 2, nothing=False).values()
    np.testing.assert_array_equal(segments, [[[1, 1], [0, 0]]])
    colors = attention_segmentation(maps[0, :, 0], hard=True)
    gray = (colors == NO_COMPONENT).all(-1)
    np.testing.assert_array_equal(gray, [[False, False], [True, True]])


def test_who_owns_an_object_and_how_far_it_reaches_are_two_questions():
    objects = np.array([[[0, 1, 1, 2, 2, 0]]])
    nearest, extents = np.array([[[0, 0, 0, 1, 1, 1]]]), np.array([[[2, 0, 0, 1, 1, 2]]])
    assert segmentation_scores(objects, nearest, extents) == {"ari": 1.0, "iou": 1.0}
    assert segmentation_scores(objects, nearest)["iou"] < 0.7


@pytest.mark.parametrize(
    "base_grid",
    [(4, 4), pytest.param((2, 4), marks=pytest.mark.slow)],
    ids=["square", "oblong"],
)
def test_a_moved_component_attends_where_it_was_moved_to(base_grid):
    """One step of the finest grid to the right and down; the other component stays."""
    options = config(True, base_grid)
    step = 2 / (max(options.image_size) - 1)
    shift = jnp.zeros((3, 2, 2)).at[:, 0].set(step)
    _, _, places = unmoved(options)
    _, (*_, found), _ = made(options, component_shift_BxKx2=shift)
    scores_BxHxWxK = place_scores(places, *options.image_size)
    scores_BxHxWxK = scores_BxHxWxK.reshape(3, *options.image_size, 2)
    both = jnp.stack([scores_BxHxWxK[:, :-1, :-1, 0], scores_BxHxWxK[:, 1:, 1:, 1]], -1)
    expected = np.moveaxis(with_nothing(both), -1, 1)
    np.testing.assert_allclose(found[:, :, 0, 1:, 1:], expected, atol=1e-5)


def test_all_parameters_of_places_are_trained():
    options = dataclasses.replace(config(True), attention_resolutions=(4, 4))
    generator = Generator(options)
    z = jax.random.normal(jax.random.key(0), (3, options.num_latents, options.z_size))
    variables = random_variables(lambda: generator.init(jax.random.key(0), z, noise="const"))

    def loss(params):
        images, _ = generator.apply({**variables, "params": params}, z, noise="const")
        return jnp.square(images).sum()

    gradients = jax.jit(jax.grad(loss))(variables["params"])["synthesis"]["places"]
    assert all(np.abs(leaf).min() > 0 for leaf in jax.tree.leaves(gradients))


def test_moves_are_kept_in_files(tmp_path):
    options = config(True)
    generator = Generator(options)
    z = np.zeros((1, options.num_latents, options.z_size), np.float32)
    variables = random_variables(lambda: generator.init(jax.random.key(0), z, noise="const"))
    synthesizer = Synthesizer(options, 4, attention=True)
    latents = synthesizer.latents(variables, range(3))
    moved = latents.moved(1, 0.5, -0.25).moved(1, 0.25, 0)
    assert moved.shift_BxKx2 is not None
    np.testing.assert_array_equal(moved.shift_BxKx2[:, 1], np.tile([0.75, -0.25], (3, 1)))
    save_latents(tmp_path / "latents.npz", moved)
    read = read_latents(tmp_path / "latents.npz", options)
    before, after, again = (synthesizer(variables, each) for each in (latents, moved, read))
    assert not np.array_equal(before.attention[0], after.attention[0])
    np.testing.assert_array_equal(after.images, again.images)
    np.testing.assert_array_equal(read.take([2]).shift_BxKx2, moved.shift_BxKx2[2:])
    with pytest.raises(UserError, match="shift moves places of components, and this generator"):
        read_latents(tmp_path / "latents.npz", config(False))
    with pytest.raises(ValueError, match=r"component must be in 0\.\.1, got 2"):
        latents.moved(2, 0, 0)


def test_what_has_no_places_is_not_moved():
    with pytest.raises(ValueError, match="components without places cannot be moved"):
        made(config(False), component_shift_BxKx2=jnp.zeros((3, 2, 2)))


def test_places_alone_have_no_centroids():
    experiment = tiny_config()
    duplex = dataclasses.replace(SIMPLEX, places=True, kmeans_iterations=1)
    generator = dataclasses.replace(experiment.generator, attention=duplex)
    with pytest.raises(UserError, match="set generator.attention.kmeans_iterations to 0"):
        validate(dataclasses.replace(experiment, generator=generator))


@pytest.mark.parametrize(("label_width", "fits"), [(4, True), (5, False)])
def test_heads_divide_the_width_of_z_with_its_label(label_width, fits):
    """Labels stand beside z of components with places, before layers that are not residual."""
    mapping = MappingConfig(num_layers=2, residual=False, label_width=label_width)
    attention = AttentionConfig(heads=2, kmeans_iterations=0, places=True)
    experiment = tiny_config(2)
    generator = dataclasses.replace(
        experiment.generator, attention=attention, mapping=mapping, label_size=3
    )
    experiment = dataclasses.replace(experiment, generator=generator)
    if fits:
        validate(experiment)
    else:
        with pytest.raises(UserError, match="self-attention, 9: use a divisor"):
            validate(experiment)
