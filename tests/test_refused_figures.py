"""Samplers, latents, directions and figures refuse what they would misread, before they begin."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_config

from ganformer_jax import visualize
from ganformer_jax.directions import (
    Direction,
    read_directions,
    region_properties,
    save_directions,
    target_change,
)
from ganformer_jax.metrics.edits import pixel_change
from ganformer_jax.models import num_layers
from ganformer_jax.pixels import to_uint8
from ganformer_jax.sampling import ImageLatents, Sampler, Synthesizer, read_latents, save_latents

CONFIG = tiny_config().generator
IMAGES = np.zeros((3, 16, 16, 3), np.uint8)
W = np.zeros((3, CONFIG.num_latents, num_layers(CONFIG), CONFIG.w_size), np.float32)
LATENTS = ImageLatents(W, np.arange(3, dtype=np.uint32))
DIRECTION = Direction(
    "area", "component 1", np.eye(1, CONFIG.w_size, dtype=np.float32), 1.0, "regression"
)


# Sampling


@pytest.mark.parametrize("sampler", [Sampler, Synthesizer])
@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_has_images(sampler, batch_size):
    with pytest.raises(ValueError, match=f"batch_size is {batch_size}; it should be 1 or more"):
        sampler(CONFIG, batch_size=batch_size)


def test_seeds_are_a_list():
    with pytest.raises(ValueError, match="seeds must be integers .*, in a list"):
        Synthesizer(CONFIG).z(np.ones((2, 2), int))


@pytest.mark.parametrize("rows", [np.array([True, False, True]), [0.5, 1.7], [[0], [1]]])
def test_rows_of_latents_are_integers(rows):
    """A mask chose latents 1, 0 and 1, and fractions were cut off."""
    assert len(LATENTS.take([])) == 0
    with pytest.raises(ValueError, match="rows are .*: give a list of integers"):
        LATENTS.take(rows)


@pytest.mark.parametrize("w", [W[0], W[:, :2], W[:2], W[:0]])
def test_other_latents_have_the_shape_of_the_old_ones(w):
    """[K, L, D] was read as [B, K, L] where a batch has as many images as latents."""
    assert len(LATENTS.with_w(W[:1])) == len(LATENTS.take([0]).with_w(W)) == 3
    with pytest.raises(ValueError, match="w is .*: give one, or one for each image"):
        LATENTS.with_w(w)


# Files


def test_scalars_of_numpy_and_jax_are_saved(tmp_path):
    numbers: Any = {"r2": np.float32(0.5), "rows": np.int64(3), "products": {"area": np.ones(2)}}
    layers: Any = (np.int64(0), np.int64(1))
    scale: Any = jnp.float32(2.0)
    given = dataclasses.replace(DIRECTION, scale=scale, layers=layers)
    given = dataclasses.replace(given, facts=numbers | {"property": "area", "per_unit": 1.0})
    save_directions(tmp_path / "d.npz", [given])
    found = read_directions(tmp_path / "d.npz", CONFIG)["area"]
    assert (found.scale, found.layers, found.facts["r2"]) == (2.0, (0, 1), 0.5)
    assert found.facts["products"] == {"area": [1.0, 1.0]}
    facts = tuple({"seed": np.uint32(seed)} for seed in range(3))
    save_latents(tmp_path / "w.npz", dataclasses.replace(LATENTS, facts=facts))
    assert read_latents(tmp_path / "w.npz", CONFIG).facts[2] == {"seed": 2}


def test_directions_of_one_name_are_not_saved(tmp_path):
    """Only the last of them would be read."""
    with pytest.raises(ValueError, match="directions have one name: area, area"):
        save_directions(tmp_path / "d.npz", [DIRECTION, DIRECTION])
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("targets", [np.ones(2), np.ones((2, 3))])
def test_targets_are_one_for_each_property(targets):
    facts = {"per_unit": 1.0, "products": {"area": 1.0}}
    directions = {"area": dataclasses.replace(DIRECTION, facts=facts)}
    with pytest.raises(ValueError, match=r"of 1 properties: give \[images, properties\]"):
        target_change(directions, ["area"], targets)


# Pixels


def test_levels_are_those_of_uint8():
    """Images in [-1, 1] hardly changed, and images in 0..255 turned white."""
    floats, regions = IMAGES / 127.5 - 1, np.ones(IMAGES.shape[:3], bool)
    for function in (
        lambda: pixel_change(floats, floats),
        lambda: region_properties(floats, regions),
    ):
        with pytest.raises(TypeError, match="images must be uint8, not float64"):
            function()
    for integers in (IMAGES, jnp.asarray(IMAGES), IMAGES.astype(int)):
        with pytest.raises(TypeError, match=r"not floats in \[-1, 1\]"):
            to_uint8(integers)
    assert to_uint8(jnp.ones(2, jnp.bfloat16)).dtype == np.uint8


@pytest.mark.parametrize(
    "image", [IMAGES, IMAGES[0] / 255, IMAGES[0, :, 0, 0], IMAGES[0, ..., 0].astype(np.int32)]
)
def test_a_file_is_one_image_of_uint8(tmp_path, image):
    with pytest.raises(ValueError, match=r"an image must be uint8 \[H, W\] or \[H, W, C\], got"):
        visualize.save_png(tmp_path / "x.png", image)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_frames_have_one_shape(tmp_path, suffix):
    with pytest.raises(ValueError, match=r"frames of \[16, 16, 3\] and \[8, 16, 3\]"):
        visualize.save_animation(tmp_path / f"x{suffix}", [IMAGES[0], IMAGES[0, :8]])
    assert not any(tmp_path.iterdir())


# Figures


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"headings": "abc"}, "3 headings for 2 columns"),
        ({"row_headings": ["a"]}, "1 headings for 2 rows"),
        ({"columns": 0}, "columns is 0; it should be 1 or more"),
        ({"scale": 0}, "scale is 0; it should be 1 or more"),
    ],
)
def test_grids_are_labeled_in_full(options, message):
    columns = {"columns": 2}
    visualize.image_grid(IMAGES, **columns, headings=[0, 1], row_headings=["a", "b"])
    with pytest.raises(ValueError, match=message):
        visualize.image_grid(IMAGES, **(columns | options))


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ({}, "no segmentations"),
        ({"a": np.full((3, 16, 16), -2)}, "integers from -1 up"),
        ({"a": np.zeros((3, 16, 16))}, "integers from -1 up"),
    ],
)
def test_segments_are_numbered_from_0_or_none(segments, message):
    with pytest.raises(ValueError, match=message):
        visualize.segments_grid(IMAGES, segments)


def test_figures_of_attention_need_it():
    with pytest.raises(ValueError, match="no attention maps: sample with attention=True"):
        visualize.attention_figure(IMAGES, (), 2)
    maps = np.ones((3, 4, 8, 8), np.float32) / 4
    for wrong in (maps[0], maps[:2], maps[:, :0], maps[:, :, :4]):
        with pytest.raises(ValueError, match="need as many attention maps"):
            visualize.attention_grid(IMAGES, wrong)
    for wrong in (maps, maps[0, :0]):
        for function in (visualize.attention_segments, visualize.attention_segmentation):
            with pytest.raises(ValueError, match=r"give that of one image, \[K, H, W\]"):
                function(wrong)
        with pytest.raises(ValueError, match=r"give that of one image, \[K, H, W\]"):
            visualize.attention_overlay(IMAGES[0], wrong)
