"""Images that are not square: shapes, positions, carried assignments, training, figures, files."""

import dataclasses
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from safetensors.numpy import save_file
from tiny import random_variables, tiny_config, tiny_generator
from training import gan_programs, on_host, run_steps

from ganformer_jax import (
    AttentionConfig,
    Discriminator,
    DiscriminatorConfig,
    Generator,
    UserError,
    load,
    stack_attention,
    validate_networks,
)
from ganformer_jax.config import Config, GeneratorConfig
from ganformer_jax.config.dicts import from_dict, to_dict
from ganformer_jax.convert.export import save_generator
from ganformer_jax.data.batches import DatasetSource, open_dataset, train_batches
from ganformer_jax.evaluate.path_length import images_for_lpips
from ganformer_jax.experiment.data import ExperimentData
from ganformer_jax.metrics.sliced_wasserstein import sliced_wasserstein
from ganformer_jax.nn.attention import assignments, upsample_assignments
from ganformer_jax.nn.positions import GridPositions, sinusoidal
from ganformer_jax.sampling import Sampler
from ganformer_jax.visualize import attention_figure, segments_grid

# Base grid, longer side, and the image that they make.
WIDE, CAMERA, TALL = ((2, 4), 8, (4, 8)), ((3, 4), 8, (6, 8)), ((4, 2), 8, (8, 4))
SHAPES = pytest.mark.parametrize(("base_grid", "resolution", "size"), [WIDE, CAMERA, TALL])
WIDE_IS_SLOW, TALL_IS_SLOW = (pytest.param(*s, marks=pytest.mark.slow) for s in (WIDE, TALL))


def rectangular(base_grid=WIDE[0], resolution=WIDE[1], components=2, **attention):
    """The tiny experiment with another image, attention on all grids."""
    config = tiny_config(components)
    generator = dataclasses.replace(
        config.generator,
        base_grid=base_grid,
        resolution=resolution,
        attention_resolutions=(2, 16),
        attention=dataclasses.replace(AttentionConfig(), dropout=0.0, **attention),
    )
    return dataclasses.replace(config, generator=generator)


def initialize(config: GeneratorConfig):
    z_2xKxD = jax.random.normal(jax.random.key(1), (2, config.num_latents, config.z_size))
    generator = Generator(config)
    return z_2xKxD, random_variables(
        lambda: generator.init(jax.random.key(0), z_2xKxD, noise="const")
    )


def shapes_of(config: GeneratorConfig):
    """Parameters and constants by name, without computing any."""
    z_1xKxD = jnp.zeros((1, config.num_latents, config.z_size))
    init = lambda: Generator(config).init(jax.random.key(0), z_1xKxD, noise="const")  # noqa: E731
    leaves = jax.tree_util.tree_leaves_with_path(jax.eval_shape(init))
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}


def test_only_what_lies_on_the_grid_depends_on_its_shape():
    square, wide = shapes_of(tiny_config().generator), shapes_of(rectangular().generator)
    wide = {name: shape for name, shape in wide.items() if name in square}
    assert square.keys() == wide.keys()
    other = {name for name, shape in square.items() if shape != wide[name]}
    assert all(name.endswith(("['constant']", "['noise']", "['grid']")) for name in other)
    stem = "['params']['synthesis']['stem']['constant']"
    assert square[stem] == (4, 4, 4) and wide[stem] == (2, 4, 4)


