"""Images of 2, 5 and more channels: prepared, trained, sampled, drawn, measured and exported."""

import dataclasses
import functools
import shlex

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from command_line import call
from exports import initial_variables
from images import make_folder, png
from PIL import Image
from tiny import tiny_config

from ganformer_jax import Generator, load
from ganformer_jax.config import Config, GeneratorConfig
from ganformer_jax.config.ganformer2 import ExecutionConfig, GANformer2Config
from ganformer_jax.config.kinds import kind_of
from ganformer_jax.config.prior import AutoencoderConfig, PriorConfig
from ganformer_jax.config.translation import TranslationConfig, TranslatorConfig
from ganformer_jax.data.batches import open_dataset, train_batches
from ganformer_jax.data.fit import Geometry
from ganformer_jax.data.fit_entry import fit_entry, stored_size
from ganformer_jax.data.prepare import prepare
from ganformer_jax.data.sources.arrays import ArraySource
from ganformer_jax.data.sources.folder import FolderSource
from ganformer_jax.data.sources.open import open_source
from ganformer_jax.data.sources.source import Unreadable
from ganformer_jax.data.spec import DatasetSpec
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.path_length import images_for_lpips
from ganformer_jax.experiment.kind_data import DATA
from ganformer_jax.visualize import save_png


def pixels(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


def written(path, array):
    np.save(path, array)
    return path


@pytest.mark.parametrize("channels", [2, 5, 6, 12, 32])
@pytest.mark.parametrize("is_first", [False, True])
def test_arrays_of_many_channels(tmp_path, channels, is_first):
    images = pixels(3, 40, 36, channels)
    array = images.transpose(0, 3, 1, 2) if is_first else images
    with ArraySource(written(tmp_path / "a.npy", array)) as source:
        assert source.channels == channels
        np.testing.assert_array_equal(source.read(1), images[1])


def test_usual_arrays_come_first_and_others_are_refused_as_before(tmp_path):
    np.savez(tmp_path / "a.npz", features=pixels(4, 8, 8, 6), images=pixels(4, 8, 8, 3))
    with ArraySource(tmp_path / "a.npz") as source:
        assert source.channels is None and source.read(0).shape == (8, 8, 3)
    with ArraySource(tmp_path / "a.npz", "features") as source:
        assert source.channels == 6
    for shape in ((4, 40, 40, 40), (4, 8, 8, 8), (4, 50, 8, 33)):
        with pytest.raises(UserError, match="C at most 32"):
            ArraySource(written(tmp_path / "b.npy", pixels(*shape)))


@pytest.mark.parametrize("geometry", [Geometry(8, 8), Geometry(4, 4), Geometry(4, 4, fit="pad")])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, bool])
def test_each_channel_is_converted_as_a_gray_image(geometry, dtype):
    image = pixels(8, 8, 5, dtype=dtype)
    fitted = fit_entry(image, dataclasses.replace(geometry, channels=5))
    assert fitted.size == stored_size(image) == (8, 8) and "of 5 channels" in fitted.kind
    for channel in range(5):
        gray = fit_entry(image[..., channel], dataclasses.replace(geometry, channels=1))
        np.testing.assert_array_equal(fitted.pixels_HxWxC[..., channel], gray.pixels_HxWxC[..., 0])


def test_entries_without_the_channels_are_unreadable():
    geometry = Geometry(8, 8, 6)
    for stored in (png(1), pixels(8, 8), pixels(8, 8, 5), pixels(8, 8, 3)):
        with pytest.raises(Unreadable, match="not an array of 6 channels"):
            fit_entry(stored, geometry)
    with pytest.raises(Unreadable, match="--value-range"):
        fit_entry(pixels(8, 8, 6, dtype=np.float32), geometry)
    values = np.linspace(-1, 1, 8 * 8 * 6, dtype=np.float32).reshape(8, 8, 6)
    found = fit_entry(values, geometry, (-1, 1)).pixels_HxWxC
    np.testing.assert_array_equal(found, np.round((values + 1) * 127.5))


