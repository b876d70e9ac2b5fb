"""StyleGAN2 networks of NVIDIA's code: outputs match the references; nothing is left over.

`stylegan2-ada.npz` and its snapshot are references as in `reference.py`. The files `nvidia*` come
from running stylegan2-ada-pytorch (commit d72cc7d) and, for `stylegan3` and `averages`, stylegan3,
on a CPU in float32 with constant noise: small networks, every array but the filters perturbed, D on
the images clipped to [-1, 1]. Activations exceed `conv_clamp` in all that have one; biases of
`stylegan3` are in the hundreds, for its default of 256. `resnet_skip` has gradients too: of the
mean softplus(-D(G(z))), and of the mean of 5 times the squared norm of dD/dimage. The snapshot of
averages has the generator of `stylegan3` and an augmentation pipe, and no embedded source text.
"""

import functools
import json
import pickle

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
from command_line import call
from reference import DATA, Vector, gradient_errors, relative_error

import ganformer_jax
from ganformer_jax import convert
from ganformer_jax.config import (
    DiscriminatorConfig,
    GeneratorConfig,
    LabelMappingConfig,
    MappingConfig,
    SynthesisConfig,
)
from ganformer_jax.config.checks import validate_networks
from ganformer_jax.config.dicts import from_dict, to_dict
from ganformer_jax.convert.arguments import ConversionError
from ganformer_jax.convert.export import read_generator, save_generator
from ganformer_jax.convert.snapshot import read_snapshot
from ganformer_jax.convert.snapshot_contents import describe, run_weights
from ganformer_jax.errors import UserError
from ganformer_jax.models import Discriminator, Generator
from ganformer_jax.nn.layers import clamp
from ganformer_jax.nn.resample import downsample, upsample

SNAPSHOT, AVERAGES = DATA / "stylegan2-ada-snapshot.pkl", DATA / "nvidia-averages.pkl"
VECTORS = "conditional", "clamped", "resnet_skip", "orig", "stylegan3"


@pytest.fixture(autouse=True)
def exact_matmuls():
    with jax.default_matmul_precision("highest"):
        yield


def published(name="nvidia_clamped"):
    vector = Vector(name)
    return vector, vector.meta.get("version", "stylegan2-ada")


def load_generator(vector, version, **changed):
    arguments = vector.meta["generator"] | changed
    return convert.load_nvidia_generator(vector.under("G/"), arguments, version)


def load_discriminator(vector, version, **changed):
    arguments = vector.meta["discriminator"] | changed
    return convert.load_nvidia_discriminator(vector.under("D/"), arguments, version)


def errors(vector, generator, variables, discriminator, discriminator_variables):
    """Return the largest relative errors of w, images, truncated images and logits."""
    z, labels = jnp.asarray(vector["in/z"])[:, None], jnp.asarray(vector["in/c"])
    truncation = {name: vector.meta[name] for name in ("truncation_psi", "truncation_cutoff")}

    @jax.jit
    def run(variables):
        run = functools.partial(generator.apply, variables, z, labels, noise="const")
        return run(), run(**truncation)[0]

    (images, out), truncated = run(variables)
    real = vector.images("out/img")
    real = real if vector.meta.get("version") is None else jnp.clip(real, -1, 1)
    logits, _ = jax.jit(discriminator.apply)(discriminator_variables, real, labels)
    nchw = (np.asarray(value).transpose(0, 3, 1, 2) for value in (images, truncated))
    ours = dict(zip(("img", "img_truncated"), nchw, strict=True)) | {"logits": logits}
    ours["ws"] = out["w"][:, 0]
    return {name: relative_error(value, vector[f"out/{name}"]) for name, value in ours.items()}


def check(found, report_line, label):
    found = {name: float(f"{error:.1e}") for name, error in found.items()}
    report_line(f"{label}: {found}")
    assert len(found) == 4 and max(found.values()) < 1e-5


@pytest.mark.parametrize("name", VECTORS)
def test_outputs_are_the_published_ones(name, report_line):
    vector, version = published(f"nvidia_{name}")
    networks = *load_generator(vector, version), *load_discriminator(vector, version)
    check(errors(vector, *networks), report_line, name)
    generator, discriminator = networks[0].config, networks[2].config
    assert generator == from_dict(GeneratorConfig, to_dict(generator))
    validate_networks(generator, discriminator)