@pytest.mark.parametrize(("base_grid", "resolution", "size"), [WIDE, CAMERA, TALL_IS_SLOW])
def test_images_maps_logits_and_gradients(base_grid, resolution, size):
    config = rectangular(base_grid, resolution, kmeans_carried=True)
    generator = Generator(config.generator)
    assert config.generator.image_size == size
    z_2xKxD, variables = initialize(config.generator)
    discriminator = Discriminator(config.discriminator, base_grid)
    zeros = jnp.zeros((2, *size, 3))
    fixed = random_variables(lambda: discriminator.init(jax.random.key(2), zeros))

    def loss(params):
        images, out = generator.apply({**variables, "params": params}, z_2xKxD, noise="const")
        logits, discriminator_out = discriminator.apply(fixed, images)
        return logits.sum(), (images, logits, out["attention"], discriminator_out["features"])

    gradients, aux = jax.device_get(jax.jit(jax.grad(loss, has_aux=True))(variables["params"]))
    images, logits, maps, features = aux
    assert images.shape == (2, *size, 3) and logits.shape == (2, 1)
    assert features.shape[1:3] == base_grid
    grids = [tuple(side << i for side in base_grid) for i in range(4)]
    assert {layer.shape[-2:] for layer in maps} == {g for g in grids if max(g) <= resolution}
    np.testing.assert_allclose(maps[-1].sum(1), 1.0, atol=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    stem = gradients["synthesis"]["stem"]["constant"]
    assert stem.shape[:2] == base_grid and stem.any(-1).all()
    assert stack_attention(maps, resolution).shape[-2:] == size
    assert stack_attention(maps, size).shape[-2:] == size


def test_discriminators_refuse_images_of_another_shape():
    images = jnp.zeros((1, 8, 8, 3))
    with pytest.raises(ValueError, match="8x8 are not the base grid, 2x4, doubled"):
        Discriminator(DiscriminatorConfig(), (2, 4)).init(jax.random.key(0), images)
    with pytest.raises(ValueError, match="12x12 are not the base grid, 4x4, doubled"):
        Discriminator(DiscriminatorConfig()).init(jax.random.key(0), jnp.zeros((1, 12, 12, 3)))


def test_attention_maps_of_another_shape_are_not_stacked():
    maps = (jnp.ones((1, 1, 1, 2, 4)),)
    for wanted in ((8, 8), 6, (4, 4)):
        with pytest.raises(ValueError, match="maps of 2x4 do not fill"):
            stack_attention(maps, wanted)


def test_positions_are_the_middle_of_the_square():
    square = np.asarray(sinusoidal(8, 8, 8))
    np.testing.assert_allclose(sinusoidal(4, 8, 8), square[2:6], atol=1e-6)
    np.testing.assert_allclose(sinusoidal(8, 6, 8), square[:, 1:7], atol=1e-6)
    between = np.asarray(sinusoidal(3, 4, 8))  # rows lie between those of the square
    np.testing.assert_allclose(between[1, :, 4:6], 0.0, atol=1e-6)
    np.testing.assert_allclose(between[0, 0, 4], np.sin(-2 / 3), atol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "trainable", "trainable2d"])
def test_trained_positions_follow_the_grid(kind):
    module = GridPositions(2, 4, 8, kind)
    encoding, variables = module.init_with_output(jax.random.key(0))
    assert encoding.shape == (8, 8)
    if kind == "trainable":
        rows, columns = variables["params"]["rows"], variables["params"]["columns"]
        last = encoding.reshape(2, 4, 8)[1, 3]
        np.testing.assert_array_equal(last, np.concatenate([columns[3], rows[1]]))


@pytest.mark.parametrize("grid", [(2, 4), (4, 2), (3, 4)])
def test_carried_assignments_stay_where_they_are(grid):
    height, width = grid
    scores = jax.random.normal(jax.random.key(0), (2, 1, height * width, 3))
    shares = assignments(jax.nn.softmax(scores))
    carried = upsample_assignments(shares, (2 * height, 2 * width))
    np.testing.assert_allclose(carried.sum(-1), 1.0, atol=1e-5)
    grown = carried.reshape(2, 1, 3, 2 * height, 2 * width)
    small = shares.reshape(2, 1, 3, height, width) / 4
    for row in (0, 1):
        np.testing.assert_allclose(grown[..., row::2, 1 - row :: 2], small, atol=1e-6)
    np.testing.assert_array_equal(upsample_assignments(shares, grid), shares)


@pytest.mark.parametrize("path_length", [0.0, pytest.param(2.0, marks=pytest.mark.slow)])
def test_a_training_step(path_length):
    """Without components, whose gradients on such grids are tested above."""
    config = rectangular(components=0)
    loss = dataclasses.replace(config.loss, path_length_weight=path_length)
    train = dataclasses.replace(config.train, batch_size=4)
    config = dataclasses.replace(config, loss=loss, train=train)
    programs = gan_programs(config)
    before = on_host(programs.init(jax.random.key(0))).generator
    images = np.random.default_rng(0).integers(0, 256, (4, 4, 8, 3), np.uint8)
    state, (info,) = run_steps(programs, [{"images": images}])
    assert "loss/r1" in info and ("loss/path_length" in info) == bool(path_length)
    assert all(np.isfinite(value).all() for value in info.values())
    moved = jax.tree.map(lambda old, new: np.abs(old - new).max(), before, state.generator)
    assert moved["synthesis"]["stem"]["constant"] > 0