@pytest.mark.parametrize("storage", ["png", "raw"])
@pytest.mark.parametrize("channels", [2, 6])
def test_what_was_stored_is_read(tmp_path, storage, channels):
    images = pixels(9, 8, 8, channels)
    spec = DatasetSpec("many", Geometry(8, 8, channels), storage)
    with ArraySource(written(tmp_path / "a.npy", images)) as source:
        made = prepare(source, spec, tmp_path / "data")
    stored = open_dataset(made.folder, made.folder, size=(8, 8), channels=channels)
    np.testing.assert_array_equal([stored[i]["images"] for i in range(9)], images)
    examples = tfds.builder_from_directory(made.folder).as_data_source("train")
    np.testing.assert_array_equal(examples[4]["image"], images[4])
    batch = next(train_batches(stored, batch_size=9, seed=0, mirror=True, threads=0))
    both = {image.tobytes() for image in (*images, *images[:, :, ::-1])}
    assert batch["images"].shape == (9, 8, 8, channels)
    assert {image.tobytes() for image in batch["images"]} <= both
    with pytest.raises(UserError, match=f"8x8x{channels}, not 8x8x3"):
        open_dataset(made.folder, made.folder, size=(8, 8), channels=3)
    with open_source(str(made.folder)) as again:
        assert again.channels == channels
        copy = prepare(again, dataclasses.replace(spec, name="copy"), tmp_path / "data")
    assert copy.report["stored_kinds"] == {f"uint8 array of {channels} channels": 9}
    copied = open_dataset(copy.folder, copy.folder, size=(8, 8), channels=channels)
    np.testing.assert_array_equal(copied[8]["images"], images[8])


def test_damaged_pixels_end_in_one_line(tmp_path):
    spec = DatasetSpec("many", Geometry(8, 8, 6))
    with ArraySource(written(tmp_path / "a.npy", pixels(3, 8, 8, 6))) as source:
        made = prepare(source, spec, tmp_path / "data")
    stored = open_dataset(made.folder, made.folder, size=(8, 8), channels=6)
    record = stored.records[0]
    at = record.index(b"\x78\x9c") + 20
    broken = record[:at] + bytes([record[at] ^ 255]) + record[at + 1 :]
    damaged = dataclasses.replace(stored, records=[broken])
    with pytest.raises(UserError, match="stored image is damaged"):
        damaged[0]


def test_channels_that_a_source_has_not(tmp_path):
    folder = FolderSource(make_folder(tmp_path / "folder", {"a.png": png(1)}))
    with pytest.raises(UserError, match="--channels 6: use 1, 3 or 4"):
        prepare(folder, DatasetSpec("x", Geometry(8, 8, 6)), tmp_path / "data")
    with ArraySource(written(tmp_path / "a.npy", pixels(3, 8, 8, 6))) as source:
        for channels in (3, 5):
            with pytest.raises(UserError, match="the images have 6; leave the option out"):
                prepare(source, DatasetSpec("x", Geometry(8, 8, channels)), tmp_path / "data")
    assert not (tmp_path / "data/x").exists()


def test_two_channels_may_be_gray_and_opacity(tmp_path):
    images = np.stack([np.full((3, 8, 8), 100), np.zeros((3, 8, 8))], -1).astype(np.uint8)
    with ArraySource(written(tmp_path / "a.npy", images)) as source:
        made = prepare(source, DatasetSpec("x", Geometry(8, 8, 3)), tmp_path / "data")
    stored = open_dataset(made.folder, made.folder, size=(8, 8))
    assert (stored[0]["images"] == 255).all()  # clear, so white


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_files_of_images_show_color(tmp_path, channels):
    image = pixels(4, 5, channels)
    save_png(tmp_path / "a.png", image)
    with Image.open(tmp_path / "a.png") as stored:
        found = np.asarray(stored)
    expected = {1: image[..., 0], 2: np.pad(image, ((0, 0), (0, 0), (0, 1))), 6: image[..., :3]}
    np.testing.assert_array_equal(found, expected.get(channels, image))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_path_length_compares_colors(channels):
    config = dataclasses.replace(tiny_config(0).generator, image_channels=channels)
    generator = Generator(config)
    z_1xKxD = np.zeros((1, config.num_latents, config.z_size), np.float32)
    variables = initial_variables(config)
    w_BxKxD = jax.jit(functools.partial(generator.apply, method="map"))(variables, z_1xKxD)
    run = jax.jit(functools.partial(images_for_lpips, generator))
    images = np.asarray(run(variables, w_BxKxD))
    full, _ = jax.jit(functools.partial(generator.apply, noise="const"))(variables, z_1xKxD)
    assert images.shape == (1, 8, 8, 3)
    shown = {1: full.repeat(3, -1), 2: np.pad(full, [(0, 0)] * 3 + [(0, 1)], constant_values=-1)}
    np.testing.assert_allclose(images, shown.get(channels, full[..., :3]), atol=1e-6)