def test_arrays_tell_whose_network_it_is():
    vector, _ = published("nvidia_conditional")
    networks = load_generator(vector, "stylegan2-ada"), load_discriminator(vector, "stylegan2-ada")
    for kind, (module, variables) in zip(("generator", "discriminator"), networks, strict=True):
        load = getattr(convert, f"load_{kind}")
        found, loaded = load(vector.under(f"{kind[0].upper()}/"), vector.meta[kind])
        assert found == module
        jax.tree.map(np.testing.assert_array_equal, loaded, variables)


def test_gradients_through_the_clamp_are_the_published_ones(report_line):
    """Of the generator loss, and of the mean of 5 times R1's penalty: a second derivative."""
    vector, version = published("nvidia_resnet_skip")
    generator, variables = load_generator(vector, version)
    discriminator, discriminator_variables = load_discriminator(vector, version)
    images, z = jnp.clip(vector.images("out/img"), -1, 1), jnp.asarray(vector["in/z"])[:, None]

    def generator_loss(params):
        fake, _ = generator.apply({**variables, "params": params}, z, noise="const")
        return jnp.mean(jax.nn.softplus(-discriminator.apply(discriminator_variables, fake)[0]))

    def penalty(params):
        def total(images):
            return discriminator.apply({"params": params}, images)[0].sum()

        return 5 * jnp.square(jax.grad(total)(images)).sum((1, 2, 3)).mean()

    def theirs(load, network, prefix):
        own = vector.under(f"{network}/") | vector.under(prefix)
        kind = {"G": "generator", "D": "discriminator"}[network]
        return load(own, vector.meta[kind], version)[1]["params"]

    pairs = {
        "generator loss": (
            jax.jit(jax.grad(generator_loss))(variables["params"]),
            theirs(convert.load_nvidia_generator, "G", "gradG/"),
        ),
        "R1": (
            jax.jit(jax.grad(penalty))(discriminator_variables["params"]),
            theirs(convert.load_nvidia_discriminator, "D", "gradR1/"),
        ),
    }
    found = {name: gradient_errors(*pair)[:2] for name, pair in pairs.items()}
    report_line(f"gradients: {found}")
    assert all(whole < 1e-4 and leaf < 1e-3 for whole, leaf in found.values())


def test_the_reference_as_arrays_and_as_a_snapshot(report_line):
    vector, version = published("stylegan2-ada")
    networks = *load_generator(vector, version), *load_discriminator(vector, version)
    check(errors(vector, *networks), report_line, "stylegan2-ada.npz")
    snapshot = read_snapshot(SNAPSHOT)
    generator, variables = snapshot.generator()
    discriminator, discriminator_variables = snapshot.discriminator()
    assert generator == networks[0] and discriminator == networks[2]
    jax.tree.map(np.testing.assert_array_equal, variables, networks[1])
    jax.tree.map(np.testing.assert_array_equal, discriminator_variables, networks[3])


# What the clamp does


def clamped_networks(clamp=0.5, architecture="resnet"):
    synthesis = SynthesisConfig(architecture, 32, 4, last_convolution=False, clamp=clamp)
    mapping = MappingConfig(num_layers=1, residual=False, self_attention=False)
    generator = GeneratorConfig(
        resolution=8, components=0, latent_size=4, mapping=mapping, synthesis=synthesis
    )
    return Generator(generator), Discriminator(DiscriminatorConfig("resnet", 32, 4, clamp=clamp))


def test_without_a_clamp_nothing_is_computed_for_it():
    generator, discriminator = clamped_networks(None)
    z, images = jnp.ones((2, 1, 4)), jnp.ones((2, 8, 8, 3))
    keys = {"params": jax.random.key(0), "noise": jax.random.key(1)}
    for module, inputs in ((generator, z), (discriminator, images)):
        text = {}
        for largest in (None, 0.5):
            own = clamped_networks(largest)[module is discriminator]
            text[largest] = str(
                jax.make_jaxpr(functools.partial(own.init_with_output, keys))(inputs)
            )
        assert "clamp" in text[0.5] or "min" in text[0.5]
        assert text[None].count(" min ") == text[None].count("clamp") == 0


def test_a_clamp_limits_images():
    generator, _ = clamped_networks(0.3)
    z = jax.random.normal(jax.random.key(2), (4, 1, 4))
    variables = generator.init({"params": jax.random.key(0)}, z, noise="const")
    images = np.abs(generator.apply(variables, z, noise="const")[0])
    assert images.max() == np.float32(0.3) and images.min() < 0.25


