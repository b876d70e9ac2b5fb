"""Edits of components: change inside and outside of what attends to them."""

import dataclasses
import pathlib

import jax
import numpy as np
import pytest
from tiny import random_variables, tiny_config

from ganformer_jax import Generator
from ganformer_jax.evaluate.component_edits import edit_locality
from ganformer_jax.evaluate.requests import parse_requests
from ganformer_jax.experiment.evaluation import generated_images, metric_networks
from ganformer_jax.metrics.edits import edit_changes, pixel_change
from ganformer_jax.train.devices import place_on


def test_change_is_the_mean_absolute_difference_of_channels():
    before = np.zeros((1, 2, 2, 3), np.uint8)
    after = before.copy()
    after[0, 0, 1] = [3, 0, 255]
    np.testing.assert_array_equal(pixel_change(before, after), [[[0, 86], [0, 0]]])
    np.testing.assert_array_equal(pixel_change(after, before), pixel_change(before, after))
    with pytest.raises(ValueError, match="of shapes"):
        pixel_change(before, after[:, :1])


def test_change_inside_outside_and_elsewhere():
    """A region that is all that changes; elsewhere by as much as it meets itself by chance."""
    regions = np.zeros((200, 8, 8), bool)
    regions[:, 2:4, 1:5] = True
    changes = edit_changes(10.0 * regions, regions)
    assert (changes.inside == 10).all() and (changes.outside == 0).all()
    assert changes.random.mean() == pytest.approx(10 * 8 / 64, abs=0.5)
    again = edit_changes(10.0 * regions[:5], regions[:5])
    np.testing.assert_array_equal(again.random, changes.random[:5])
    later = edit_changes(10.0 * regions[3:5], regions[3:5], first=3)
    np.testing.assert_array_equal(later.random, changes.random[3:5])
    other = edit_changes(10.0 * regions, regions, seed=1)
    assert (other.random != changes.random).any()


def test_regions_of_nothing_and_of_everything_are_left_out():
    regions = np.stack([np.zeros((4, 4), bool), np.ones((4, 4), bool), np.eye(4, dtype=bool)])
    for values in edit_changes(np.ones((3, 4, 4)), regions):
        assert np.isnan(values).tolist() == [True, True, False] and values[2] == 1
    with pytest.raises(ValueError, match="of shapes"):
        edit_changes(np.ones((3, 4, 4)), regions[:2])


def halves(indices, edit):
    """Component 0 owns the left half of images and component 1 the right, as edits of them show."""
    images = np.zeros((len(indices), 4, 4, 3), np.uint8)
    attention = np.zeros((len(indices), 2, 1, 4, 4), np.float32)
    attention[:, 0, :, :, :2] = attention[:, 1, :, :, 2:] = 1
    if edit is not None:
        kind, component = edit
        images[:, :, 2 * component : 2 * component + 2] = 40 if kind == "swap" else 80
    return images, (attention[..., :2, ::2], attention)


def test_components_that_own_their_region():
    found = edit_locality(halves, 3)
    layers = ("layer0_2px", "layer1_4px")
    names = [
        f"{e}_{n}_{f}"
        for e in ("swap", "remove")
        for n in layers
        for f in ("inside", "outside", "random")
    ]
    assert list(found) == names
    assert found["swap_layer0_2px_inside"] == 40 and found["remove_layer1_4px_inside"] == 80
    assert found["swap_layer1_4px_outside"] == found["remove_layer0_2px_outside"] == 0
    assert 0 <= found["swap_layer1_4px_random"] <= 40
    with pytest.raises(ValueError, match="no attention layers"):
        edit_locality(lambda indices, edit: (halves(indices, edit)[0], ()), 3)


def test_edits_of_a_generator():
    """The component that is swapped is the next image's; one that is removed is not attended to."""
    config = dataclasses.replace(tiny_config(2).generator, attention_resolutions=(4, 8))
    network = Generator(config)
    z_1xKxD = np.zeros((1, config.num_latents, config.z_size), np.float32)
    variables = random_variables(lambda: network.init(jax.random.key(0), z_1xKxD, noise="const"))
    networks = metric_networks(place_on(jax.devices()[:1]), 4, cached=False)
    _, generator = generated_images(pathlib.Path("run"), network, variables, networks)
    before, attention = generator.edited([0, 1, 2], None)
    removed, without = generator.edited([0, 1, 2], ("remove", 1))
    assert all(layer[:, 1].max() == 0 for layer in without)
    assert all(layer[:, 1].min() > 0 for layer in attention)
    assert (removed != before).any()
    first, _ = generator.edited([0, 1], ("swap", 0))
    again, _ = generator.edited([0, 1], ("swap", 0))
    np.testing.assert_array_equal(first, again)
    assert (first != before[:2]).any()
    found = edit_locality(generator.edited, 3)
    assert all(np.isfinite(value) for value in found.values())
    with pytest.raises(ValueError, match="two images or more"):
        edit_locality(generator.edited, 1)


def test_it_is_requested_by_name():
    (request,) = parse_requests("edit", 50_000)
    assert (request.name, request.count, request.needs_generator) == ("edit100", 100, True)
    assert parse_requests("edit32", 50_000)[0].count == 32
