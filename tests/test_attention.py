"""Bipartite attention against a direct computation, and its symmetries."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import random_variables

from ganformer_jax.nn.attention import (
    BipartiteAttention,
    KMeans,
    assignments,
    normalize_attended,
    upsample_assignments,
)
from ganformer_jax.nn.component_update import ComponentUpdate

BATCH, PIXELS, COMPONENTS, CHANNELS, WIDTH = 2, 16, 3, 8, 6


@pytest.fixture(autouse=True)
def exact_matmuls():
    with jax.default_matmul_precision("highest"):
        yield


def inputs():
    keys = jax.random.split(jax.random.key(0), 4)
    x = jax.random.normal(keys[0], (BATCH, PIXELS, CHANNELS))
    y = jax.random.normal(keys[1], (BATCH, COMPONENTS, WIDTH))
    x_position = jax.random.normal(keys[2], (PIXELS, 5))
    y_position = jax.random.normal(keys[3], (COMPONENTS, WIDTH))
    return x, y, x_position, y_position


def build(**settings):
    """A module and random parameters, drawn without compiling its initialization."""
    module = BipartiteAttention(**settings)
    return module, random_variables(lambda: module.init(jax.random.key(1), *inputs()))


def dense(parameters, x):
    x = np.asarray(x, np.float64)
    return x @ (np.asarray(parameters["kernel"]) / math.sqrt(x.shape[-1])) + np.asarray(
        parameters["bias"]
    )


def softmax(scores):
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def direct(variables, heads, kmeans_iterations, integration, norm):
    """The published computation, with every query, key and value projected."""
    p = variables["params"]
    x, y, x_position, y_position = inputs()
    query, shared = dense(p["queries"], x), dense(p["query_positions"], x_position)
    size = CHANNELS // heads

    def split(rows, width):
        return rows.reshape(BATCH, -1, heads, width).transpose(0, 2, 1, 3)

    values = split(dense(p["values"], y), size)
    if kmeans_iterations:
        pair = np.concatenate([query, np.broadcast_to(shared, query.shape)], -1)
        elements = split(pair, 2 * size)
        centroids = np.broadcast_to(p["centroids"], (BATCH, *p["centroids"].shape[1:]))
        for iteration in range(kmeans_iterations):
            if iteration:
                shares = probabilities / (probabilities.sum(2, keepdims=True) + 1e-8)
                centroids = shares.swapaxes(2, 3) @ elements
            weighted = elements * np.asarray(p[f"score_weights_{iteration}"])[None]
            probabilities = softmax(weighted @ centroids.swapaxes(2, 3) / math.sqrt(size))
    else:
        keys = split(dense(p["keys"], y) + dense(p["key_positions"], y_position), size)
        queries = split(query + shared, size)
        probabilities = softmax(queries @ keys.swapaxes(2, 3) / math.sqrt(size))
    control = (probabilities @ values).transpose(0, 2, 1, 3).reshape(BATCH, PIXELS, CHANNELS)
    control = dense(p["modulation"], control)
    x = np.asarray(normalize_attended(x, integration, norm))
    gain, bias = {
        "add": (0, control),
        "mul": (control, 0),
        "both": np.split(control, 2, -1) if integration == "both" else (0, 0),
    }[integration]
    return x * (gain + 1) + bias, probabilities


UPDATES = [("add", "layer"), ("mul", "instance"), ("both", None)]


@pytest.mark.parametrize(
    ("heads", "kmeans_iterations", "integration", "norm"),
    [  # every number of heads with every number of iterations, and each with every update
        (heads, iterations, *UPDATES[(i + j) % 3])
        for i, heads in enumerate([1, 2, 4])
        for j, iterations in enumerate([0, 1, 3])
    ],
)
def test_equals_the_direct_computation(heads, kmeans_iterations, integration, norm):
    kmeans = KMeans(kmeans_iterations) if kmeans_iterations else None
    module, variables = build(heads=heads, integration=integration, norm=norm, kmeans=kmeans)
    x, probabilities, shares = module.apply(variables, *inputs())
    expected, expected_probabilities = direct(
        variables, heads, kmeans_iterations, integration, norm
    )
    np.testing.assert_allclose(probabilities, expected_probabilities, atol=1e-5)
    np.testing.assert_allclose(x, expected, atol=2e-5)
    assert (shares is None) == (kmeans is None)


@pytest.mark.parametrize("kmeans", [None, KMeans(2)])
def test_permuting_components_permutes_the_maps_and_keeps_the_image(kmeans):
    module, variables = build(kmeans=kmeans)
    x, y, x_position, y_position = inputs()
    order = jnp.asarray([2, 0, 1])
    image, maps, _ = module.apply(variables, x, y, x_position, y_position)
    if kmeans:
        centroids = variables["params"]["centroids"][:, :, order]
        variables = {"params": variables["params"] | {"centroids": centroids}}
    permuted, permuted_maps, _ = module.apply(
        variables, x, y[:, order], x_position, y_position[order]
    )
    np.testing.assert_allclose(permuted, image, atol=1e-5)
    np.testing.assert_allclose(permuted_maps, maps[..., order], atol=1e-5)


def test_permuting_pixels_permutes_the_result():
    module, variables = build(kmeans=KMeans(2))
    x, y, x_position, y_position = inputs()
    order = jax.random.permutation(jax.random.key(3), PIXELS)
    image, _, _ = module.apply(variables, x, y, x_position, y_position)
    permuted, _, _ = module.apply(variables, x[:, order], y, x_position[order], y_position)
    np.testing.assert_allclose(permuted, image[:, order], atol=1e-5)


def test_masked_components_receive_no_attention():
    module, variables = build()
    mask = jnp.asarray([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    _, maps, _ = module.apply(variables, *inputs(), mask_BxT=mask)
    assert float(maps[0, ..., 1].max()) == 0.0
    np.testing.assert_allclose(maps.sum(-1), 1.0, atol=1e-6)


def test_assignments_are_shares_of_each_component():
    probabilities = jax.nn.softmax(jax.random.normal(jax.random.key(0), (2, 1, 16, 3)))
    shares = assignments(probabilities)
    assert shares.shape == (2, 1, 3, 16)
    np.testing.assert_allclose(shares.sum(-1), 1.0, atol=1e-5)
    carried = upsample_assignments(shares, (8, 8))
    np.testing.assert_allclose(carried.sum(-1), 1.0, atol=1e-5)
    grid, small = carried.reshape(2, 1, 3, 8, 8), shares.reshape(2, 1, 3, 4, 4)
    np.testing.assert_allclose(grid[..., 1::2, ::2], small / 4, atol=1e-6)


def test_carried_centroids_are_means_of_the_queries_assigned():
    module, variables = build(kmeans=KMeans(1))
    assert "centroids" in variables["params"]
    x, y, x_position, y_position = inputs()
    coarse = assignments(jax.nn.softmax(jax.random.normal(jax.random.key(5), (BATCH, 1, 4, 3))))
    fine = upsample_assignments(coarse, (4, 4))
    _, maps, _ = module.apply(variables, x, y, x_position, y_position, assignments_BxNxTxF=fine)
    p = variables["params"]
    query, shared = dense(p["queries"], x), dense(p["query_positions"], x_position)
    elements = np.concatenate([query, np.broadcast_to(shared, query.shape)], -1)
    means = np.asarray(fine)[:, 0] @ elements
    scores = (elements * np.asarray(p["score_weights_0"])[0]) @ means.swapaxes(1, 2)
    np.testing.assert_allclose(maps[:, 0], softmax(scores / math.sqrt(CHANNELS)), atol=1e-5)


def test_dropout_is_for_training_alone_and_drops_whole_components():
    module, variables = build(dropout=0.9)
    quiet, _, _ = module.apply(variables, *inputs())
    assert np.all(np.isfinite(quiet))
    rngs = {"dropout": jax.random.key(2)}
    _, maps, _ = module.apply(variables, *inputs(), train=True, rngs=rngs)
    columns_dropped = np.asarray(maps).max(2) == 0.0
    assert columns_dropped.any() and not columns_dropped.all()


@pytest.mark.parametrize("gate", ["gate_x", "gate_y"])
def test_closed_gates_stop_information(gate):
    module, variables = build(**{gate: True})
    closed = jax.tree.map(jnp.zeros_like, variables["params"][gate])
    closed["features"]["bias"] = jnp.full_like(closed["features"]["bias"], -100.0)
    variables = {"params": variables["params"] | {gate: closed}}
    x, maps, _ = module.apply(variables, *inputs())
    np.testing.assert_allclose(maps, 0.0, atol=1e-20)
    expected = inputs()[0] + variables["params"]["modulation"]["bias"][None, None]
    np.testing.assert_allclose(x, expected, atol=1e-6)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="3 heads do not divide width 8"):
        BipartiteAttention(heads=3).init(jax.random.key(0), *inputs())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"integration": "gain"}, "integration is 'gain'; it should be one of"),
        ({"norm": "batch"}, "norm is 'batch'; it should be one of"),
        ({"heads": 0}, "0 heads do not divide width 8"),
        ({"dropout": 2.0}, "dropout is 2.0; it should be at least 0 and below 1"),
        ({"kmeans": KMeans(0)}, "kmeans.iterations is 0; it should be 1 or more"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BipartiteAttention(**options).init(jax.random.key(0), *inputs())


def test_arrays_that_do_not_belong_together_are_refused():
    x, y, x_position, y_position = inputs()
    attention = BipartiteAttention()

    def call(*arrays, **more):
        return attention.init(jax.random.key(0), *arrays, **more)

    with pytest.raises(ValueError, match=r"they should be \[B, F, C\] and \[B, T, D\]"):
        call(x, y[:1])
    with pytest.raises(ValueError, match=rf"x_position is .*; it should be \[{x.shape[1]}, any\]"):
        call(x, y, x_position[1:], y_position)
    with pytest.raises(ValueError, match="y_position is"):
        call(x, y, x_position, y_position[:1])
    for mask in (jnp.ones(y.shape[1]), jnp.ones((len(y), 1))):
        with pytest.raises(
            ValueError, match=rf"mask is .*; it should be \[{len(y)}, {y.shape[1]}\]"
        ):
            call(x, y, mask_BxT=mask)


def test_component_update_is_residual():
    update = ComponentUpdate(heads=1, dropout=0.0, gate_x=False, gate_y=False)
    x, y, x_position, y_position = inputs()
    variables = update.init(jax.random.key(0), y, x, y_position, x_position)
    silent = jax.tree.map(jnp.zeros_like, variables["params"]["dense_1"])
    silent = {"params": variables["params"] | {"dense_1": silent}}
    updated = update.apply(silent, y, x, y_position, x_position)  # whatever is attended to
    np.testing.assert_allclose(updated, jax.nn.leaky_relu(y, 0.2), atol=1e-6)
    changed = update.apply(variables, y, x + 1.0, y_position, x_position)
    assert not np.allclose(changed, update.apply(variables, y, x, y_position, x_position))
