"""Published weights: every name and argument is used, or refused by name."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import Vector, relative_error

from ganformer_jax import convert
from ganformer_jax.convert.arguments import ConversionError
from ganformer_jax.models import stack_attention


def published(name="duplex_clevr"):
    vector = Vector(name)
    return vector.under("G/"), vector.meta["generator"]


def test_networks_with_another_filter():
    """Whose taps the published code flips; `dim_base` is what its `--autotune` adds."""
    vector = Vector("filter")
    assert vector.meta["generator"]["synthesis_kwargs"]["resample_kernel"] == [1, 2, 4, 3]
    z_BxKxD, labels = jnp.asarray(vector["in/z"]), jnp.asarray(vector["in/c"])
    with jax.default_matmul_precision("highest"):
        generator, variables = vector.load("G")
        images, out = generator.apply(variables, z_BxKxD, labels, noise="const")
        maps = stack_attention(out["attention"], 8)
        discriminator, variables = vector.load("D")
        logits, _ = discriminator.apply(variables, vector.images("in/real"), labels)
    assert relative_error(images, vector.images("out/img")) < 1e-5
    assert relative_error(maps, vector["out/att_maps"]) < 1e-5
    assert relative_error(logits, vector["out/logits_real"]) < 1e-5


@pytest.mark.parametrize("name", ["synthesis.b8.conv0", "synthesis.b8"])
def test_a_filter_that_is_not_the_named_one_is_refused(name):
    vector = Vector("filter")
    arrays = vector.under("G/")
    convert.load_generator(
        arrays | {"synthesis.b8.conv1.resample_kernel": np.ones((4, 4))}, vector.meta["generator"]
    )
    arrays[f"{name}.resample_kernel"] = arrays[f"{name}.resample_kernel"][::-1]
    with pytest.raises(ConversionError, match=rf"{name}.resample_kernel is not the filter \[1, 2"):
        convert.load_generator(arrays, vector.meta["generator"])


def test_a_generator_that_did_not_follow_the_mean_of_w():
    state, arguments = published()
    arguments["mapping_kwargs"] = arguments["mapping_kwargs"] | {"w_avg_beta": None}
    del state["mapping.w_avg"]
    _, variables = convert.load_generator(state, arguments)
    assert not np.any(variables["moments"]["w_average"])


def test_errors_list_the_names_of_both_sides():
    state, arguments = published()
    state["synthesis.b8.conv0.extra"] = np.zeros(3)
    del state["synthesis.b8.conv1.weight"]
    with pytest.raises(ConversionError) as caught:
        convert.load_generator(state, arguments)
    message = str(caught.value)
    assert "synthesis.b8.conv0.extra" in message
    assert "params/synthesis/block_8/layer_1/convolution/kernel" in message


def test_shapes_that_do_not_fit_are_named():
    state, arguments = published()
    state["synthesis.b8.conv0.biasAct.bias"] = np.zeros(3, np.float32)
    with pytest.raises(ConversionError, match=r"synthesis.b8.conv0.biasAct.bias \(3,\) for"):
        convert.load_generator(state, arguments)


@pytest.mark.parametrize(
    ("part", "argument", "message"),
    [
        ("synthesis_kwargs", {"sparkle": 1}, "synthesis network has unknown arguments: sparkle"),
        ("synthesis_kwargs", {"act": "relu"}, "argument act='relu' is not supported"),
        ("synthesis_kwargs", {"iterative": True}, "as the published code computes others"),
        ("mapping_kwargs", {"shared": True}, "argument shared=True is not supported"),
    ],
)
def test_arguments_without_a_counterpart_are_refused(part, argument, message):
    state, arguments = published()
    arguments[part] = arguments[part] | argument
    with pytest.raises(ConversionError, match=message):
        convert.load_generator(state, arguments)


def test_arguments_of_both_networks_must_agree_where_both_read_them():
    state, arguments = published("duplex_ffhq")
    del arguments["mapping_kwargs"]["use_pos"]  # False by default there
    with pytest.raises(ConversionError, match="use_pos is False for the mapping network but True"):
        convert.load_generator(state, arguments)
    state, arguments = published("duplex_clevr")  # whose mapping network has no attention
    del arguments["mapping_kwargs"]["num_heads"]
    arguments["mapping_kwargs"]["use_pos"] = False
    convert.load_generator(state, arguments)


def test_iterations_without_kmeans_and_missing_arguments_are_refused():
    state, arguments = published("simplex")
    arguments["synthesis_kwargs"]["kmeans_iters"] = 3
    with pytest.raises(ConversionError, match="argument kmeans_iters=3 is not supported"):
        convert.load_generator(state, arguments)
    state, arguments = published()
    del arguments["img_resolution"]
    with pytest.raises(ConversionError, match="generator argument img_resolution is missing"):
        convert.load_generator(state, arguments)


def test_training_arguments_are_ignored():
    state, arguments = published()
    convert.load_generator(state, arguments | {"class_name": "training.networks.Generator"})


def test_a_low_pass_filter_other_than_the_named_one_is_refused():
    state, arguments = published()
    state["synthesis.b8.skip.resample_kernel"] = np.full((4, 4), 1 / 16, np.float32)
    with pytest.raises(ConversionError, match="skip.resample_kernel is not the filter"):
        convert.load_generator(state, arguments)


def test_trained_and_linear_positions_are_read():
    """Grids of trainable2d are parameters; slopes are recovered from grids of linear."""
    state, arguments = published()
    arguments["synthesis_kwargs"]["pos_type"] = "trainable2d"
    for name in [name for name in state if name.endswith("grid_pos")]:
        state[name] = np.random.default_rng(0).random(state[name].shape, np.float32)
        state[name.replace("grid_pos", "pos0")] = state[name]
    _, variables = convert.load_generator(state, arguments)
    positions = variables["params"]["synthesis"]["block_8"]["layer_0"]["attention"]["positions"]
    np.testing.assert_array_equal(positions["cells"], state["synthesis.b8.conv0.grid_pos"])

    state, arguments = published()
    arguments["synthesis_kwargs"]["pos_type"] = "linear"
    slopes = np.random.default_rng(1).random((2, 8))
    for name in [name for name in state if name.endswith("grid_pos")]:
        coordinate = np.linspace(-1, 1, state[name].shape[0])
        x, y = np.meshgrid(coordinate, coordinate)
        grid = np.concatenate([x[..., None] * slopes[0], y[..., None] * slopes[1]], -1)
        state[name] = grid.astype(np.float32)
    _, variables = convert.load_generator(state, arguments)
    positions = variables["params"]["synthesis"]["block_8"]["layer_0"]["attention"]["positions"]
    np.testing.assert_allclose(positions["slopes"], slopes, atol=1e-6)


def test_tensorflow_discriminator_equals_the_pytorch_one():
    """A discriminator renamed as in TensorFlow loads as the same variables."""
    vector = Vector("stylegan2")
    discriminator, expected = vector.load("D")
    state = vector.under("D/")
    renamed = {}
    for name, value in state.items():
        if name.endswith("resample_kernel"):
            continue
        block, layer, *rest = name.split(".")
        size = block[1:]
        kind = "bias" if name.endswith("bias") else "weight"
        scope = {
            "fromrgb": f"{size}x{size}/FromRGB",
            "conv0": f"{size}x{size}/Conv0",
            "conv1": f"{size}x{size}/Conv1_down",
            "skip": f"{size}x{size}/Skip",
            "conv": "4x4/Conv",
            "fc": "4x4/Dense0",
            "out": "Output",
        }[layer]
        layout = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
        renamed[f"D/{scope}/{kind}"] = layout
    arguments = {
        "resolution": 32,
        "num_channels": 3,
        "architecture": "resnet",
        "fmap_base": 128,
        "fmap_max": 16,
        "mbstd_group_size": 4,
        "latent_size": 16,
    }
    module, variables = convert.load_tf_discriminator(renamed, arguments)
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
    real = vector.images("in/real")
    logits, _ = module.apply(variables, real)
    np.testing.assert_allclose(logits, vector["out/logits_real"], rtol=1e-4)
    assert module.config == discriminator.config


def test_mapping_networks_have_a_hidden_layer_at_least():
    """With `num_layers` 0, the published code has one, as with 1."""
    vector = Vector("gan")
    deeper = re.compile(r"mapping\.global_mlp\.l[1-9]\..*")
    state = {k: v for k, v in vector.under("G/").items() if not deeper.fullmatch(k)}
    arguments = vector.meta["generator"]
    found = []
    for layers in (0, 1):
        mapping = arguments["mapping_kwargs"] | {"num_layers": layers}
        generator, _ = convert.load_generator(state, arguments | {"mapping_kwargs": mapping})
        found.append(generator.config)
    assert found[0] == found[1] and found[0].mapping.num_layers == 1


def test_tensorflow_generator_refuses_what_is_not_there():
    vector = Vector("tf_gan_stem")
    variables, arguments = vector.under("var/"), vector.meta["generator"]
    with pytest.raises(ConversionError, match="argument iterative=True is not supported"):
        convert.load_tf_generator(variables, arguments | {"iterative": True})
    with pytest.raises(ConversionError, match="argument label_size=3 is not supported"):
        convert.load_tf_generator(variables, arguments | {"label_size": 3})
    with pytest.raises(ConversionError, match="synthesis/surprise"):
        convert.load_tf_generator(variables | {"synthesis/surprise": np.zeros(1)}, arguments)


def test_tensorflow_mean_of_w_is_read_where_it_was_tracked():
    vector = Vector("tf_gan_stem")
    variables, arguments = vector.under("var/"), vector.meta["generator"]
    mean = np.arange(16, dtype=np.float32)
    _, loaded = convert.load_tf_generator(variables | {"dlatent_avg": mean}, arguments)
    np.testing.assert_array_equal(loaded["moments"]["w_average"], mean)
    _, loaded = convert.load_tf_generator(variables, arguments)
    np.testing.assert_array_equal(loaded["moments"]["w_average"], jnp.zeros(16))
