"""Starts from the weights of other networks: what each rule keeps, and that nothing is lost."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eight_devices import on_eight_devices
from tiny import conditional, tiny_config
from training import assert_close
from transfers import architecture, changed, classes, random_state

from ganformer_jax import Discriminator, Generator
from ganformer_jax.config import (
    AttentionConfig,
    Config,
    LabelMappingConfig,
    MappingConfig,
    MergeConfig,
)
from ganformer_jax.errors import UserError
from ganformer_jax.train.checkpoints.checksums import by_path
from ganformer_jax.train.state import WEIGHTS, TrainState
from ganformer_jax.train.transfer.report import full_list, summary
from ganformer_jax.train.transfer.start import adapt, start_from

PLAIN = MappingConfig(num_layers=2, residual=False, self_attention=False, width=6)
RESIDUAL = MappingConfig(num_layers=1, self_attention=False)
PLACES = AttentionConfig(kmeans_iterations=0, places=True)


def with_mapping(mapping: MappingConfig, components: int = 0, **generator: Any) -> Config:
    """A tiny experiment whose mapping network has as large weights as other layers."""
    mapping = dataclasses.replace(mapping, learning_rate_multiplier=1.0)
    return changed(tiny_config(components), mapping=mapping, **generator)


def weights_of(state: TrainState) -> dict[str, Any]:
    return {name: jax.device_get(getattr(state, name)) for name in WEIGHTS}


def transferred(there: Config, here: Config):
    """A random state there, one here that starts from it, and what became of the arrays."""
    theirs, mine = random_state(there, 1), random_state(here, 2)
    transfer = adapt(weights_of(mine), weights_of(theirs), here, there)
    return theirs, transfer.put(mine), transfer


def images(config: Config, state: TrainState, label: int | None = None) -> Any:
    """Images of the averaged generator, of one class."""
    generator, count = config.generator, 4
    z_BxKxD = np.random.default_rng(0).standard_normal((count, generator.num_latents, 8))
    z_BxKxD = jnp.asarray(z_BxKxD[..., : generator.z_size], jnp.float32)
    labels_BxY = None if label is None else one_hot(count, label, generator.label_size)
    variables = state.generator_variables()
    return _images(generator)(variables, z_BxKxD, labels_BxY)


def one_hot(count: int, label: int, size: int) -> np.ndarray:
    return np.tile(np.eye(size, dtype=np.float32)[label], (count, 1))


@functools.cache
def _images(generator):
    apply = Generator(generator).apply
    return jax.jit(lambda v, z, y: apply(v, z, y, noise="const")[0])


def logits(config: Config, state: TrainState, seen, label: int | None = None) -> Any:
    labels_BxY = None if label is None else one_hot(len(seen), label, config.generator.label_size)
    return _apply(config.discriminator)({"params": state.discriminator}, seen, labels_BxY)[0]


@functools.cache
def _apply(discriminator):
    return jax.jit(Discriminator(discriminator).apply)


def random_images(channels: int, size: int = 8) -> np.ndarray:
    shape = (4, size, size, channels)
    return np.random.default_rng(3).uniform(-1, 1, shape).astype(np.float32)


def check_report(theirs: TrainState, mine: TrainState, transfer) -> None:
    """Every array of both sides is in the report, once."""
    here, there = by_path(weights_of(mine)), by_path(weights_of(theirs))
    here = {path.strip("."): leaf for path, leaf in here.items()}
    own = [entry.path for entry in transfer.report if entry.outcome != "left out"]
    assert sorted(own) == sorted(here)
    used = {source for entry in transfer.report for source in entry.sources}
    left_out = [entry.path for entry in transfer.report if entry.outcome == "left out"]
    assert len(left_out) == len(set(left_out)) and used.isdisjoint(left_out)
    assert used | set(left_out) == {path.strip(".") for path in there}
    for entry in transfer.report:
        if entry.outcome == "taken" and entry.sources == (entry.path,):
            np.testing.assert_array_equal(here[entry.path], there[entry.path])
        assert entry.note or entry.outcome == "taken"
    lines = full_list(transfer.report, "there").splitlines()
    assert len(lines) == 1 + len(transfer.report) and summary(transfer.report)


MAPPINGS = {
    "plain": with_mapping(PLAIN),
    "plain, one layer": with_mapping(dataclasses.replace(PLAIN, num_layers=0, width=None)),
    "residual": with_mapping(RESIDUAL),
    "residual, components": with_mapping(RESIDUAL, 2),
    "residual, wider w": with_mapping(RESIDUAL, 2, intermediate_size=32),
    "places": with_mapping(RESIDUAL, 2, attention=PLACES),
    "places, wider w": with_mapping(RESIDUAL, 2, attention=PLACES, intermediate_size=32),
    "merged": with_mapping(RESIDUAL, 0, merge=MergeConfig(images=2)),
}


@pytest.mark.parametrize("name", MAPPINGS)
def test_labels_have_no_effect_at_first(name):
    there = MAPPINGS[name]
    here = classes(there, 3)
    theirs, mine, transfer = transferred(there, here)
    check_report(theirs, mine, transfer)
    expected = images(there, theirs)
    assert np.std(expected, 0).mean() > 0.03  # z has an effect
    for label in range(3):
        assert_close(images(here, mine, label), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["plain", "residual, wider w", "places, wider w"])
def test_without_labels_images_are_those_of_the_only_class(name):
    there = classes(MAPPINGS[name], 1)
    here = MAPPINGS[name]
    theirs, mine, transfer = transferred(there, here)
    check_report(theirs, mine, transfer)
    assert_close(images(here, mine), images(there, theirs, 0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("given", "wanted"), [(3, 5), (5, 2)])
@pytest.mark.parametrize("logit", ["class", "projection", "embedding"])
def test_classes_that_stay_keep_images_and_logits(given, wanted, logit):
    there, here = (classes(MAPPINGS["plain"], n, logit) for n in (given, wanted))
    theirs, mine, transfer = transferred(there, here)
    check_report(theirs, mine, transfer)
    seen = random_images(3)
    for label in range(min(given, wanted)):
        expected = logits(there, theirs, seen, label)
        assert_close(logits(here, mine, seen, label), expected, rtol=1e-3, atol=1e-4)
        if logit == "class":
            expected = images(there, theirs, label)
            assert_close(images(here, mine, label), expected, rtol=1e-3, atol=1e-4)
    if wanted > given and logit == "class":
        mean = np.mean([logits(there, theirs, seen, label) for label in range(given)], 0)
        assert_close(logits(here, mine, seen, wanted - 1), mean, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("wanted", ["class", "projection"])
def test_logits_of_every_class_start_as_the_one_without_classes(wanted):
    there = tiny_config(0)
    here = classes(there, 3, wanted)
    theirs, mine, _ = transferred(there, here)
    seen = random_images(3)
    for label in range(3):
        expected = logits(there, theirs, seen)
        assert_close(logits(here, mine, seen, label), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("given", ["class", "projection"])
def test_the_logit_without_classes_is_their_mean(given):
    there = classes(tiny_config(0), 3, given)
    here = tiny_config(0)
    theirs, mine, transfer = transferred(there, here)
    check_report(theirs, mine, transfer)
    seen = random_images(3)
    expected = np.mean([logits(there, theirs, seen, label) for label in range(3)], 0)
    assert_close(logits(here, mine, seen), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("given", "wanted"), [("class", "projection"), ("projection", "class")])
def test_another_form_of_class_logits_starts_equal(given, wanted):
    there, here = (classes(tiny_config(0), 3, logit) for logit in (given, wanted))
    theirs, mine, transfer = transferred(there, here)
    check_report(theirs, mine, transfer)
    seen = random_images(3)
    for label in range(3):
        expected = logits(there, theirs, seen, label)
        assert_close(logits(here, mine, seen, label), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("given", "wanted"), [("class", "embedding"), ("embedding", "class")])
def test_logits_from_products_are_new(given, wanted):
    """Four classes and four channels: the same shapes, of another meaning."""
    there, here = (classes(tiny_config(0), 4, logit) for logit in (given, wanted))
    theirs, mine, transfer = transferred(there, here)
    check_report(theirs, mine, transfer)
    outcomes = {entry.path: entry for entry in transfer.report if entry.outcome == "new"}
    assert outcomes["discriminator.output.kernel"].note == "same shape, other meaning"
    assert "discriminator.dense.kernel" not in outcomes


# Learning rate multipliers


@pytest.mark.parametrize("name", ["plain", "residual", "residual, wider w", "places"])
def test_another_multiplier_of_the_mapping_network_keeps_images(name):
    there = classes(MAPPINGS[name], 3)
    mapping = dataclasses.replace(there.generator.mapping, learning_rate_multiplier=0.02)
    here = changed(there, mapping=mapping)
    theirs, mine, transfer = transferred(there, here)
    check_report(theirs, mine, transfer)
    for label in range(3):
        assert_close(images(here, mine, label), images(there, theirs, label), rtol=1e-4, atol=1e-5)


def test_another_multiplier_of_places_keeps_images():
    there = MAPPINGS["places"]
    attention = dataclasses.replace(there.generator.attention, places_learning_rate_multiplier=0.1)
    here = changed(there, attention=attention)
    theirs, mine, transfer = transferred(there, here)
    check_report(theirs, mine, transfer)
    assert_close(images(here, mine), images(there, theirs), rtol=1e-4, atol=1e-5)


def test_another_multiplier_of_the_label_mapping_keeps_logits():
    there = classes(tiny_config(0), 3, "embedding")
    there = changed(there, {"label_mapping": LabelMappingConfig(2, learning_rate_multiplier=1.0)})
    here = changed(there, {"label_mapping": LabelMappingConfig(2, learning_rate_multiplier=0.05)})
    theirs, mine, transfer = transferred(there, here)
    check_report(theirs, mine, transfer)
    seen = random_images(3)
    for label in range(3):
        expected = logits(there, theirs, seen, label)
        assert_close(logits(here, mine, seen, label), expected, rtol=1e-4, atol=1e-5)


# Channels

AS_GRAY = np.full((3, 1), 1 / 3, np.float32)
AS_COLOR = np.ones((1, 3), np.float32)


def converted(seen, channels: int) -> np.ndarray:
    """Images of other channels: gray is the mean, and opacity opaque."""
    colors = seen[..., :3]
    if channels == 1:
        return colors @ AS_GRAY if colors.shape[-1] == 3 else colors
    colors = colors @ AS_COLOR if colors.shape[-1] == 1 else colors
    opaque = np.ones((*colors.shape[:3], 1), np.float32)
    return np.concatenate([colors, opaque], -1) if channels == 4 else np.asarray(colors)


@pytest.mark.parametrize("name", ["resnet", "skip"])
@pytest.mark.parametrize("pair", [(3, 1), (1, 3), (3, 4), (4, 3), (1, 4), (4, 1)])
def test_image_channels(pair, name):
    given, wanted = pair
    there, here = (architecture(name, image_channels=count) for count in pair)
    theirs, mine, transfer = transferred(there, here)
    check_report(theirs, mine, transfer)
    expected = converted(images(there, theirs), wanted)
    assert_close(images(here, mine), expected, rtol=1e-3, atol=1e-4)
    if given == 4 and name == "skip":
        return  # the edges of opacity are no longer 1 in smaller images
    seen = random_images(wanted)
    seen = seen if wanted <= given else converted(random_images(given), wanted)
    expected = logits(there, theirs, converted(seen, given))
    assert_close(logits(here, mine, seen), expected, rtol=1e-3, atol=1e-4)


def test_other_channels_are_new():
    there, here = (changed(tiny_config(0), image_channels=count) for count in (3, 5))
    theirs, mine, transfer = transferred(there, here)
    check_report(theirs, mine, transfer)
    new = {entry.path for entry in transfer.report if entry.outcome == "new"}
    assert "discriminator.from_image_8.kernel" in new
    assert "generator.synthesis.block_8.to_image.convolution.kernel" in new


# Resolution


@pytest.mark.parametrize("name", ["resnet", "skip", "orig"])
@pytest.mark.parametrize("pair", [(8, 16), (16, 8)])
def test_resolutions_share_their_blocks(pair, name):
    there, here = (architecture(name, resolution=size) for size in pair)
    wide = dataclasses.replace(here.generator.synthesis, channel_base=64)
    there, here = (changed(c, {"channel_base": 64}, synthesis=wide) for c in (there, here))
    theirs, mine, transfer = transferred(there, here)
    check_report(theirs, mine, transfer)
    entries = {entry.path: entry for entry in transfer.report}
    for part in ("synthesis.stem.", "synthesis.block_4.", "synthesis.block_8.layer", "mapping."):
        own = [e for path, e in entries.items() if path.startswith(f"ema.{part}")]
        assert own and {entry.outcome for entry in own} == {"taken"}
    assert entries["discriminator.block_8.convolution_0.kernel"].outcome == "taken"
    last = entries[f"ema.synthesis.block_{pair[1]}.to_image.convolution.kernel"]
    if name == "skip":
        assert last.outcome == ("new" if pair == (8, 16) else "taken")
    else:
        block = f"ema.synthesis.block_{pair[0]}"
        assert last.sources == (f"{block}.to_image.convolution.kernel",)
        moved = entries[f"ema.synthesis.block_{pair[1]}.last_convolution.kernel"]
        assert moved.sources == (f"{block}.last_convolution.kernel",)
        np.testing.assert_array_equal(
            by_path(mine.ema)[last.path[4:]], by_path(theirs.ema)[last.sources[0][4:]]
        )
    lines = "\n".join(summary(transfer.report))
    assert "synthesis.block_16" in lines and "block_8.layer" not in lines


def test_opacity_of_a_smaller_image_is_one():
    """Where the layer that would have added it is left out."""
    there = architecture("skip", resolution=16)
    here = architecture("skip", image_channels=4)
    theirs, mine, transfer = transferred(there, here)
    check_report(theirs, mine, transfer)
    np.testing.assert_allclose(images(here, mine)[..., 3], 1.0, atol=1e-6)


# Components


@pytest.mark.parametrize("pair", [(4, 2), (2, 4)])
@pytest.mark.parametrize("shared_width", [0, 6])
def test_components(pair, shared_width):
    mapping = MappingConfig(
        num_layers=1, residual=False, self_attention=not shared_width, shared_width=shared_width
    )
    there, here = (
        changed(tiny_config(count), mapping=mapping, latent_size=4 * count) for count in pair
    )
    theirs, mine, transfer = transferred(there, here)
    check_report(theirs, mine, transfer)
    fresh = random_state(here, 2)
    own = {"latent_positions": 0} if not shared_width else {}
    own["synthesis.block_4.layer_1.attention.top_down.centroids"] = 2
    if shared_width:
        own |= {"mapping.split.kernel": 1, "mapping.split.bias": 0, "mapping.join.kernel": 0}
    for entry in transfer.report:
        if entry.path.startswith("ema.") and entry.path[4:] not in own:
            assert entry.outcome == "taken", entry
    for path, axis in own.items():
        before, first, after = (by_path(s.ema)[path] for s in (theirs, fresh, mine))
        kept = min(before.shape[axis], after.shape[axis])
        scale = (pair[1] / pair[0]) ** 0.5 if path == "mapping.join.kernel" else 1.0
        head = np.take(after, range(kept), axis)
        np.testing.assert_allclose(head, np.take(before, range(kept), axis) * scale, rtol=1e-6)
        rest = range(kept, after.shape[axis])
        np.testing.assert_array_equal(np.take(after, rest, axis), np.take(first, rest, axis))


def test_components_of_another_width():
    """Convolutions and attention's queries are taken, and what reads w is new."""
    mapping = MappingConfig(num_layers=1, residual=False, self_attention=False, shared_width=6)
    there, here = (changed(tiny_config(count), mapping=mapping, latent_size=16) for count in (2, 4))
    theirs, mine, transfer = transferred(there, here)
    check_report(theirs, mine, transfer)
    outcomes = {
        entry.path: entry.outcome for entry in transfer.report if entry.outcome != "left out"
    }
    assert outcomes["ema.synthesis.block_8.layer_0.convolution.kernel"] == "taken"
    assert outcomes["ema.synthesis.block_8.layer_0.convolution.style.kernel"] == "new"
    assert outcomes["ema.mapping.split.kernel"] == outcomes["ema.mapping.join.kernel"] == "new"