# Without components and R1, quicker to compile.
TINY = """
    --generator.components 0 --generator.latent-size 8 --generator.mapping.num-layers 1
    --loss.r1-gamma 0
    --generator.synthesis.channel-base 64 --generator.synthesis.channel-max 8
    --discriminator.channel-base 64 --discriminator.channel-max 8
    --train.batch-size 4 --train.total-kimg 0.008 --train.metrics swd --train.metric-images 8
    --train.metric-kimg 0.008
""".split()


# The way of color images, from files to samples, is in test_prepare_command.py.
@pytest.mark.slow
@pytest.mark.parametrize("channels", [2, 6])
def test_from_arrays_to_samples_metrics_and_weights(tmp_path, monkeypatch, capsys, channels):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "plain.py").write_text(
        "from ganformer_jax.config import Config\n\nconfig = Config()\n"
    )
    written(tmp_path / "a.npy", pixels(24, 16, 16, channels))
    options = ["--name", "many", "--resolution", "16", "--held-out", "8"]
    code, out, err = call(capsys, "prepare", "a.npy", *options)
    assert code == 0, err
    words = f"images have {channels} channels: figures, and metrics of color images, use"
    assert words in out and f"{channels} channels, lanczos" in out
    command = shlex.split(out.splitlines()[-1])
    assert command[command.index("--generator.image-channels") + 1] == str(channels)
    code, out, err = call(capsys, *command[1:], "--config", "plain.py", *TINY)
    assert code == 0 and (out + err).count(words) == 1, err
    code, _, err = call(capsys, "sample", "--workdir", "runs/many", "--count", "2")
    assert code == 0, err
    with Image.open(tmp_path / "runs/many/generated/000000.png") as image:
        assert image.mode == "RGB" and image.size == (16, 16)
        shown = np.asarray(image)
    stored = np.load(tmp_path / "runs/many/generated/000000.npy")
    assert stored.shape == (16, 16, channels) and stored.dtype == np.uint8
    np.testing.assert_array_equal(stored[..., :2], shown[..., :2])
    code, out, err = call(capsys, "evaluate", "--workdir", "runs/many", "--metrics", "swd8")
    assert code == 0, err
    code, _, err = call(capsys, "export", "--workdir", "runs/many")
    assert code == 0, err
    generator, variables = load("runs/many/generator.safetensors")
    z_1xKxD = np.zeros((1, generator.config.num_latents, generator.config.z_size), np.float32)
    images = jax.jit(lambda v: generator.apply(v, z_1xKxD, noise="const")[0])(variables)
    assert images.shape == (1, 16, 16, channels)


@pytest.mark.parametrize(
    "config",
    [
        Config(generator=GeneratorConfig(image_channels=1)),
        TranslationConfig(generator=TranslatorConfig(image_size=(32, 32), image_channels=1)),
        PriorConfig(autoencoder=AutoencoderConfig(image_channels=1)),
        GANformer2Config(execution=ExecutionConfig(image_channels=1)),
    ],
    ids=lambda config: kind_of(config),
)
def test_scenes_of_other_channels_are_refused_before_they_are_rendered(config):
    with pytest.raises(UserError, match="scenes have 3 channels, not 1: give data.name, or 3"):
        DATA[type(config)](config)