@pytest.mark.parametrize(("base_grid", "resolution", "size"), [TALL, WIDE_IS_SLOW])
def test_samples_and_their_attention(base_grid, resolution, size):
    config = rectangular(base_grid, resolution).generator
    _, variables = initialize(config)
    samples = Sampler(config, 2, attention=True)(variables, range(3))
    assert samples.images.shape == (3, *size, 3)
    figure = attention_figure(samples.images, samples.attention, rows=2)
    height, width = size[0] * (128 // size[1]), 128  # cells are as wide as their headings need
    columns = config.components + 3
    assert figure.shape == (22 + 2 * (height + 4) + 4, columns * (width + 4) + 4, 3)
    first = figure[22 + 4 : 22 + 4 + height, 4 : 4 + width]
    np.testing.assert_array_equal(first[:: 128 // size[1], :: 128 // size[1]], samples.images[0])
    segments = {"rows": np.broadcast_to(np.arange(size[0])[None, :, None] % 2, (3, *size))}
    assert segments_grid(samples.images, segments, cell=1, padding=0).shape[1] == 2 * size[1]


def test_an_export_keeps_the_shape(tmp_path):
    config = rectangular(*CAMERA[:2]).generator
    z_2xKxD, variables = initialize(config)
    save_generator(tmp_path / "g.safetensors", config, variables)
    generator, weights = load(tmp_path / "g.safetensors")
    assert generator.config == config
    run = jax.jit(lambda variables: generator.apply(variables, z_2xKxD, noise="const")[0])
    images, expected = run(weights), run(variables)
    np.testing.assert_allclose(images, expected, atol=1e-6)
    damaged, bad = dataclasses.replace(config, base_grid=(0, 4)), tmp_path / "bad.safetensors"
    refused = r"generator.base_grid is \[0, 4\]; each number should be"
    with pytest.raises(UserError, match=refused):
        save_generator(bad, damaged, variables)
    about = json.dumps({"version": 1, "generator": to_dict(damaged)})
    save_file({"x": np.zeros(1)}, bad, {"ganformer_jax": about})
    with pytest.raises(UserError, match=refused):
        load(bad)


def test_configs_from_before_are_square():
    values = to_dict(Config())
    del values["generator"]["base_grid"]
    assert from_dict(Config, values) == Config()
    assert Config().generator.image_size == (256, 256)


@pytest.mark.parametrize(
    ("base_grid", "resolution", "message"),
    [
        ((1, 4), 8, r"generator.base_grid is \[1, 4\]; each number should be from 2 to 16"),
        ((4, 17), 34, r"generator.base_grid is \[4, 17\]; each number should be from 2 to 16"),
        ((3, 6), 64, "base_grid, 6, doubled once or more, such as 48 or 96"),
        ((4, 8), 8, "base_grid, 8, doubled once or more, such as 16 or 32"),
        ((4, 4), 4, "a power of two from 8 up, such as 8 or 16"),
        ((4, 4), 48, "a power of two from 8 up, such as 32 or 64"),
    ],
)
def test_shapes_that_cannot_be_made(base_grid, resolution, message):
    config = rectangular(base_grid, resolution)
    with pytest.raises(UserError, match=message) as raised:
        validate_networks(config.generator, config.discriminator)
    assert "\n" not in str(raised.value)


@SHAPES
def test_shapes_that_can_be_made(base_grid, resolution, size):
    config = rectangular(base_grid, resolution)
    validate_networks(config.generator, config.discriminator)


def test_scenes_are_square(tmp_path):
    with pytest.raises(UserError, match="scenes are square, not 4x8: give data.name, or equal"):
        ExperimentData(rectangular())
    with pytest.raises(UserError, match="scenes are square, not 4x8"):
        open_dataset("scenes", tmp_path, size=(4, 8))


def test_pictures_are_read_at_their_height_and_width():
    picture = tfds.features.Image(shape=(4, 8, 3), encoding_format="png")
    features = tfds.features.FeaturesDict({"image": picture})
    image = np.random.default_rng(0).integers(0, 256, (4, 8, 3), np.uint8)
    png = io.BytesIO()
    Image.fromarray(image).save(png, "PNG")
    records = [features.serialize_example({"image": io.BytesIO(png.getvalue())})] * 2
    source = DatasetSource("mine", records, features, (4, 8), 3, 0)
    batch = next(train_batches(source, batch_size=2, seed=0, threads=0))
    np.testing.assert_array_equal(batch["images"], np.stack([image] * 2))
    turned = dataclasses.replace(source, size=(8, 4))
    with pytest.raises(UserError, match="mine holds images of shape 4x8x3, not 8x4x3"):
        turned[0]


def test_sliced_wasserstein_halves_until_the_shorter_side_is_small():
    options = {"descriptors_per_image": 4, "projections": 8}
    real, fake = np.random.default_rng(0).integers(0, 256, (2, 6, 32, 64, 3), np.uint8)
    key = jax.random.key(0)
    wide = sliced_wasserstein(real, fake, key, **options)
    assert list(wide) == ["swd_64", "swd_32", "swd"] and wide["swd"] > 0
    assert sliced_wasserstein(real, real, key, **options)["swd"] == 0
    camera = sliced_wasserstein(real[:, :24, :32], fake[:, :24, :32], key, **options)
    assert list(camera) == ["swd_32", "swd"]


def test_perceptual_path_length_sees_images_of_any_shape(monkeypatch):
    monkeypatch.setattr("ganformer_jax.evaluate.path_length.LARGEST", 5)
    config = dataclasses.replace(tiny_generator(8)[0].config, base_grid=(3, 4))
    z_2xKxD, variables = initialize(config)
    generator = Generator(config)

    @jax.jit
    def images():
        w_2xKxD = generator.apply(variables, z_2xKxD, method="map")
        return images_for_lpips(generator, variables, w_2xKxD)

    assert images().shape == (2, 3, 4, 3)