# The whole


def test_equal_networks_are_copied():
    config = conditional(tiny_config(2))
    theirs, mine, transfer = transferred(config, config)
    check_report(theirs, mine, transfer)
    assert transfer.complete
    jax.tree.map(np.testing.assert_array_equal, weights_of(mine), weights_of(theirs))


def test_several_changes_at_once():
    there = architecture("resnet", resolution=16)
    wide = dataclasses.replace(there.generator.synthesis, channel_base=64)
    there = changed(there, synthesis=wide)
    settings = {"image_channels": 1, "components": 2, "latent_size": 16}
    here = classes(changed(there, resolution=8, **settings), 3)
    theirs, mine, transfer = transferred(there, here)
    check_report(theirs, mine, transfer)
    entry = {e.path: e for e in transfer.report}["ema.synthesis.block_8.to_image.bias"]
    assert entry.note == "image channels 3 to 1; from resolution 16"
    assert entry.sources == ("ema.synthesis.block_16.to_image.bias",)


def test_without_a_discriminator_it_is_new():
    config = tiny_config(0)
    theirs, mine = random_state(config, 1), random_state(config, 2)
    weights = weights_of(theirs)
    del weights["discriminator"]
    started = start_from(weights, config, config, "an export").put(mine)
    jax.tree.map(np.testing.assert_array_equal, started.discriminator, mine.discriminator)
    jax.tree.map(np.testing.assert_array_equal, started.ema, theirs.ema)
    assert any(
        line.startswith("discriminator: 13 new")
        for line in summary(start_from(weights, config, config, "an export").report)
    )


def test_networks_without_much_in_common_are_refused():
    there = tiny_config(0)
    synthesis = dataclasses.replace(there.generator.synthesis, channel_base=64, channel_max=8)
    here = changed(there, synthesis=synthesis, latent_size=16)
    with pytest.raises(UserError, match="of x and of this config have too little in common") as e:
        start_from(weights_of(random_state(there, 1)), there, here, "x")
    assert "generator.latent_size is 8 there, 16 here" in str(e.value)
    assert "\n" not in str(e.value)


SHARDED = """
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ganformer_jax.train.transfer.start import place

sharding = NamedSharding(Mesh(jax.devices(), "x"), PartitionSpec("x"))
leaf = jax.device_put(np.zeros((16, 3), np.float32), sharding)
value = np.random.default_rng(0).standard_normal((16, 3))
for rows in (16, 5):
    placed = place(leaf, value[:rows])
    assert placed.sharding == sharding and placed.dtype == leaf.dtype
    np.testing.assert_array_equal(placed[:rows], value[:rows].astype(np.float32))
    assert not np.any(placed[rows:])
print(len(placed.addressable_shards))
"""


def test_values_are_placed_where_the_state_is():
    assert on_eight_devices(SHARDED) == "8\n"