def test_a_clamp_has_first_and_second_derivatives():
    """Those of the identity within the limits, zero outside."""

    def wave(x):
        return jnp.sin(clamp(x, 0.5))

    jax.test_util.check_grads(wave, (jnp.array([-1.0, -0.3, 0.2, 0.9]),), 2, eps=1e-2)
    images = jax.random.uniform(jax.random.key(2), (4, 8, 8, 3), minval=-1)
    params = jax.jit(clamped_networks()[1].init)(jax.random.key(1), images)

    def r1_gradient(clamp):
        discriminator = clamped_networks(clamp)[1]

        def total(images, params):
            return discriminator.apply(params, images)[0].sum()

        def penalty(params):
            return jnp.square(jax.grad(total)(images, params)).sum()

        return jax.tree.leaves(jax.jit(jax.grad(penalty))(params))

    found = {clamp: r1_gradient(clamp) for clamp in (None, 1e6, 0.5, 1e-6)}
    for free, wide, narrow in zip(found[None], found[1e6], found[0.5], strict=True):
        np.testing.assert_allclose(wide, free, rtol=1e-4, atol=1e-6)
        assert np.isfinite(narrow).all()
    size = {clamp: sum(np.abs(leaf).sum() for leaf in leaves) for clamp, leaves in found.items()}
    assert 0 < size[0.5] < size[None] and size[1e-6] < 1e-6 * size[None]


# The label embedding of the discriminator


@pytest.mark.parametrize("labels", ["classes", "several", "numbers"])
def test_the_label_embedding_trains(labels):
    rng = np.random.default_rng(0)
    values = {
        "classes": np.eye(3)[[0, 1, 2, 0]],
        "several": np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 1, 1]]),
        "numbers": rng.standard_normal((4, 3)),
    }[labels].astype(np.float32)
    images = rng.uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32)
    mapping = LabelMappingConfig(num_layers=3, width=6, hidden_width=5, embedding_width=7)
    config = DiscriminatorConfig("resnet", 32, 4, label_logit="embedding", label_mapping=mapping)
    network = Discriminator(config)
    variables = jax.jit(network.init)(jax.random.key(0), images, values)
    shapes = jax.tree.map(lambda leaf: leaf.shape, variables["params"])
    assert shapes["label_embedding"]["kernel"] == (3, 7)
    assert [shapes["label_mapping"][n]["kernel"] for n in ("layer_0", "layer_1", "output")] == [
        (7, 5),
        (5, 5),
        (5, 6),
    ]

    def loss(params):
        logits, _ = network.apply({"params": params}, images, values)
        return jnp.mean(jax.nn.softplus(logits * jnp.array([[1.0], [-1], [1], [-1]])))

    gradient = jax.jit(jax.grad(loss))(variables["params"])
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)
    discriminate = jax.jit(network.apply)
    logits = discriminate(variables, images, values)[0]
    others = discriminate(variables, images, values[::-1])[0]
    assert logits.shape == (4, 1) and np.abs(logits - others).max() > 1e-3


def test_a_label_mapping_without_layers_is_the_scaled_embedding():
    mapping = LabelMappingConfig(num_layers=0)
    config = DiscriminatorConfig("resnet", 32, 4, label_logit="embedding", label_mapping=mapping)
    network, images, labels = Discriminator(config), jnp.ones((3, 8, 8, 3)), jnp.eye(3)
    variables = jax.jit(network.init)(jax.random.key(0), images, labels)
    assert "label_mapping" not in variables["params"]
    logits = network.apply(variables, images, labels)[0]
    scaled = network.apply(variables, images, 5 * labels)[0]  # no bias yet, so only the direction
    np.testing.assert_allclose(logits, scaled, rtol=1e-5)
    assert np.ptp(logits) > 0


def test_the_label_mapping_is_initialized_as_published():
    """Unit variance over the multiplier, zero biases, and by default 8 layers of one width."""
    config = DiscriminatorConfig("resnet", 1024, 256, label_logit="embedding")
    network = Discriminator(config)
    inputs = jnp.zeros((1, 8, 8, 3)), jnp.zeros((1, 10))
    params = jax.jit(network.init)(jax.random.key(0), *inputs)["params"]
    mapping = params["label_mapping"]
    assert sorted(mapping) == [*(f"layer_{i}" for i in range(7)), "output"]
    for layer in mapping.values():
        assert layer["kernel"].shape == (256, 256) and not layer["bias"].any()
        assert np.std(layer["kernel"]) == pytest.approx(100, rel=0.05)
    assert np.std(params["label_embedding"]["kernel"]) == pytest.approx(1, rel=0.1)


