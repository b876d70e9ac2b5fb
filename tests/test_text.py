"""Captions in both networks: what attends to words, what padding and other words change."""

import dataclasses
import functools
import json
import types
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from captioned import CAPTIONED, TEXT, TOKENS, captioned_batch, captions, random_generator
from eight_devices import on_eight_devices
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tiny import random_variables, tiny_config
from training import gan_programs, on_host, run_steps, sgd, train_gan
from transfers import random_state

from ganformer_jax import Discriminator, Generator, create_state
from ganformer_jax.config.checks import validate
from ganformer_jax.config.text import TextEncoderConfig
from ganformer_jax.convert.build import flatten
from ganformer_jax.convert.export import KEY, read_generator, save_generator
from ganformer_jax.convert.program_check import (
    check_inputs,
    expected_images,
    largest_differences,
)
from ganformer_jax.convert.programs import PREFIX, generator_programs
from ganformer_jax.directions.direction import ALL, COMPONENTS, Direction
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.evaluation import generated_images, metric_networks
from ganformer_jax.experiment.figures.interpolation import _between_w
from ganformer_jax.models import mix_components, truncate, without_words
from ganformer_jax.sampling import ImageLatents, Synthesizer, read_latents, save_latents
from ganformer_jax.train.checkpoints.checkpoints import Checkpoints
from ganformer_jax.train.devices import place_on
from ganformer_jax.train.networks import Networks
from ganformer_jax.train.regularization import path_length_update
from ganformer_jax.train.state import WEIGHTS
from ganformer_jax.train.transfer.start import adapt
from ganformer_jax.train.transfer.words import Words

BASE = CAPTIONED.generator
CONFIG = dataclasses.replace(
    BASE,
    mapping=dataclasses.replace(BASE.mapping, self_attention=True, learning_rate_multiplier=1.0),
    attention=dataclasses.replace(BASE.attention, dropout=0.0),
)
LABELS = captions(3)


def z_of(config, count=3, seed=0):
    shape = count, config.num_latents, config.z_size
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def run(generator, variables, labels, **options):
    """Images of three captions and what is computed beside them."""
    z = z_of(generator.config)

    def apply(variables, labels):
        return generator.apply(variables, z, labels, noise="const", **options)

    return jax.jit(apply)(variables, labels)


@pytest.fixture(scope="module")
def made():
    generator, variables = random_generator(CONFIG)
    return generator, variables, run(generator, variables, LABELS)


def test_without_captions_networks_have_the_parameters_that_they_had():
    config = tiny_config()
    network = Generator(config.generator)
    shapes = jax.eval_shape(
        lambda: network.init(jax.random.key(0), z_of(config.generator), noise="const")
    )
    assert set(shapes["params"]) == {"mapping", "synthesis"}
    assert config.generator.num_w == config.generator.num_latents == 3
    assert config.generator.words == 0 and config.generator.label_width == 0


def test_the_image_attends_to_components_and_words(made):
    _, _, (images, out) = made
    assert images.shape == (3, 8, 8, 3) and out["w"].shape == (3, 2 + TOKENS + 1, CONFIG.w_size)
    (components,), (words,) = out["attention"], out["words"]
    assert components.shape == (3, 2, 1, 4, 4) and words.shape == (3, TOKENS, 1, 4, 4)
    np.testing.assert_allclose(components.sum(1) + words.sum(1), 1, rtol=1e-5)
    hidden = LABELS == 0
    assert hidden.any() and not np.asarray(words)[hidden].any()
    assert (np.asarray(words)[~hidden] > 0).all()
    assert not np.asarray(out["w"])[:, 2:-1][hidden].any()


def test_longer_padding_gives_the_same_image(made):
    generator, variables, (images, _) = made
    longer = Generator(dataclasses.replace(CONFIG, label_size=TOKENS + 2))
    padded = np.pad(LABELS, ((0, 0), (0, 2)))
    np.testing.assert_allclose(run(longer, variables, padded)[0], images, atol=2e-4)


