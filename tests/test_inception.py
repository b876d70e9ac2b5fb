"""FID's Inception: the published network's numbers, resizing, weights, and devices."""

import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from ganformer_jax.metrics import FeatureExtractor, inception_features, random_weights
from ganformer_jax.metrics.inception import WIDTHS, resize_as_tensorflow_1
from ganformer_jax.metrics.inception_features import inception_variables, weight_shapes

DATA = np.load(Path(__file__).parent / "data" / "inception.npz")


@pytest.fixture(scope="module")
def weights():
    return random_weights(seed=7)


@pytest.mark.parametrize("size", [32, 299])
def test_features_are_those_of_the_published_network(weights, size, report_line):
    found = inception_features(weights, DATA[f"in/{size}"].transpose(0, 2, 3, 1))
    assert list(found) == list(WIDTHS)
    for name, width in WIDTHS.items():
        expected = DATA[f"out/{size}/{name}"]
        assert found[name].shape == (3, width) and found[name].dtype == np.float32
        error = np.linalg.norm(found[name] - expected) / np.linalg.norm(expected)
        assert error < 1e-5, (name, error)
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-4)
        report_line(f"inception {size}x{size}, {name}: relative error {error:.1e}")


def test_the_last_batch_is_filled_up_and_cut(weights):
    images = DATA["in/32"].transpose(0, 2, 3, 1)
    extractor = FeatureExtractor(weights, ["64"], batch_size=2)
    np.testing.assert_allclose(extractor(images)["64"], DATA["out/32/64"], rtol=1e-4)
    np.testing.assert_allclose(extractor(images[::-1])["64"], DATA["out/32/64"][::-1], rtol=1e-4)


@pytest.mark.parametrize("shape", [(2, 3), (1, 1), (299, 299), (640, 7)])
def test_resizing_against_its_definition(shape):
    image = np.random.default_rng(0).uniform(0, 255, (1, *shape, 3)).astype(np.float32)
    found = resize_as_tensorflow_1(jnp.asarray(image), 299)
    for row, column in [(0, 0), (298, 298), (100, 31), (7, 250)]:
        y, x = row * shape[0] / 299, column * shape[1] / 299
        top, left = int(y), int(x)
        bottom, right = min(top + 1, shape[0] - 1), min(left + 1, shape[1] - 1)
        upper = image[0, top, left] * (1 - (x - left)) + image[0, top, right] * (x - left)
        lower = image[0, bottom, left] * (1 - (x - left)) + image[0, bottom, right] * (x - left)
        expected = upper * (1 - (y - top)) + lower * (y - top)
        np.testing.assert_allclose(found[0, row, column], expected, rtol=2e-5, atol=5e-3)


def test_random_weights_are_always_the_same(weights):
    again = random_weights(seed=7)
    assert weights.keys() == weight_shapes().keys()
    assert all(np.array_equal(weights[name], again[name]) for name in weights)
    assert not np.array_equal(weights["fc.bias"], random_weights(seed=8)["fc.bias"])


def test_normalizations_are_taken_into_kernels():
    weights = {name: np.ones(shape, np.float32) for name, shape in weight_shapes().items()}
    weights["Conv2d_1a_3x3.bn.running_var"] = np.full(32, 4 - 1e-3, np.float32)
    layer = inception_variables(weights)["params"]["Conv2d_1a_3x3"]["conv"]
    np.testing.assert_allclose(layer["kernel"], 0.5, rtol=1e-6)
    np.testing.assert_allclose(layer["bias"], 0.5, rtol=1e-6)


def with_(weights, **changes):
    return {**weights, **{name.replace("__", "."): value for name, value in changes.items()}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {k: v for k, v in w.items() if k != "fc.bias"}, "missing fc.bias"),
        (lambda w: with_(w, more=np.zeros(1)), "unknown more"),
        (lambda w: {}, "and 469 more"),
        (lambda w: with_(w, fc__bias=np.zeros(1000, np.float32)), r"fc.bias is \[1000\]"),
        (lambda w: with_(w, fc__bias=np.full(1008, np.nan)), "fc.bias holds values that are not"),
        (lambda w: with_(w, fc__bias=np.zeros(1008, int)), "fc.bias holds values that are not"),
        (
            lambda w: with_(w, Conv2d_1a_3x3__bn__running_var=np.full(32, -1.0)),
            "negative variance",
        ),
    ],
)
def test_other_weights_are_refused(weights, change, message):
    with pytest.raises(ValueError, match=message):
        inception_variables(change(weights))


def test_counters_of_training_are_passed_over(weights):
    inception_variables({**weights, "Conv2d_1a_3x3.bn.num_batches_tracked": np.array(3)})


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 32, 32, 3), np.float32),
        np.full((2, 32, 32, 3), np.nan),
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((2, 3, 32, 32), np.uint8),
        np.zeros((0, 32, 32, 3), np.uint8),
    ],
)
def test_other_images_are_refused(weights, images):
    with pytest.raises(ValueError, match="images must be uint8"):
        inception_features(weights, images)


def test_features_by_name(weights):
    with pytest.raises(ValueError, match="features are 64, 192"):
        FeatureExtractor(weights, ["pool3"])
    with pytest.raises(ValueError, match="batch_size"):
        FeatureExtractor(weights, ["64"], batch_size=0)


EIGHT_DEVICES = """
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 8)
from ganformer_jax.metrics import FeatureExtractor, random_weights
images = np.random.default_rng(0).integers(0, 256, (13, 24, 24, 3), np.uint8)
weights = random_weights()
mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
divided = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
one = FeatureExtractor(weights, ["64"], 8)(images)["64"]
eight = FeatureExtractor(weights, ["64"], 8, divided)(images)["64"]
assert len(jax.devices()) == 8
np.testing.assert_allclose(eight, one, rtol=1e-5, atol=1e-6)
"""


@pytest.mark.slow
def test_eight_devices_see_what_one_does():
    environment = {"PATH": "", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, "-c", EIGHT_DEVICES], env=environment, check=True, timeout=300)