def test_options_of_the_label_mapping_and_of_widths_are_refused_where_nothing_reads_them():
    generator, _ = clamped_networks()
    config = DiscriminatorConfig(label_mapping=LabelMappingConfig(num_layers=3))
    with pytest.raises(UserError, match="label_mapping is set, but discriminator.label_logit is"):
        validate_networks(generator.config, config)
    for mapping, message in (
        (MappingConfig(last_hidden_width=5), "is 5, but generator.mapping.residual"),
        (
            MappingConfig(num_layers=0, residual=False, last_hidden_width=5),
            "needs generator.mapping.num_layers",
        ),
    ):
        config = GeneratorConfig(components=4, mapping=mapping)
        with pytest.raises(UserError, match=f"last_hidden_width {message}"):
            validate_networks(config, DiscriminatorConfig())
    for name, layers in (("embedding_width", 0), ("hidden_width", 1)):
        options = LabelMappingConfig(num_layers=layers, **{name: 5})
        config = DiscriminatorConfig(label_logit="embedding", label_mapping=options)
        with pytest.raises(UserError, match=f"label_mapping.{name} needs .* of {layers + 1} or"):
            validate_networks(generator.config, config)
    with pytest.raises(UserError, match=r"clamp is 0.0; it should be above 0"):
        validate_networks(generator.config, DiscriminatorConfig(clamp=0.0))


def test_a_filter_of_one_tap_changes_the_resolution_alone():
    images = jax.random.normal(jax.random.key(0), (1, 4, 4, 2))
    np.testing.assert_array_equal(downsample(images, (1,)), images[:, ::2, ::2])
    doubled = upsample(images, (1,))
    np.testing.assert_array_equal(doubled[:, 1::2, 1::2], 4 * images)
    assert not doubled[:, ::2].any() and not doubled[:, :, ::2].any()


# Refusals


def test_errors_list_the_names_of_both_sides():
    vector, version = published()
    state = vector.under("G/")
    state["synthesis.b8.conv0.extra"] = np.zeros(3)
    del state["mapping.fc2.weight"]
    with pytest.raises(ConversionError) as caught:
        convert.load_nvidia_generator(state, vector.meta["generator"], version)
    assert "synthesis.b8.conv0.extra" in str(caught.value)
    assert "params/mapping/global/output/kernel" in str(caught.value)
    state = vector.under("D/")
    state["mapping.fc0.bias"] = state["mapping.fc0.bias"][:-1]
    with pytest.raises(ConversionError, match=r"mapping.fc0.bias \(6,\) for params/label_mapping"):
        convert.load_nvidia_discriminator(state, vector.meta["discriminator"], version)


@pytest.mark.parametrize(
    ("group", "changed", "message"),
    [
        ("synthesis_kwargs", {"sparkle": 1}, "synthesis network has unknown arguments: sparkle"),
        ("synthesis_kwargs", {"activation": "relu"}, "activation='relu' is not supported"),
        ("synthesis_kwargs", {"kernel_size": 1}, "kernel_size=1 is not supported"),
        ("synthesis_kwargs", {"fused_modconv_default": True}, "unknown arguments: fused_modconv"),
        ("synthesis_kwargs", {"resample_filter": [1, 3, 3, 1]}, "is not the filter"),
        ("synthesis_kwargs", {"resample_filter": [[1]]}, "resample_filter must be of type int"),
        ("synthesis_kwargs", {"conv_clamp": -1}, "clamp is -1.0; it should be above 0"),
        ("mapping_kwargs", {"num_layers": 0}, "num_layers=0 is not supported, only 1 or more"),
        ("mapping_kwargs", {"embed_features": 0}, "embed_features=0 is not supported"),
    ],
)
def test_arguments_without_a_counterpart_are_refused(group, changed, message):
    vector, version = published()
    values = vector.meta["generator"][group] | changed
    with pytest.raises(UserError, match=message):
        load_generator(vector, version, **{group: values})


def test_arguments_of_the_discriminator_are_refused_too():
    vector, version = published()
    with pytest.raises(ConversionError, match="discriminator has unknown arguments: sparkle"):
        load_discriminator(vector, version, sparkle=1)
    with pytest.raises(ConversionError, match="discriminator block argument activation='relu'"):
        load_discriminator(vector, version, block_kwargs={"activation": "relu"})
    with pytest.raises(ConversionError, match="label mapping argument embed_features=5 is not"):
        load_discriminator(vector, version, mapping_kwargs={"num_layers": 0, "embed_features": 5})
    with pytest.raises(ConversionError, match="label mapping has unknown arguments: w_avg_beta"):
        load_discriminator(vector, version, mapping_kwargs={"w_avg_beta": 0.9})