def test_padding_does_not_change_path_lengths():
    found = []
    for longer in (0, 2):
        generator = dataclasses.replace(CONFIG, label_size=TOKENS + longer)
        config = dataclasses.replace(CAPTIONED, generator=generator)
        networks, batch = Networks(config), captioned_batch(0, 4)
        batch["labels"] = np.pad(batch["labels"], ((0, 0), (0, longer)))
        state = jax.jit(lambda key, config=config: create_state(config, key))(jax.random.key(0))
        update = jax.jit(functools.partial(path_length_update, networks))
        found.append(float(update(state, batch)[1]["path_length/mean"]))
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_another_word_gives_another_image(made):
    generator, variables, (images, _) = made
    changed = LABELS.copy()
    changed[0, 1] = 3 + (changed[0, 1] - 2) % 9
    other = np.asarray(run(generator, variables, changed)[0])
    assert np.abs(other[0] - images[0]).max() > 3e-4
    np.testing.assert_allclose(other[1:], images[1:], atol=1e-5)


def test_truncation_leaves_words_as_they_are(made):
    generator, variables, (_, out) = made
    synthesizer = Synthesizer(CONFIG, 3)
    w = synthesizer.map(variables, z_of(CONFIG), LABELS, truncation_psi=0.0)
    average = np.asarray(variables["moments"]["w_average"])
    np.testing.assert_allclose(w[:, 2:-1, 0], out["w"][:, 2:-1], atol=1e-4)
    np.testing.assert_allclose(w[:, [0, 1, -1], 0], np.tile(average, (3, 3, 1)), rtol=1e-5)
    images, _ = run(generator, variables, LABELS, truncation_psi=0.5)
    w_BxKxLxD = jnp.repeat(out["w"][:, :, None], generator.num_layers, 2)
    same = truncate(w_BxKxLxD, average, 0.5, words=TOKENS)
    expected, _ = generator.apply(variables, same, noise="const", method="synthesize")
    np.testing.assert_allclose(images, expected, atol=2e-4)


def test_components_attend_to_the_words_in_the_mapping_network(made):
    _, variables, (_, out) = made
    assert "words_0" in variables["params"]["mapping"]["components"]
    pooled = jax.tree.map(jnp.zeros_like, variables["params"]["mapping"]["label_embedding"])
    mapping = variables["params"]["mapping"] | {"label_embedding": pooled}
    without = {**variables, "params": variables["params"] | {"mapping": mapping}}
    one, other = (
        Generator(CONFIG).apply(without, z_of(CONFIG), captions(3, seed), method="map")
        for seed in (0, 5)
    )
    assert np.abs(one[:, :2] - other[:, :2]).max() > 1e-3  # components
    np.testing.assert_allclose(one[:, -1], other[:, -1], atol=1e-5)  # the global latent


def test_with_places_words_enter_through_the_components():
    attention = dataclasses.replace(CONFIG.attention, places=True)
    config = dataclasses.replace(CONFIG, attention=attention)
    generator, variables = random_generator(config)
    images, out = run(generator, variables, LABELS)
    assert out["w"].shape[1] == config.num_w == 3 and "words" not in out
    assert "words" not in variables["params"]
    other = run(generator, variables, captions(3, 5))[0]
    assert np.abs(images - other).max() > 1e-4


@pytest.mark.parametrize(
    "changes",
    [
        {"components_attend_components": True, "components_attend_image": True},
        {"component_dropout": 0.5},
        {"attention": {"kmeans_iterations": 1, "gate_latents": True, "kmeans_carried": True}},
    ],
    ids=["updated", "dropout", "duplex"],
)
def test_other_kinds_of_attention_leave_padding_out(changes):
    changes = dict(changes)
    if "attention" in changes:
        changes["attention"] = dataclasses.replace(CONFIG.attention, **changes["attention"])
    config = dataclasses.replace(CONFIG, attention_resolutions=(4, 8), **changes)
    generator, variables = random_generator(config)
    rngs = {name: jax.random.key(0) for name in ("components", "dropout")}
    out = run(generator, variables, LABELS, train=True, rngs=rngs)[1]
    for maps in out["words"]:
        assert not np.asarray(maps)[LABELS == 0].any()


def test_mixing_takes_no_words_and_counts_only_latents():
    w, other = np.zeros((1, 8, 2, 1), np.float32), np.ones((1, 8, 2, 1), np.float32)
    for cutoff, taken in ((1, [1, 7]), (2, [7]), (3, [])):
        mixed = np.asarray(mix_components(w, other, cutoff, words=5))
        assert np.flatnonzero(mixed[0, :, 0, 0]).tolist() == taken
    assert without_words(w, 5).shape == (1, 3, 2, 1)


