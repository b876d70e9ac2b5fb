"""The autoregressive prior: its stages, on any number of devices, resumed, and its samples."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eight_devices import on_eight_devices
from program_checks import assert_no_collectives_in_loops
from training import assert_close, no_images, on_host

from ganformer_jax import losses
from ganformer_jax.config.dicts import to_dict
from ganformer_jax.config.kinds import experiment_from_dict, validate_experiment
from ganformer_jax.config.patches import PatchConfig
from ganformer_jax.config.prior import (
    AutoencoderConfig,
    CodebookConfig,
    PriorConfig,
    PriorLossConfig,
    PriorOptimizerConfig,
    PriorStageConfig,
    TransformerConfig,
)
from ganformer_jax.config.training import ScheduleConfig, TrainConfig
from ganformer_jax.errors import UserError
from ganformer_jax.models.code_prior import (
    code_logits,
    decode_codes,
    draw_code,
    encode,
    prefix_tokens,
    sample_codes,
    transformer_of,
)
from ganformer_jax.models.patch_discriminator import PatchDiscriminator
from ganformer_jax.models.vq_autoencoder import (
    Decoder,
    commitment_loss,
    nearest_codes,
    straight_through,
)
from ganformer_jax.nn import resample
from ganformer_jax.pixels import from_uint8
from ganformer_jax.sampling.priors import PriorSampler
from ganformer_jax.train import compile
from ganformer_jax.train.checkpoints.checkpoints import Checkpoints
from ganformer_jax.train.compile import Programs
from ganformer_jax.train.data_parallel import DataParallel
from ganformer_jax.train.devices import place_on
from ganformer_jax.train.kinds.prior import (
    balance_of,
    prior_trainable,
    trains_transformer,
    transformer_update,
)
from ganformer_jax.train.kinds.prior_state import create_prior, weights_of
from ganformer_jax.train.loop import train
from ganformer_jax.train.prefetch import place_batch

BATCH, CLASSES = 8, 3
TINY = PriorConfig(
    autoencoder=AutoencoderConfig(image_size=(8, 8), width=4, multipliers=(1, 1)),
    codebook=CodebookConfig(entries=8, width=2),
    transformer=TransformerConfig(layers=2, width=8, heads=2, hidden_width=8),
    discriminator=PatchConfig(width=2, layers=1),
    prior=PriorStageConfig(autoencoder_kimg=0.016, adversarial_kimg=0.008, label_size=CLASSES),
    loss=PriorLossConfig(pixel=2.0, pyramid=0.7, commitment=0.3, adversarial=0.4),
    autoencoder_optimizer=PriorOptimizerConfig(beta1=0.0, gradient_clip=None),
    train=TrainConfig(batch_size=BATCH, total_kimg=0.032),
)


def programs_on(devices, config=TINY, **mesh):
    placement = place_on(devices, **mesh)
    return Programs(prior_trainable(config, placement, no_images), placement)


def batch_of(seed):
    random = np.random.default_rng(seed)
    labels = np.eye(CLASSES, dtype=np.float32)[random.integers(0, CLASSES, BATCH)]
    return {"images": random.integers(0, 256, (BATCH, 8, 8, 3), np.uint8), "labels": labels}


def batches(images_seen):
    return map(batch_of, itertools.count(images_seen // BATCH))


def run_stages(programs, count=4):
    """The states and what updates report, of as many steps, on the host."""
    state, found = programs.init(jax.random.key(0)), []
    names, sharding = programs.trainable.batch, programs.placement.batch
    for number in range(count):
        before = on_host(state)
        batch = place_batch(batch_of(number), names, sharding)
        state, info = programs.step(state, batch, number, number * BATCH)
        found.append((before, on_host(info)))
    return on_host(state), found


@pytest.fixture(scope="module")
def programs():
    return programs_on(jax.devices()[:1])


@pytest.fixture(scope="module")
def stages(programs):
    return run_stages(programs)


def test_only_updates_that_are_still_to_come_are_compiled(monkeypatch):
    """A run that resumes with its transformer does not wait for programs of the autoencoder."""
    begun = []
    monkeypatch.setattr(compile, "compile_program", lambda name, lowered: begun.append(name))
    for images_seen, names in ((0, 3), (8, 2), (16, 1), (99, 1)):
        programs = programs_on(jax.devices()[:1])
        programs.compile_in_background(images_seen)
        programs.wait()
        assert begun == ["transformer", "adversarial", "autoencoder"][:names]
        assert [update.name for update in programs.compiled] == begun[::-1]
        begun.clear()
    programs.compile_in_background(8)  # recovery may return to an older checkpoint
    programs.wait()
    assert begun == ["adversarial"]
    assert [update.name for update in programs.compiled] == ["adversarial", "transformer"]


def changed(one, other):
    return not all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(other)))


def test_each_stage_trains_its_networks(stages):
    last, found = stages
    states = [state for state, _ in found] + [last]
    assert [int(state.images_seen) for state in states] == [0, 8, 16, 24, 32]
    for name, moves in {
        "autoencoder": [True, True, False, False],
        "codebook": [True, True, False, False],
        "discriminator": [False, True, False, False],
        "transformer": [False, False, True, True],
    }.items():
        pairs = itertools.pairwise(getattr(state, name) for state in states)
        assert [changed(*pair) for pair in pairs] == moves, name
    names = [set(info) for _, info in found]
    assert "loss/generator" not in names[0] and {"loss/generator", "loss/balance"} <= names[1]
    assert names[2] == {"loss/bits", "gradient_norm/transformer"}


@pytest.mark.parametrize("step", [0, 1], ids=["autoencoder", "adversarial"])
def test_the_autoencoder_follows_the_gradient_of_its_weighted_losses(stages, step):
    """Reconstruction, commitment and, balanced, the adversarial loss (equations 4 to 7)."""
    _, found = stages
    before, info = found[step]
    after, _ = found[step + 1]
    reals, entries = from_uint8(batch_of(step)["images"]), before.codebook.entries
    weights, balance = TINY.loss, info.get("loss/balance", 0.0)

    @jax.jit
    @jax.grad
    def gradient(params):
        vectors = encode(TINY, params, reals)
        chosen = jnp.asarray(entries)[nearest_codes(vectors, entries)]
        images, _ = Decoder(TINY.autoencoder).apply(
            {"params": params["decoder"]}, straight_through(vectors, chosen)
        )
        logits = PatchDiscriminator(TINY.discriminator).apply(
            {"params": before.discriminator}, images
        )
        return (
            weights.pixel * jnp.abs(images - reals).mean()
            + weights.pyramid * losses.laplacian_distance(images, reals).mean()
            + weights.commitment * commitment_loss(vectors, chosen)
            - weights.adversarial * balance * logits.mean()
        )

    moment = after.autoencoder_optimizer[0].mu  # the gradient, as beta1 is 0
    assert_close(moment, gradient(before.autoencoder), rtol=1e-3)
    assert ("loss/balance" in info) == (step == 1) and (step == 0 or balance > 0)


def test_the_schedule_of_the_transformer_begins_with_its_stage(stages):
    """At the first images of its stage, the learning rate of a warm-up is 0."""
    warm = dataclasses.replace(
        TINY.transformer_optimizer, learning_rate_schedule=ScheduleConfig(warmup_kimg=1.0)
    )
    config = dataclasses.replace(TINY, transformer_optimizer=warm)
    update = jax.jit(functools.partial(transformer_update, config, DataParallel()))
    before = programs_state(stages[1][2][0])
    after, _ = update(before, batch_of(2))
    assert not changed(before.transformer, after.transformer)
    later, _ = update(before.replace(images_seen=before.images_seen + 500), batch_of(2))
    assert changed(before.transformer, later.transformer)


def programs_state(state):
    """A state from the host, with its random key."""
    return state.replace(key=jax.random.wrap_key_data(state.key))


def test_bits_are_those_of_the_logits(stages):
    """At first about as many as a uniform distribution over 8 codes has."""
    state, info = stages[1][2]
    sampler = PriorSampler(TINY, BATCH)
    batch, variables = batch_of(2), jax.tree.map(jnp.asarray, weights_of(state))
    _, codes = sampler.reconstruct(variables, batch["images"])
    nats = sampler.nats(variables, codes, batch["labels"].argmax(-1).tolist())
    np.testing.assert_allclose(nats.mean() / np.log(2), info["loss/bits"], rtol=1e-3)
    assert abs(info["loss/bits"] - 3) < 0.2


def test_the_balance_is_the_ratio_of_gradients_at_the_last_convolution():
    keys = jax.random.split(jax.random.key(0), 3)
    features, target = (jax.random.normal(key, (2, 8, 8, 3)) for key in keys[:2])
    kernel = jax.random.normal(keys[2], (3, 3, 3, 3))

    def at(loss):
        return lambda kernel: loss(resample.convolve(features, kernel))

    one, other = (
        lambda images: losses.laplacian_distance(images, target).mean(),
        lambda images: jnp.square(images).mean(),
    )
    expected = jnp.linalg.norm(jax.grad(at(one))(kernel)) / jnp.linalg.norm(
        jax.grad(at(other))(kernel)
    )
    images = resample.convolve(features, kernel)
    found = balance_of(features, kernel, jax.grad(one)(images), jax.grad(other)(images))
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def random_transformer(config=TINY):
    tokens = jnp.zeros((1, config.longest), jnp.int32)
    params = transformer_of(config).init(jax.random.key(0), tokens)["params"]
    return jax.tree.map(lambda leaf: leaf * 5, params)  # far from uniform


def test_cached_samples_are_uncached_ones():
    """Each code drawn again from logits of the whole sequence, without a cache."""
    params, count = random_transformer(), TINY.autoencoder.code_count
    prefix = prefix_tokens(TINY, jnp.eye(CLASSES), CLASSES)
    keys = jax.vmap(jax.random.key)(jnp.arange(CLASSES))
    sample = functools.partial(sample_codes, TINY, temperature=0.7, top_k=4)
    found = jax.jit(sample)(params, prefix, keys)
    codes = jnp.zeros((CLASSES, count), jnp.int32)
    logits_of = jax.jit(functools.partial(code_logits, TINY))
    for place in range(count):
        logits = logits_of(params, prefix, codes)[:, place]
        folded = jax.vmap(jax.random.fold_in, (0, None))(keys, place)
        codes = codes.at[:, place].set(draw_code(logits, folded, jnp.float32(0.7), 4))
    np.testing.assert_array_equal(found, codes)
    assert len({tuple(row) for row in found.tolist()}) == CLASSES
    alone = jax.jit(sample)(params, prefix[1:2], keys[1:2])
    np.testing.assert_array_equal(alone[0], found[1])


def test_codes_are_decoded_by_weights_that_are_constants(stages):
    """Those of a checkpoint are arrays of NumPy."""
    state, codes = stages[0], jnp.arange(16).reshape(1, 16) % TINY.codebook.entries
    decode = functools.partial(decode_codes, TINY, state.autoencoder, state.codebook.entries)
    np.testing.assert_allclose(jax.jit(decode)(codes), decode(codes), atol=1e-4)


def test_draws_follow_temperature_and_top_k():
    logits = jnp.asarray([[0.0, 2.0, 1.0, -1.0]]).repeat(4000, 0)
    keys = jax.vmap(jax.random.key)(jnp.arange(4000))

    def shares(temperature, top_k):
        codes = draw_code(logits, keys, jnp.float32(temperature), top_k)
        return np.bincount(codes, minlength=4) / 4000

    np.testing.assert_allclose(shares(1.0, 0), jax.nn.softmax(logits[0]), atol=0.03)
    np.testing.assert_allclose(shares(2.0, 0), jax.nn.softmax(logits[0] / 2), atol=0.03)
    np.testing.assert_array_equal(shares(0.0, 0), [0, 1, 0, 0])
    np.testing.assert_array_equal(shares(5.0, 1), [0, 1, 0, 0])
    kept = shares(3.0, 2)
    assert (kept > 0).tolist() == [False, True, True, False]
    expected = jax.nn.softmax(logits[0, 1:3] / 3)
    np.testing.assert_allclose(kept[1:3], expected, atol=0.03)


def test_prefixes_are_tokens_of_their_own():
    def prefix(label_size, vocabulary, labels):
        options = dataclasses.replace(TINY.prior, label_size=label_size, vocabulary=vocabulary)
        config = dataclasses.replace(TINY, prior=options)
        found = prefix_tokens(config, labels, 2)
        assert found.shape[1] == config.prefix_length and int(found.max()) < config.vocabulary
        return found.tolist()

    assert prefix(0, 0, None) == [[8], [8]]
    assert prefix(3, 0, jnp.eye(3)[1:]) == [[9], [10]]
    captions = jnp.asarray([[1.0, 4.0, 2.0], [1.0, 2.0, 0.0]])
    assert prefix(3, 5, captions) == [[9, 12, 10], [9, 10, 8]]
    # The first class was taken where labels were missing.
    for labels, message in (
        (None, r"this prior needs labels \[2, 3\]"),
        (jnp.asarray([1, 2]), r"labels \[2\]: give \[2, 3\]"),
        (jnp.eye(4)[:2], r"labels \[2, 4\]: give \[2, 3\]"),
    ):
        with pytest.raises(ValueError, match=message):
            prefix(3, 0, labels)


def test_a_transformer_that_is_never_trained_can_be_compiled():
    """More images than an int32 holds were an error of jax."""
    for kimg in (0.016, 1e9):
        options = dataclasses.replace(TINY.prior, autoencoder_kimg=kimg)
        config = dataclasses.replace(TINY, prior=options)
        validate_experiment(config)
        update = functools.partial(transformer_update, config, DataParallel())
        state = jax.eval_shape(functools.partial(create_prior, config), jax.random.key(0))
        after, _ = jax.eval_shape(update, state, batch_of(0))
        assert after.images_seen.dtype == jnp.int32


@pytest.mark.slow
def test_half_precision_is_close(stages):
    """Losses of the steps in bfloat16, whose parameters stay float32."""
    names = ("autoencoder", "discriminator", "transformer")
    halves = {n: dataclasses.replace(getattr(TINY, n), dtype="bfloat16") for n in names}
    state, found = run_stages(programs_on(jax.devices()[:1], dataclasses.replace(TINY, **halves)))
    for (_, info), (_, expected) in zip(found, stages[1], strict=True):
        for name in set(info) & {"loss/pixel", "loss/pyramid", "loss/bits", "loss/discriminator"}:
            np.testing.assert_allclose(info[name], expected[name], rtol=0.1, err_msg=name)
    leaves = jax.tree.leaves((state.autoencoder, state.transformer, state.codebook))
    assert {leaf.dtype.name for leaf in leaves} == {"float32"}


def report_devices():
    """Compare eight devices, in two meshes, with one, through all stages and restarts."""
    # Adam would make steps of the rounding in gradients that are 0.
    options = PriorOptimizerConfig(learning_rate=0.005, epsilon=1.0)
    config = dataclasses.replace(TINY, autoencoder_optimizer=options, transformer_optimizer=options)
    meshes = [(jax.devices()[:1], {}), (jax.devices(), {})]
    meshes.append((jax.devices(), {"fsdp": 4, "sharded_size": 16}))
    found = []
    for devices, mesh in meshes:
        programs = programs_on(devices, config, **mesh)
        state, steps = run_stages(programs)
        networks = state.autoencoder, state.codebook, state.discriminator, state.transformer
        found.append((networks, [info for _, info in steps]))
    assert_no_collectives_in_loops(programs)
    for other in found[1:]:
        assert_close(found[0], other, rtol=1e-3, atol=1e-4)
    print("equal")


@pytest.mark.slow
def test_eight_devices_compute_what_one_computes():
    code = "import test_prior; test_prior.report_devices()"
    assert on_eight_devices(code).strip().endswith("equal")


def train_tiny(run, kimg=0.032, config=TINY):
    placement = place_on(jax.devices()[:1])
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, total_kimg=kimg))
    trainable, say = prior_trainable(config, placement, no_images), lambda line: None
    return train(trainable, placement, config, run, batches, say=say)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [0.008, 0.016, 0.024])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, stages, stop):
    """Stopped in each stage."""
    assert train_tiny(tmp_path, stop)
    assert train_tiny(tmp_path)
    names = ("autoencoder", "discriminator", "transformer", "transformer_optimizer")
    whole = stages[0]
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        fields, _ = checkpoints.weights(4, (*names, "codebook"))
    for name in names:
        leaves = map(jax.tree.leaves, (fields[name], getattr(whole, name)))
        for one, other in zip(*leaves, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)
    for name, array in fields["codebook"].items():
        np.testing.assert_array_equal(array, getattr(whole.codebook, name), err_msg=name)


def changed_config(**groups):
    values = to_dict(TINY)
    for path, value in groups.items():
        group, name = path.split("__")
        values[group][name] = value
    return values


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"autoencoder__image_size": [8, 9]}, "image_size is 8x9; both should be multiples of 2"),
        ({"discriminator__layers": 2}, "the pixels of a code, and 16 or more"),
        ({"autoencoder__image_channels": 33}, "image_channels is 33; it should be from 1 to 32"),
        ({"autoencoder__multipliers": []}, "autoencoder.multipliers is []; it should be one"),
        ({"transformer__heads": 3}, "transformer.heads is 3, which does not divide"),
        ({"codebook__entries": 1}, "codebook.entries is 1; it should be 2 or more"),
        ({"codebook__decay": 1.0}, "codebook.decay is 1.0; it should be 0 or more, below 1"),
        ({"prior__vocabulary": 5, "prior__label_size": 0}, "for captions set prior.label_size"),
        ({"train__accumulate": 2}, "train.accumulate has no effect on a prior"),
        ({"loss__adversarial": -1.0}, "loss.adversarial is -1.0; it should be 0 or more"),
        ({"loss__adversarial": 0.0}, "prior.adversarial_kimg has no effect: set loss.adversarial"),
        ({"prior__adversarial_kimg": 0.016}, "so the adversarial loss would never start"),
        ({"transformer_optimizer__epsilon": 0}, "epsilon is 0.0; it should be above 0"),
        ({"prior__autoencoder_kimg": 0.0}, "prior.autoencoder_kimg is 0.0; it should be above 0"),
        ({"codebook__restart_below": 1.0}, "restart_below is 1.0; it should be 0 or more, below 1"),
        ({"loss__pixel": 0.0, "loss__pyramid": 0.0}, "loss.pixel and loss.pyramid are both 0"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(groups, message):
    with pytest.raises(UserError) as error:
        validate_experiment(experiment_from_dict(changed_config(**groups)))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_the_transformer_trains_from_the_first_step_that_starts_behind_the_autoencoders():
    """Steps of 8 images end at 16 and 24: with 17 images for the autoencoder it has three."""
    config = dataclasses.replace(
        TINY, prior=dataclasses.replace(TINY.prior, autoencoder_kimg=0.017)
    )
    assert [trains_transformer(config, seen) for seen in (16, 24, 32)] == [False, False, True]
    assert [trains_transformer(TINY, seen) for seen in (16, 24)] == [False, True]
