"""What an importing project gets wrong first is refused in words, and what it may do works."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from eight_devices import on_eight_devices
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from tiny import random_batch, random_variables, tiny_config

from ganformer_jax import (
    BipartiteAttention,
    ComponentUpdate,
    DataParallel,
    Discriminator,
    Generator,
    KMeans,
    Optimizers,
    augment,
    convert,
    create_state,
    gan_updates,
    gradient_penalty,
    load,
    path_length,
    r1_penalty,
)
from ganformer_jax.augment.diff_augment import diff_augment
from ganformer_jax.directions import region_properties
from ganformer_jax.errors import UserError
from ganformer_jax.losses import laplacian_distance
from ganformer_jax.metrics.edits import edit_changes
from ganformer_jax.models import make_discriminator, mix_components, mix_layers, truncate
from ganformer_jax.nn.layers import EqualizedConvolution, EqualizedDense

TINY = tiny_config()
KEY = jax.random.key(0)
CONFIG = dataclasses.replace(TINY, generator=dataclasses.replace(TINY.generator, label_size=3))


@pytest.fixture(scope="module")
def generator():
    network = Generator(CONFIG.generator)
    z = jnp.zeros((2, CONFIG.generator.num_latents, CONFIG.generator.z_size))
    init = functools.partial(network.init, noise="const")
    variables = random_variables(lambda: init(jax.random.key(0), z, jnp.zeros((2, 3))))
    return network, variables, jax.random.normal(jax.random.key(0), z.shape)


@pytest.mark.parametrize("dtype", [int, bool, np.uint8])
def test_one_hot_labels_of_any_type_are_read(generator, dtype):
    network, variables, z = generator
    labels = np.eye(3)[[0, 2]]
    expected = network.apply(variables, z, labels.astype(np.float32), method="map")
    found = network.apply(variables, z, labels.astype(dtype), method="map")
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match=r"labels \[2\]: give one-hot classes \[batch, 3\]"):
        network.apply(variables, z, np.array([0, 2]), method="map")


def test_a_dense_layer_refuses_integers():
    with pytest.raises(TypeError, match="a dense layer of int32"):
        EqualizedDense(3).init(jax.random.key(0), jnp.ones((2, 4), jnp.int32))


def test_labels_of_another_shape_are_refused(generator):
    network, variables, z = generator
    with pytest.raises(ValueError, match=r"labels \[2, 4\]: give one-hot classes \[batch, 3\]"):
        network.apply(variables, z, np.eye(4)[:2], method="map")
    with pytest.raises(ValueError, match=r"needs labels \[batch, 3\]"):
        network.apply(variables, z, method="map")
    plain = Generator(TINY.generator)
    for labels in (np.eye(3)[:2], np.arange(2)):
        with pytest.raises(ValueError, match="without labels: leave them out, or set label_size"):
            jax.eval_shape(lambda z, labels=labels: plain.init(jax.random.key(0), z, labels), z)


@pytest.mark.parametrize("network", ["stylegan2", "dcgan", "sagan"])
def test_a_discriminator_refuses_class_numbers(network):
    """Which would weigh each image by the labels of all."""
    options = dataclasses.replace(TINY.discriminator, network=network)
    init = functools.partial(make_discriminator(options).init, jax.random.key(0))
    images = jnp.zeros((2, 8, 8, 3))
    jax.eval_shape(init, images, np.eye(2))
    with pytest.raises(ValueError, match=r"labels \[2\]: give one-hot classes"):
        jax.eval_shape(init, images, np.arange(2))


def test_w_without_an_axis_of_layers_is_refused():
    w_BxKxD, mean = jnp.zeros((4, 4, 4)), jnp.zeros(4)
    functions = (mix_components, mix_layers, lambda w, other, psi: truncate(w, mean, psi))
    for function in functions:
        function(w_BxKxD[:, :, None], w_BxKxD[:, :, None], 1)
        with pytest.raises(ValueError, match=r"w is \[4, 4, 4\]: give .*as `broadcast_layers`"):
            function(w_BxKxD, w_BxKxD, 1)


def test_all_that_a_network_returns_is_not_an_array():
    images = jnp.zeros((2, 4, 4, 3))
    with pytest.raises(TypeError, match=r"logits must be an array: .*take \[0\]"):
        r1_penalty(lambda x: (x.sum((1, 2, 3))[:, None], {}), images)
    with pytest.raises(TypeError, match=r"images must be an array: .*take \[0\]"):
        path_length(lambda w: (images, {}), jnp.ones((2, 1, 1, 2)), images)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((16, 8, 8, 3), np.float32)}, "images are float32 .*: give uint8"),
        ({"images": np.zeros((16, 8, 8, 1), np.uint8)}, r"give uint8 \[batch, 8, 8, 3\]"),
        ({"images": np.zeros((16, 8, 8), np.uint8)}, r"give uint8 \[batch, 8, 8, 3\]"),
        (
            {"labels": np.zeros((16, 3), np.int32)},
            r"labels are int32 .*: give float32",
        ),
        ({"labels": np.zeros((16,), np.float32)}, r"give float32 \[batch, 3\]"),
    ],
)
def test_a_batch_of_another_type_or_shape_is_refused(changes, message):
    batch = random_batch(0) | {"labels": np.eye(3, dtype=np.float32)[np.zeros(16, int)]} | changes
    state = jax.eval_shape(lambda: create_state(CONFIG, jax.random.key(0)))
    for update in gan_updates(CONFIG):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(update.function, state, batch)


def test_a_batch_is_a_dict():
    update, images = gan_updates(CONFIG)[-1], random_batch(0)["images"]
    with pytest.raises(TypeError, match="the batch is a ndarray: give a dict of arrays by name"):
        update.function(None, images)


@pytest.mark.parametrize("optimizers", [optax.sgd(0.1), (optax.sgd(0.1), optax.sgd(0.1))])
def test_optimizers_are_one_for_each_network(optimizers):
    message = r"give Optimizers\(generator, discriminator\)"
    with pytest.raises(TypeError, match=message):
        gan_updates(CONFIG, optimizers=optimizers)
    with pytest.raises(TypeError, match=message):
        create_state(CONFIG, KEY, optimizers)


@pytest.mark.parametrize("parallel", [Optimizers(optax.sgd(0.1), optax.sgd(0.1)), PartitionSpec()])
def test_parallel_comes_before_optimizers(parallel):
    with pytest.raises(TypeError, match=r"parallel is a \w+: give DataParallel\(batch_sharding\)"):
        gan_updates(CONFIG, parallel)


def test_updates_refuse_a_state_of_other_optimizers():
    own = Optimizers(optax.sgd(0.1), optax.sgd(0.1))
    state = jax.eval_shape(lambda: create_state(TINY, KEY, own))
    with pytest.raises(ValueError, match="_optimizer of the state is of another optimizer: give"):
        jax.eval_shape(gan_updates(TINY)[-1].function, state, random_batch(0))


def test_images_of_integers_are_refused():
    network = Discriminator(CONFIG.discriminator)
    images = jnp.zeros((2, 8, 8, 3), jnp.uint8)
    with pytest.raises(TypeError, match=r"images are uint8: convert them to \[-1, 1\]"):
        jax.eval_shape(network.init, jax.random.key(0), images)
    for function in (
        lambda: gradient_penalty(jnp.sum, images, images, jnp.ones((2, 1, 1, 1))),
        lambda: laplacian_distance(images, images),
        lambda: diff_augment(images, jax.random.key(0), ("color",)),
    ):
        with pytest.raises(TypeError):
            function()


def test_regions_of_integers_are_refused():
    with pytest.raises(TypeError, match="regions are int64, not bool"):
        edit_changes(np.zeros((1, 4, 4)), np.zeros((1, 4, 4), int))
    with pytest.raises(TypeError, match="regions must be bool, not int64"):
        region_properties(np.zeros((1, 4, 4, 3), np.uint8), np.zeros((1, 4, 4), int))


@pytest.mark.parametrize("layers", [1, 2, -1])
def test_latents_of_another_number_of_layers_are_refused(generator, layers):
    network, variables, z = generator
    w = jnp.zeros((2, *z.shape[1:2], network.num_layers + layers, CONFIG.generator.w_size))
    with pytest.raises(ValueError, match=r"latents \[2, 3, .*: give \[batch, 3, "):
        network.apply(variables, w, noise="const", method="synthesize")


def test_a_path_length_of_zero_has_a_gradient():
    def length(scale):
        noise = jnp.ones((1, 4, 4, 3))
        return path_length(
            lambda w: scale * w.sum() * noise, jnp.ones((1, 1, 1, 2), jnp.bfloat16), noise
        ).sum()

    value, gradient = jax.value_and_grad(length)(0.0)
    assert value.dtype == jnp.float32 and value < 1e-9 and np.isfinite(gradient)


def test_a_mesh_of_explicit_axes_is_refused_in_words():
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(AxisType.Explicit,))
    with pytest.raises(ValueError, match="axes that are not automatic"):
        DataParallel(NamedSharding(mesh, PartitionSpec("batch")))


def test_a_file_of_ones_own_training_is_loaded_with_arrays_of_jax(tmp_path, generator):
    network, variables, _ = generator
    convert.save_generator(tmp_path / "x.safetensors", network.config, variables)
    _, found = load(tmp_path / "x.safetensors")
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found))


def test_variables_of_another_generator_are_not_saved(tmp_path, generator):
    network, variables, _ = generator
    path, config = tmp_path / "x.safetensors", network.config
    params = variables["params"]
    for wrong, name in (
        (params, "constants/.* is missing"),
        ({**variables, "more": {"array": np.zeros(1)}}, "more/array is unexpected"),
        ({**variables, "moments": {"w_average": np.zeros(3)}}, r"w_average has shape \[3\], not"),
    ):
        with pytest.raises(
            UserError, match=f"variables do not fit the config of the generator: .*{name}"
        ):
            convert.save_generator(path, config, wrong)
    assert not path.exists()


def compare_sharded_weights():
    """Print the largest difference of gradients of weights under `jax.shard_map`, of each form."""
    mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Auto,))
    specs, worst = (PartitionSpec(), PartitionSpec("d")), 0.0
    for channels in (16, 32, 128):  # each has other forms on a CPU
        network = EqualizedConvolution(channels, 3)
        x = jax.random.normal(jax.random.key(0), (8, 8, 8, channels))
        params = network.init(jax.random.key(1), x)

        def slopes(params, x, network=network):
            return jax.grad(lambda p: jnp.square(network.apply(p, x)).sum())(params)

        def second(params, x, slopes=slopes):
            return jax.grad(lambda p: sum(map(jnp.vdot, *map(jax.tree.leaves, (slopes(p, x), p)))))(
                params
            )

        for function in (slopes, second):

            def apart(params, x, function=function):
                params = jax.tree.map(lambda p: jax.lax.pcast(p, "d", to="varying"), params)
                return jax.lax.psum(function(params, x), "d")

            expected = jax.jit(function)(params, x)
            # Gradients of replicated values are sums over the axis; those of sums are so only once.
            for form in (function, apart) if function is slopes else (apart,):
                sharded = jax.shard_map(form, mesh=mesh, in_specs=specs, out_specs=specs[0])
                found = jax.jit(sharded)(params, x)
                for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
                    worst = max(worst, float(jnp.abs(a - b).max() / jnp.abs(b).max()))
    print(worst)


def test_gradients_of_weights_under_shard_map():
    code = "import test_own_projects; test_own_projects.compare_sharded_weights()"
    assert float(on_eight_devices(code).splitlines()[-1]) < 1e-5


def compare_sharded():
    """Print the largest difference of gradients under `jax.shard_map` from those without."""
    options = dataclasses.replace(TINY.discriminator, minibatch_stddev_channels=0)
    network, size = Discriminator(options), (8, 8, 8, 3)
    images = jax.random.normal(jax.random.key(0), size)
    params = jax.jit(network.init)(jax.random.key(1), images[:1])
    mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Auto,))

    def slopes(params, images):
        """Gradients of R1 of squared logits; R1 of leaky ReLUs is constant around an image."""

        def penalty(images):
            return r1_penalty(lambda x: jnp.square(network.apply(params, x)[0]), images).sum()

        return jax.grad(penalty)(images)

    specs = PartitionSpec(), PartitionSpec("d")
    sharded = jax.shard_map(slopes, mesh=mesh, in_specs=specs, out_specs=specs[1])
    with jax.default_matmul_precision("highest"):
        expected, found = jax.jit(slopes)(params, images), jax.jit(sharded)(params, images)
    print(float(jnp.abs(found - expected).max() / jnp.abs(expected).max()))


def test_second_derivatives_under_shard_map():
    code = "import test_own_projects; test_own_projects.compare_sharded()"
    assert float(on_eight_devices(code).splitlines()[-1]) < 1e-4


@pytest.mark.parametrize(
    "function",
    [
        lambda x: augment.augment(x, jax.random.key(0), 0.5, augment.expand(["bgcfnc"])),
        lambda x: diff_augment(x, jax.random.key(0), ["color", "translation", "cutout"]),
        lambda x: augment.random_crop(x, jax.random.key(0), 0.1),
        lambda x: truncate(x, np.zeros(8), 0.5, 2),
        lambda x: BipartiteAttention(kmeans=KMeans()).init_with_output(KEY, x[0], x[0])[0][0],
        lambda x: ComponentUpdate().init_with_output(KEY, x[0], x[0])[0],
    ],
)
def test_numbers_of_numpy_are_read_as_float32(function):
    """NumPy's float64, its default, without a warning, which is an error here."""
    found = jax.eval_shape(lambda: function(np.zeros((2, 8, 8, 8))))
    assert found.dtype == jnp.float32


@pytest.mark.parametrize("kmeans", [True, 2])
def test_kmeans_is_not_a_number(kmeans):
    with pytest.raises(TypeError, match=r"give KMeans\(\), or None for simplex attention"):
        BipartiteAttention(kmeans=kmeans).init(KEY, jnp.zeros((2, 3, 4)), jnp.zeros((2, 3, 4)))