def test_directions_move_no_words():
    w = np.zeros((2, 8, 3, 4), np.float32)
    step = np.ones((3, 4), np.float32)
    moved = Direction("x", ALL, step, 1.0, "regression").moved(w, np.ones(2), words=5)
    assert np.flatnonzero(moved[0, :, 0, 0]).tolist() == [0, 1, 7]
    moved = Direction("x", COMPONENTS, step[:1], 1.0, "factorization").moved(w, np.ones(2), words=5)
    assert np.flatnonzero(moved[0, :, 0, 0]).tolist() == [0, 1]


def test_latents_of_captions_are_stored_and_masked(made, tmp_path):
    _, variables, _ = made
    synthesizer = Synthesizer(CONFIG, 3)
    latents = synthesizer.latents(variables, range(3), LABELS)
    assert latents.components == 2 and latents.own_w_BxKxLxD.shape[1] == 3
    images = synthesizer(variables, latents).images
    without = synthesizer(variables, latents.without(1)).images
    assert (images != without).any()
    save_latents(tmp_path / "x.npz", latents.without(1))
    read = read_latents(tmp_path / "x.npz", CONFIG)
    np.testing.assert_array_equal(synthesizer(variables, read).images, without)


@pytest.mark.slow
def test_programs_of_an_export_make_the_same_images(made):
    _, variables, _ = made
    inputs = check_inputs(CONFIG)
    assert (inputs["labels"] > 0).sum(1).tolist() == [TOKENS, TOKENS - 1]
    weights = {PREFIX + name: leaf for name, leaf in flatten(variables).items()}
    programs = generator_programs(CONFIG, "const")
    assert programs["synthesize"].inputs[0].shape[1] == CONFIG.num_w
    functions = {name: program.function for name, program in programs.items()}
    expected = expected_images(CONFIG, variables, "const", inputs)
    found = largest_differences(CONFIG, "const", functions, weights, inputs, expected)
    assert max(found.values()) <= 1, found


# Training


def test_the_discriminator_reads_captions():
    network = Discriminator(CAPTIONED.discriminator)
    images = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32)
    labels = captions(4)
    variables = random_variables(lambda: network.init(jax.random.key(0), images, labels))
    assert set(variables["params"]["text"]) >= {"layer_0", "words", "pooler"}

    def logits(labels):
        return np.asarray(network.apply(variables, images, labels)[0])

    assert np.abs(logits(labels) - logits(captions(4, 9))).max() > 1e-4
    padded = np.pad(labels, ((0, 0), (0, 2)))
    np.testing.assert_allclose(logits(labels), logits(padded), atol=1e-5)
    with pytest.raises(ValueError, match="9 tokens, and the encoder reads at most 8"):
        logits(np.ones((4, 9), np.float32))


def test_a_step_changes_the_encoders_of_both_networks_and_the_mean_without_words():
    loss = dataclasses.replace(CAPTIONED.loss, path_length_weight=0.0, r1_gamma=0.0)
    programs = gan_programs(dataclasses.replace(CAPTIONED, loss=loss), optimizers=sgd())
    before = on_host(programs.init(jax.random.key(0)))
    after, _ = run_steps(programs, [captioned_batch(0)])
    for name in ("generator", "discriminator"):
        one, other = (getattr(state, name)["text"] for state in (before, after))
        for part in ("words", "places", "pooler"):
            changed = jax.tree.map(lambda a, b: (a != b).any(), one[part], other[part])
            assert all(jax.tree.leaves(changed)), (name, part)
    assert after.w_average.shape == (BASE.w_size,) and np.isfinite(after.w_average).all()


