"""Generator and discriminator as users call them: options together, mixing, symmetries, errors."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import random_variables

from ganformer_jax import (
    AttentionConfig,
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    MappingConfig,
    PositionConfig,
    SynthesisConfig,
    UserError,
    broadcast_layers,
    mix_components,
    mix_layers,
    num_layers,
    stack_attention,
    truncate,
    validate_networks,
)

BATCH = 2
SMALL = SynthesisConfig(channel_base=64, channel_max=8)
TINY = GeneratorConfig(
    resolution=8,
    components=3,
    latent_size=24,
    attention_resolutions=(4, 8),
    mapping=MappingConfig(num_layers=1, learning_rate_multiplier=1.0),
    synthesis=SMALL,
)
STREAMS = ("noise", "dropout", "components")


def latents(config, seed=0):
    shape = (BATCH, config.num_latents, config.z_size)
    return jax.random.normal(jax.random.key(seed), shape)


def labels_of(config):
    return jax.nn.one_hot(jnp.arange(BATCH), config.label_size) if config.label_size else None


def build(config):
    generator, inputs = Generator(config), (latents(config), labels_of(config))
    return generator, random_variables(
        lambda: generator.init(jax.random.key(0), *inputs, noise="const")
    )


def change(config, **fields):
    """Replace fields of a config, and of the parts it holds."""
    nested = {
        name: dataclasses.replace(getattr(config, name), **value)
        for name, value in fields.items()
        if isinstance(value, dict)
    }
    return dataclasses.replace(config, **(fields | nested))


@pytest.fixture(scope="module")
def tiny():
    """Random variables of the tiny generator, and it compiled with truncation as an argument."""
    generator, variables = build(TINY)

    @jax.jit
    def run(z_BxKxD, psi):
        return generator.apply(variables, z_BxKxD, noise="const", truncation_psi=psi)[0]

    return variables, run


TOGETHER = {
    "everything on": change(
        TINY,
        components_attend_image=True,
        components_attend_components=True,
        image_attention_resolution=8,
        component_dropout=0.3,
        label_size=3,
        attention={
            "heads": 2,
            "integration": "both",
            "gate_latents": True,
            "gate_image": True,
            "kmeans_iterations": 2,
            "norm": "instance",
        },
        positions={"kind": "trainable2d"},
    ),
    "carried centroids": change(
        TINY, attention={"kmeans_carried": True}, components_attend_image=True
    ),
    "simplex, linear positions": change(
        TINY,
        attention={"kmeans_iterations": 0, "integration": "add", "norm": None},
        positions={"kind": "linear", "directions": 4},
        synthesis={"architecture": "skip"},
    ),
    "shared mapping, trained rows and columns, local attention": change(
        TINY,
        local_attention_below=8,
        attention={"kmeans_iterations": 0},
        mapping={"shared_width": 12, "residual": False, "self_attention": False},
        positions={"kind": "trainable"},
    ),
    "more directions, no style, latent stem": change(
        TINY,
        positions={"kind": "sinus", "directions": 4},
        synthesis={"style": False, "stem": "latent", "architecture": "orig"},
        latent_positions=False,
    ),
    "plain mapping with labels": change(
        TINY, label_size=3, mapping={"residual": False, "width": 10, "num_layers": 2}
    ),
    "stylegan2": change(TINY, components=0, label_size=3),
    "plain gan": change(
        TINY,
        components=0,
        synthesis={"style": False, "stem": "latent_dense", "architecture": "orig"},
    ),
    "merged images": change(
        TINY, components=0, merge={"images": 3, "kind": "leaves", "resolution": 4}
    ),
    "merged images, shared mapping, latent stem, labels": change(
        TINY,
        components=0,
        label_size=3,
        merge={"images": 2, "uniform": True},
        mapping={"shared_width": 12, "self_attention": False, "inner_width": 10},
        synthesis={"stem": "latent", "architecture": "skip", "tanh": True},
    ),
    "image positions alone attend": change(TINY, components=0, image_attention_resolution=8),
    "local attention without style": change(
        TINY, components=0, local_attention_below=16, synthesis={"style": False, "stem": "latent"}
    ),
    "no noise, no last convolution, bfloat16": change(
        TINY, dtype="bfloat16", synthesis={"noise": False, "last_convolution": False}
    ),
}


# The gradients of most options alone are those of a published network, in test_reference.py.
QUICK = ("everything on", "plain mapping with labels", "no noise, no last convolution, bfloat16")


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TOGETHER],
)
def test_options_work_together(name):
    config = TOGETHER[name]
    validate_networks(config, DiscriminatorConfig())
    generator, variables = build(config)
    z_BxKxD, labels = latents(config), labels_of(config)
    rngs = {stream: jax.random.key(i) for i, stream in enumerate(STREAMS)}

    def run(params, train_rngs):
        own = variables | {"params": params}
        images, out = generator.apply(own, z_BxKxD, labels, train=True, rngs=train_rngs)
        return jnp.mean(jnp.square(images)), (images, out)

    run = jax.jit(jax.grad(run, has_aux=True))
    gradients, (images, out) = jax.device_get(run(variables["params"], rngs))
    assert images.shape == (BATCH, 8, 8, 3) and images.dtype == np.float32
    assert np.isfinite(images).all() and images.std() > 1e-3
    assert out["w"].shape == (BATCH, config.num_latents, config.w_size)
    assert len(out["attention"]) == (3 if config.components else 0)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        assert np.isfinite(gradient).all(), name
        if not may_be_unused(name):
            assert gradient.any(), f"{name} is never used"


def may_be_unused(name):
    """Key biases, which move all scores of a softmax alike, and the last update of components."""
    last_layer = "block_8/layer_1/attention/"
    updates = (f"{last_layer}bottom_up", f"{last_layer}among_components")
    return name.endswith(("keys/bias", "key_positions/bias")) or any(u in name for u in updates)


@pytest.mark.parametrize(
    ("architecture", "classes"), [("resnet", 0), ("resnet", 3), ("skip", 3), ("orig", 0)]
)
def test_discriminators(architecture, classes):
    config = DiscriminatorConfig(architecture=architecture, channel_base=64, channel_max=8)
    discriminator = Discriminator(config)
    images = jax.random.normal(jax.random.key(0), (4, 16, 16, 3))
    labels = jax.nn.one_hot(jnp.arange(4) % 3, 3) if classes else None
    run = jax.jit(discriminator.apply)
    variables = random_variables(lambda: discriminator.init(jax.random.key(1), images, labels))
    logits, out = run(variables, images, labels)
    assert logits.shape == (4, 1) and out["features"].shape == (4, 4, 4, 8)
    if classes:
        every = [run(variables, images, jnp.tile(jnp.eye(3)[i], (4, 1)))[0] for i in range(3)]
        expected = jnp.stack([every[i % 3][i] for i in range(4)])
        np.testing.assert_allclose(logits, expected, rtol=1e-5)


def test_mapping_and_synthesis_apart_equal_the_whole(tiny):
    config = change(TINY, component_dropout=0.5)
    generator, z_BxKxD = Generator(change(config, attention={"dropout": 0.0})), latents(TINY)
    variables, without = tiny[0], tiny[1](z_BxKxD, 1.0)

    @jax.jit
    def together(rngs):
        return generator.apply(variables, z_BxKxD, noise="const", train=True, rngs=rngs)

    @jax.jit
    def apart(rngs):
        mask_BxK = generator.apply(variables, BATCH, method="component_mask", rngs=rngs)
        settings = {"component_mask_BxK": mask_BxK, "train": True}
        w_BxKxD = generator.apply(variables, z_BxKxD, method="map", **settings)
        w_BxKxLxD = broadcast_layers(w_BxKxD, generator.num_layers)
        settings |= {"method": "synthesize", "noise": "const"}
        return generator.apply(variables, w_BxKxLxD, **settings)[0], w_BxKxD, mask_BxK

    rngs = {"components": jax.random.key(2)}
    (images, out), (images_apart, w_BxKxD, mask_BxK) = together(rngs), apart(rngs)
    assert 0 < mask_BxK.sum() < mask_BxK.size
    np.testing.assert_allclose(out["w"], w_BxKxD, atol=1e-6)
    np.testing.assert_allclose(images_apart, images, atol=1e-5)
    assert not np.allclose(images, without, atol=1e-3), "component dropout did nothing"


def test_latents_of_half_precision_are_read_in_float32(tiny):
    """As in the published code; layers compute in the type that they are given."""
    generator, variables = Generator(TINY), tiny[0]

    @jax.jit
    def run(z_BxKxD, w_BxKxLxD):
        w_BxKxD = generator.apply(variables, z_BxKxD, method="map")
        options = {"noise": "const", "method": "synthesize"}
        return w_BxKxD, generator.apply(variables, w_BxKxLxD, **options)[0]

    z_BxKxD = latents(TINY).astype(jnp.bfloat16)
    given = z_BxKxD, broadcast_layers(z_BxKxD, generator.num_layers)
    w_BxKxD, images = run(*given)
    assert w_BxKxD.dtype == jnp.float32
    exact = run(*(x.astype(jnp.float32) for x in given))
    np.testing.assert_allclose(w_BxKxD, exact[0], rtol=1e-6)
    np.testing.assert_allclose(images, exact[1], rtol=1e-5, atol=1e-5)


def test_layers_read_latents_in_order(tiny):
    """Changing the latents of layer i changes attention from layer i on, not before."""
    generator, variables = Generator(TINY), tiny[0]
    layers = num_layers(TINY)
    assert layers == generator.num_layers == 5
    w_BxKxLxD = broadcast_layers(jax.random.normal(jax.random.key(0), (1, 4, 8)), layers)

    @jax.jit
    def maps(w_BxKxLxD):
        out = generator.apply(variables, w_BxKxLxD, method="synthesize", noise="const")[1]
        return out["attention"]

    before = maps(w_BxKxLxD)
    after = maps(w_BxKxLxD.at[:, :, 1].add(1.0))
    np.testing.assert_array_equal(before[0], after[0])
    assert not np.allclose(before[2], after[2])


def test_truncation_and_mixing():
    w_1x2x3x1 = jnp.arange(6.0).reshape(1, 2, 3, 1)
    mean = jnp.asarray([10.0])
    halfway = truncate(w_1x2x3x1, mean, 0.5)
    np.testing.assert_allclose(halfway, (w_1x2x3x1 + 10) / 2)
    first = jax.jit(truncate)(w_1x2x3x1, mean, 0.0, 1)
    np.testing.assert_allclose(first[..., 0], [[[10, 1, 2], [10, 4, 5]]])
    other = -w_1x2x3x1
    mixed = jax.jit(mix_layers)(w_1x2x3x1, other, 2)
    np.testing.assert_allclose(mixed[..., 0], [[[0, 1, -2], [3, 4, -5]]])
    mixed = jax.jit(mix_components)(w_1x2x3x1, other, 1)
    np.testing.assert_allclose(mixed[..., 0], [[[0, 1, 2], [-3, -4, -5]]])


def test_truncation_to_the_mean_makes_all_images_alike(tiny):
    variables, run = tiny
    alike = run(latents(TINY), 0.0)
    np.testing.assert_allclose(alike[0], alike[1], atol=1e-5)
    apply = jax.jit(Generator(TINY).apply, static_argnames="noise")
    whole = apply(variables, latents(TINY), noise="const")[0]
    np.testing.assert_allclose(run(latents(TINY), 1.0), whole, atol=1e-4)


def test_an_images_pixels_do_not_depend_on_the_rest_of_the_batch(tiny):
    _, run = tiny
    z_BxKxD = latents(TINY)
    other = z_BxKxD.at[1].set(latents(TINY, seed=5)[1])
    images, with_other = run(z_BxKxD, 1.0), run(other, 1.0)
    np.testing.assert_array_equal(images[0], with_other[0])
    assert not np.allclose(images[1], with_other[1], atol=1e-3)


def test_stack_attention_repeats_pixels():
    small = jnp.arange(4.0).reshape(1, 1, 1, 2, 2)
    large = jnp.ones((1, 1, 1, 4, 4))
    stacked = stack_attention((small, large), 4)
    assert stacked.shape == (1, 1, 2, 1, 4, 4)
    np.testing.assert_array_equal(stacked[0, 0, 0, 0, 0], [0, 0, 1, 1])
    with pytest.raises(ValueError, match="no attention layers"):
        stack_attention((), 4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (change(TINY, resolution=48), "generator.resolution is 48; it should be a power of two"),
        (change(TINY, components=5), "generator.components is 5, which does not divide"),
        (change(TINY, attention={"heads": 3}), "generator.attention.heads is 3"),
        (change(TINY, latent_size=18), "positions of kind sinus need a width that 4 divides"),
        (change(TINY, synthesis={"channel_base": 4}), "leaves no channels at 8x8"),
        (change(TINY, synthesis={"resample_filter": ()}), r"synthesis.resample_filter is \[\]"),
        (change(TINY, synthesis={"resample_filter": (1, -1)}), "synthesis.resample_filter is"),
        (change(TINY, components=-1), "generator.components is -1"),
        (change(TINY, components=48), "generator.components is 48, .* 24; use 48"),
        (change(TINY, latent_size=0), "generator.latent_size is 0"),
        (change(TINY, label_size=-1), "generator.label_size is -1"),
        (change(TINY, image_channels=33), "generator.image_channels is 33"),
        (change(TINY, component_dropout=1.0), "generator.component_dropout is 1.0"),
        (change(TINY, attention={"heads": 0}), "generator.attention.heads is 0"),
        (change(TINY, attention={"dropout": 1.0}), "attention.dropout is 1.0; .*, below 1"),
        (change(TINY, attention={"dropout": -0.1}), "generator.attention.dropout is -0.1"),
        (change(TINY, attention={"dropout": float("nan")}), "attention.dropout is nan"),
        (change(TINY, attention={"kmeans_iterations": -1}), "attention.kmeans_iterations is -1"),
        (
            change(TINY, attention={"places_learning_rate_multiplier": 0.1}),
            "places_learning_rate_multiplier has no effect: set generator.attention.places, or",
        ),
        (
            change(TINY, attention={"kmeans_carried": True, "kmeans_iterations": 0}),
            "kmeans_carried needs generator.attention.kmeans_iterations of 1 or more",
        ),
        (change(TINY, positions={"directions": 0}), "generator.positions.directions is 0"),
        (
            change(TINY, attention_resolutions=(8, 4)),
            r"attention_resolutions is \[8, 4\], .*: give the smallest and the largest of 4, 8",
        ),
        (change(TINY, mapping={"learning_rate_multiplier": 0.0}), "learning_rate_multiplier is 0"),
        (
            change(TINY, mapping={"width": 8}),
            "mapping.width is 8, but generator.mapping.residual sets",
        ),
        (
            change(TINY, mapping={"width": 8, "shared_width": 8, "residual": False}),
            "mapping.width is 8, but generator.mapping.shared_width sets",
        ),
    ],
)
def test_bad_configs_are_named_in_one_line(config, message):
    with pytest.raises(UserError, match=message) as caught:
        validate_networks(config, DiscriminatorConfig())
    assert "\n" not in str(caught.value)


EIGHT_HEADS = change(TINY, attention={"heads": 8}, positions={"size": 8})
PLAIN = {"residual": False, "num_layers": 2}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        # z is 12 wide and w 8, or the other way round: 8 heads divide one of them.
        (change(EIGHT_HEADS, intermediate_size=36), "width of the mapping network.*, 12"),
        (change(EIGHT_HEADS, latent_size=36, intermediate_size=24), None),
        (
            change(EIGHT_HEADS, latent_size=36, intermediate_size=24, mapping=PLAIN),
            "the width of .*, 12",
        ),
        (change(EIGHT_HEADS, mapping=PLAIN | {"width": 12}), "the hidden width of .*, 12"),
        (change(EIGHT_HEADS, mapping=PLAIN | {"num_layers": 1, "width": 12}), None),
        (change(EIGHT_HEADS, intermediate_size=36, mapping={"self_attention": False}), None),
        (
            change(
                EIGHT_HEADS,
                intermediate_size=36,
                mapping={"self_attention": False},
                components_attend_image=True,
            ),
            "the width of w, .*, 12",
        ),
    ],
)
def test_heads_divide_every_width_that_attends(config, message):
    """What is refused here fails when the network is built, and nothing else does."""
    if message is None:
        validate_networks(config, DiscriminatorConfig())
    else:
        with pytest.raises(UserError, match=f"attention.heads is 8, which does not .*{message}"):
            validate_networks(config, DiscriminatorConfig())
    generator, z_BxKxD = Generator(config), latents(config)
    with contextlib.nullcontext() if message is None else pytest.raises(ValueError, match="heads"):
        jax.eval_shape(lambda: generator.init(jax.random.key(0), z_BxKxD, noise="const"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"minibatch_stddev_group": 0}, "minibatch_stddev_group is 0"),
        ({"minibatch_stddev_channels": -1}, "minibatch_stddev_channels is -1"),
        ({"minibatch_stddev_channels": 3}, "minibatch_stddev_channels is 3, .* the 512 channels"),
        ({"resample_filter": ()}, "resample_filter is"),
        ({"channel_max": 0}, "channel_max is 0"),
    ],
)
def test_bad_discriminators_are_named_in_one_line(fields, message):
    with pytest.raises(UserError, match=f"discriminator.{message}"):
        validate_networks(TINY, DiscriminatorConfig(**fields))


def test_wrong_inputs_are_named(tiny):
    generator, variables = Generator(TINY), tiny[0]
    with pytest.raises(ValueError, match=r"z should be \[batch, 4, 8\]"):
        generator.apply(variables, jnp.zeros((1, 4, 9)))
    with pytest.raises(ValueError, match="noise should be one of random, const, none"):
        generator.apply(variables, latents(TINY), noise="loud")
    odd = dataclasses.replace(TINY, resolution=48)
    with pytest.raises(ValueError, match="resolution is 48; it should be 4, the longer side of"):
        jax.eval_shape(lambda: Generator(odd).init(jax.random.key(0), latents(odd), noise="const"))


def test_published_attention_and_position_defaults():
    config = GeneratorConfig()
    assert (config.z_size, config.w_size, config.num_latents) == (32, 32, 17)
    assert config.attention == AttentionConfig(kmeans_iterations=1, norm="layer")
    assert config.positions == PositionConfig(kind="sinus", directions=2)