def test_versions_differ_in_their_arguments_and_in_the_default_clamp():
    vector, version = published("nvidia_stylegan3")
    assert version == "stylegan3"
    assert load_generator(vector, version)[0].config.synthesis.clamp == 256
    assert load_discriminator(vector, version)[0].config.clamp == 256
    assert load_discriminator(vector, "stylegan2-ada")[0].config.clamp is None
    with pytest.raises(ConversionError, match="unknown arguments: channel_base, channel_max"):
        load_generator(vector, "stylegan2-ada")
    with pytest.raises(ConversionError, match="version 'stylegan4' is unknown"):
        load_generator(vector, "stylegan4")


def test_alias_free_generators_are_refused():
    for name in ("synthesis.input.freqs", "synthesis.L3_36_512.weight"):
        with pytest.raises(ConversionError, match="alias-free generator .* not a StyleGAN2"):
            convert.load_nvidia_generator({name: np.zeros(1)}, {}, "stylegan3")


def test_a_mean_of_w_that_was_not_tracked_is_zero():
    vector, version = published()
    state, arguments = vector.under("G/"), vector.meta["generator"]
    mean = state.pop("mapping.w_avg")
    with pytest.raises(ConversionError, match="arrays without a value: moments/w_average"):
        convert.load_nvidia_generator(state, arguments, version)
    arguments["mapping_kwargs"]["w_avg_beta"] = None
    _, variables = convert.load_nvidia_generator(state, arguments, version)
    np.testing.assert_array_equal(variables["moments"]["w_average"], np.zeros_like(mean))


# Snapshots, runs and exports


def test_a_snapshot_of_averages_only():
    vector, version = published("nvidia_stylegan3")
    snapshot = read_snapshot(AVERAGES)
    assert snapshot.networks["average"].version == "stylegan3"
    generator, variables = snapshot.generator()
    other, expected = load_generator(vector, version)
    assert generator == other
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
    lines = "\n".join(describe(snapshot))
    for words in ("of stylegan3", "no discriminator", "ignored: augment_pipe", "fused_modconv"):
        assert words in lines
    weights, config = run_weights(snapshot)
    assert "discriminator" not in weights and config.discriminator.label_logit == "embedding"
    assert config.discriminator.clamp == 256 and config.discriminator.channel_base == 32
    jax.tree.map(np.testing.assert_array_equal, weights["generator"], weights["ema"])


def test_networks_that_are_something_else_are_not_taken_as_absent(tmp_path):
    path = tmp_path / "snapshot.pkl"
    path.write_bytes(pickle.dumps({"G": 1, "D": None, "G_ema": None}))
    with pytest.raises(UserError, match="it has no network G and no D and no G_ema"):
        read_snapshot(path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs imported from both snapshots, which tests do not change."""
    from ganformer_jax.cli import main

    folder = tmp_path_factory.mktemp("imported")
    for path in (SNAPSHOT, AVERAGES):
        main(["import", str(path), "--workdir", str(folder / path.stem)])
    return folder


@pytest.mark.parametrize("path", [SNAPSHOT, AVERAGES])
def test_an_imported_run_is_loaded_exported_and_sampled(runs, path, tmp_path, capsys):
    run, exported = runs / path.stem, tmp_path / "generator.safetensors"
    generator, expected = ganformer_jax.load(path)
    assert call(capsys, "export", "--workdir", str(run), "--out", str(exported))[0] == 0
    for source in (run, exported):
        other, variables = ganformer_jax.load(source)
        assert other == generator
        jax.tree.map(np.testing.assert_array_equal, variables, expected)
    out = tmp_path / "images"
    command = ["sample", "--workdir", str(run), "--count", "2", "--out", str(out)]
    code, _, err = call(capsys, *command)
    assert code == 0, err
    assert len(list(out.glob("0*.png"))) == 2
    config = json.loads((run / "config.json").read_text())
    labels = "embedding" if path == AVERAGES else "class"
    assert config["discriminator"]["label_logit"] == labels


def test_an_export_has_clamp_and_widths(tmp_path):
    vector, version = published()
    generator, variables = load_generator(vector, version)
    assert generator.config.synthesis.clamp == 0.6 and generator.config.mapping.width == 7
    save_generator(tmp_path / "generator", generator.config, variables)
    other, read = read_generator(tmp_path / "generator")
    assert other == generator
    jax.tree.map(np.testing.assert_array_equal, read, variables)