@pytest.mark.slow
def test_eight_devices_train_what_one_does():
    print(
        on_eight_devices(
            """
from captioned import CAPTIONED, captioned_batch
import jax
from sharing import without_device_draws
from training import assert_close, gan_programs, run_steps, sgd
config = without_device_draws(CAPTIONED)
one, eight = (
    run_steps(gan_programs(config, jax.devices()[:n], sgd()), [captioned_batch(0)]) for n in (1, 8)
)
assert_close(one, eight)
"""
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize("path_length", [0.0, 2.0])
def test_a_run_resumes_bit_for_bit(tmp_path, path_length):
    def batches(images_seen):
        return iter([captioned_batch(number) for number in range(images_seen // 16, 9)])

    def weights(run):
        with Checkpoints(run, read_only=True) as checkpoints:
            return checkpoints.weights()[0]

    loss = dataclasses.replace(CAPTIONED.loss, path_length_weight=path_length)
    for name, lengths in (("whole", [0.032]), ("halves", [0.016, 0.032])):
        for kimg in lengths:
            train = dataclasses.replace(CAPTIONED.train, total_kimg=kimg)
            once = dataclasses.replace(CAPTIONED, train=train, loss=loss)
            assert train_gan(once, tmp_path / name, batches)
    same = weights(tmp_path / "whole"), weights(tmp_path / "halves")
    jax.tree.map(np.testing.assert_array_equal, *same)


# Starts from weights, damaged files, figures


def slower(config, multiplier):
    """The same networks, whose encoders have another learning rate."""
    text = dataclasses.replace(TEXT, learning_rate_multiplier=multiplier)
    generator = dataclasses.replace(config.generator, text=text)
    discriminator = dataclasses.replace(config.discriminator, text=text)
    return dataclasses.replace(config, generator=generator, discriminator=discriminator)


def started(here, there, seed=2):
    """Random weights there, and those of a new run here that starts from them."""
    theirs = weights_of(random_state(there, seed))
    mine = random_state(here, seed + 1)
    return theirs, weights_of(adapt(weights_of(mine), theirs, here, there).put(mine))


def weights_of(state):
    return {name: jax.device_get(getattr(state, name)) for name in WEIGHTS}


def test_another_learning_rate_of_the_encoders_keeps_images_and_logits():
    there = dataclasses.replace(CAPTIONED, generator=CONFIG)
    here = slower(there, 0.1)
    theirs, mine = started(here, there)
    moments = {"moments": {"w_average": np.zeros(CONFIG.w_size, np.float32)}}
    seen = captioned_batch(0)["images"][:3] / 127.5 - 1
    made, judged = [], []
    for config, weights in ((there, theirs), (here, mine)):
        variables = {"params": weights["ema"], **moments}
        if weights["constants"]:
            variables["constants"] = weights["constants"]
        made.append(run(Generator(config.generator), variables, LABELS)[0])
        judge = jax.jit(Discriminator(config.discriminator).apply)
        judged.append(judge({"params": weights["discriminator"]}, seen, LABELS)[0])
    assert np.std(made[0], 0).mean() > 0.01
    np.testing.assert_allclose(made[1], made[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(judged[1], judged[0], rtol=1e-3, atol=1e-4)


def test_words_are_found_by_their_names():
    """Captions of another dataset number the same words in another order."""
    there = ("a", "red", "bird", "blue", "and", "the", "on", "in", "sky")
    here = ("a", "blue", "bird", "red", "green")
    config = changed(text={"vocabulary": 3 + len(here)})
    theirs, mine = weights_of(random_state(CAPTIONED, 2)), random_state(config, 3)
    transfer = adapt(weights_of(mine), theirs, config, CAPTIONED, Words(there, here))
    found = weights_of(transfer.put(mine))
    for network in ("generator", "ema", "discriminator"):
        old, new = (each[network]["text"]["words"] for each in (theirs, found))
        np.testing.assert_array_equal(new[:6], old[[0, 1, 2, 3, 6, 5]])
        np.testing.assert_array_equal(new[6], old[4])
        np.testing.assert_allclose(new[7], old[3:].mean(0), rtol=1e-6)
    rest = [entry for entry in transfer.report if not entry.path.endswith("text.words")]
    assert {entry.outcome for entry in rest} == {"taken"}
    (note,) = {entry.note for entry in transfer.report if entry.path.endswith("text.words")}
    assert note == "words found by their names; 1 of 5 are new, and start as the mean"
    assert adapt(theirs, theirs, CAPTIONED, CAPTIONED, Words(there, there)).complete


def test_without_captions_the_logit_is_what_they_share():
    here = tiny_config(path_length_weight=2.0, component_mixing=0.5)
    theirs, mine = started(here, CAPTIONED)
    shared = theirs["discriminator"]["unconditional"]
    jax.tree.map(np.testing.assert_array_equal, mine["discriminator"]["output"], shared)


@pytest.mark.parametrize(
    "damage",
    [{"heads": 0}, {"heads": 3}, {"layers": 10**9}, {"width": 0}, {"longest": 2}, {"epsilon": "x"}],
)
def test_damaged_exports_are_refused_in_one_line(damage, tmp_path):
    _, variables = random_generator(BASE)
    path = tmp_path / "g.safetensors"
    save_generator(path, BASE, variables)
    arrays = load_file(path)
    about = json.loads(safe_open(path, framework="numpy").metadata()[KEY])
    about["generator"]["text"] |= damage
    save_file(arrays, path, {KEY: json.dumps(about)})
    with pytest.raises(UserError, match="has no valid config of a generator|do not fit") as raised:
        read_generator(path)
    assert "\n" not in str(raised.value)


def test_components_are_measured_without_words():
    """DCI, for one, regresses attributes on what the components are."""
    generator, variables = random_generator(BASE)
    dataset: Any = FewCaptions()
    networks = metric_networks(place_on(jax.devices()[:1]), 2, cached=False)
    _, trained = generated_images(Path("run"), generator, variables, networks, dataset=dataset)
    _, w_BxKxD, _ = trained.components(range(2), attention=False)
    expected = run(generator, variables, LABELS)[1]["w"].shape[1] - TOKENS
    assert w_BxKxD.shape == (2, expected, BASE.w_size)


class FewCaptions:
    """What generated images ask of a dataset with captions."""

    condition_names = ("token 1", "token 2", "token 3", "token 4", "token 5", "token 6")
    description = None

    def __len__(self):
        return 3

    def label(self, index):
        return LABELS[index]


def test_a_path_in_w_changes_the_words_halfway(made):
    w_BxKxD = np.asarray(made[2][1]["w"])
    latents = ImageLatents(
        np.repeat(w_BxKxD[:, :, None], 2, 2), np.zeros(3, np.uint32), words=TOKENS
    )
    context = types.SimpleNamespace(latents=latents)
    between = _between_w(context, 0, 1, np.array([0, 0.25, 0.75])).w_BxKxLxD
    words = slice(CONFIG.components, -1)
    for step, end in ((0, 0), (1, 0), (2, 1)):
        np.testing.assert_array_equal(between[step, words, 0], w_BxKxD[end, words])
    assert np.any(between[1, :2] != between[0, :2])


# Configs


def changed(generator=None, discriminator=None, text=None):
    config = CAPTIONED
    if text is not None:
        encoder = dataclasses.replace(TEXT, **text)
        generator = {"text": encoder, **(generator or {})}
        discriminator = {"text": encoder, **(discriminator or {})}
    return dataclasses.replace(
        config,
        generator=dataclasses.replace(config.generator, **(generator or {})),
        discriminator=dataclasses.replace(config.discriminator, **(discriminator or {})),
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"generator": {"label_size": 0}}, "label_size is 0; for captions .* from 2 to generator"),
        ({"generator": {"label_size": 9}}, "label_size is 9; .* generator.text.longest, 8"),
        ({"generator": {"text": TextEncoderConfig()}}, "vocabulary is 0 and discriminator.*12"),
        ({"text": {"heads": 3}}, "text.heads is 3, which does not divide .*width 8"),
        ({"generator": {"components": 0}}, "components is 0, but captions need components"),
        ({"discriminator": {"label_logit": "class"}}, "set it to projection"),
        ({"discriminator": {"network": "sagan"}}, "network is sagan, which reads no captions"),
        ({"text": {"vocabulary": 0}}, "text has no effect: set generator.text.vocabulary"),
        ({"text": {"learning_rate_multiplier": 0.0}}, "learning_rate_multiplier is 0.0"),
    ],
)
def test_configs_that_do_not_fit_are_refused_in_one_line(changes, words):
    validate(CAPTIONED)
    with pytest.raises(UserError, match=words) as raised:
        validate(changed(**changes))
    assert "\n" not in str(raised.value)
