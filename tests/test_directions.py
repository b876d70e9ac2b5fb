"""Directions in w: of the weights that read it, and by regression."""

import dataclasses

import jax
import numpy as np
import pytest
from exports import variables_of
from tiny import tiny_config

from ganformer_jax import Generator
from ganformer_jax.config import AttentionConfig
from ganformer_jax.directions import (
    ALL,
    COMPONENTS,
    GLOBAL,
    Direction,
    component_readers,
    factorize,
    fit_linear,
    global_readers,
    property_names,
    read_directions,
    region_properties,
    save_directions,
    smallest_changes,
    target_change,
)
from ganformer_jax.errors import UserError
from ganformer_jax.models import num_layers
from ganformer_jax.nn.attention import BipartiteAttention, KMeans
from ganformer_jax.nn.layers import EqualizedDense, ModulatedConvolution
from ganformer_jax.sampling import layer_thirds

GANFORMER = dataclasses.replace(tiny_config(2).generator, latent_size=16)
PLAIN = tiny_config(0).generator
KINDS = {
    "resnet": GANFORMER,
    "skip": dataclasses.replace(
        PLAIN, synthesis=dataclasses.replace(PLAIN.synthesis, architecture="skip")
    ),
    "stem of the global latent": dataclasses.replace(
        PLAIN, synthesis=dataclasses.replace(PLAIN.synthesis, stem="latent")
    ),
    "no last convolution": dataclasses.replace(
        PLAIN, synthesis=dataclasses.replace(PLAIN.synthesis, last_convolution=False)
    ),
}


def read_of_global(config, variables, w_1xKxLxD):
    """What the network's own layers get from the global latent: styles, and the stem."""

    def reads(module, method):
        is_read = isinstance(module, EqualizedDense) and method == "__call__"
        return is_read and (
            isinstance(module.parent, ModulatedConvolution) or module.path[-2:] == ("stem", "dense")
        )

    _, state = Generator(config).apply(
        variables,
        w_1xKxLxD,
        noise="none",
        method="synthesize",
        mutable=["intermediates"],
        capture_intermediates=reads,
    )
    return np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(state["intermediates"])])


@pytest.mark.parametrize("kind", KINDS)
def test_readers_of_the_global_latent_are_what_its_layers_get(kind):
    """By finite differences, one layer of w after the other; all numbers of a layer, in any order.

    The maps are affine, so that a difference is exact but for rounding.
    """
    config, variables = KINDS[kind], variables_of(KINDS[kind])
    readers = global_readers(config, variables)
    layers = num_layers(config)
    assert {reader.layer for reader in readers} == set(range(layers))
    step_D = np.random.default_rng(0).standard_normal(config.w_size).astype(np.float32)
    w = np.zeros((1, config.num_latents, layers, config.w_size), np.float32)
    start = read_of_global(config, variables, w)
    for layer in range(layers):
        moved = w.copy()
        moved[:, -1, layer] = step_D
        found = read_of_global(config, variables, moved) - start
        predicted = [step_D @ reader.kernel_DxO for reader in readers if reader.layer == layer]
        expected = np.concatenate(predicted)
        changed = found[np.abs(found) > 1e-5]
        np.testing.assert_allclose(
            np.sort(changed), np.sort(expected[np.abs(expected) > 1e-5]), atol=2e-5
        )


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("kmeans", [0, 1], ids=["simplex", "duplex"])
@pytest.mark.parametrize("integration", ["add", "mul", "both"])
def test_readers_of_a_component_are_gains_and_biases_of_who_attends_to_it(
    integration, kmeans, heads
):
    """One component, to which every position attends: its gain and bias by finite differences.

    Of one head after the other, the others without values.
    """
    attention = AttentionConfig(
        integration=integration, norm=None, kmeans_iterations=kmeans, dropout=0.0, heads=heads
    )
    config = dataclasses.replace(
        tiny_config(1).generator, latent_size=8, attention=attention, latent_positions=False
    )
    variables = variables_of(config)
    readers = component_readers(config, variables)
    assert len(readers) == heads + (not kmeans)
    block = variables["params"]["synthesis"]["block_4"]["layer_1"]["attention"]["top_down"]
    layer = BipartiteAttention(heads, integration, kmeans=KMeans(kmeans) if kmeans else None)
    x = np.ones((1, 3, 4), np.float32)
    positions = np.zeros((3, config.w_size), np.float32)
    w_D, step_D = np.random.default_rng(0).standard_normal((2, config.w_size)).astype(np.float32)

    def changed(params, features):
        """The change of the first position by a step in w."""
        ends = [
            layer.apply({"params": params}, features, w[None, None], positions)[0][0, 0]
            for w in (w_D, w_D + step_D)
        ]
        return ends[1] - ends[0]

    of_heads = np.split(np.eye(x.shape[-1], dtype=np.float32), heads)
    for reader, columns in zip(readers[:heads], of_heads, strict=True):
        own = {name: np.asarray(leaf) * columns.sum(0) for name, leaf in block["values"].items()}
        bias = changed(block | {"values": own}, 0 * x)
        gain = changed(block | {"values": own}, x) - bias
        found = {"add": [bias], "mul": [gain], "both": [gain, bias]}[integration]
        expected = step_D @ reader.kernel_DxO
        np.testing.assert_allclose(expected, np.concatenate(found), atol=1e-5)
        assert np.abs(expected).max() > 0.01
        unread = {"add": gain, "mul": bias, "both": 0.0}[integration]
        np.testing.assert_allclose(unread, 0, atol=1e-5)
    if not kmeans:  # and its key, over the root of a head's width
        kernel = block["keys"]["kernel"] / np.sqrt(config.w_size)  # as it is scaled for use
        kernel = kernel / np.sqrt(x.shape[-1] // heads)
        np.testing.assert_allclose(readers[heads].kernel_DxO, kernel, rtol=1e-5)


def test_heads_and_updated_components():
    """A reader for each head; where components change between layers, only the first layer's."""
    heads = dataclasses.replace(GANFORMER.attention, heads=2)
    config = dataclasses.replace(GANFORMER, attention=heads, attention_resolutions=(4, 8))
    assert [r.layer for r in component_readers(config, variables_of(config))] == [0, 0, 1, 1, 2, 2]
    config = dataclasses.replace(config, components_attend_components=True)
    assert [r.layer for r in component_readers(config, variables_of(config))] == [0, 0]
    assert component_readers(PLAIN, variables_of(PLAIN)) == []


def test_factors_are_the_strongest_steps():
    """No random unit step changes more than the first, or than the next ones orthogonal to it."""
    readers = global_readers(GANFORMER, variables_of(GANFORMER))
    kernel = np.concatenate([reader.kernel_DxO for reader in readers], 1).astype(np.float64)
    size = GANFORMER.w_size
    factors = factorize(readers, size + 5)
    np.testing.assert_allclose(factors.vectors_MxD @ factors.vectors_MxD.T, np.eye(size), atol=1e-5)
    steps = np.random.default_rng(0).standard_normal((500, size))
    for vector_D, strength in zip(factors.vectors_MxD[:5], factors.strengths_M, strict=False):
        unit = steps / np.linalg.norm(steps, axis=1, keepdims=True)
        assert np.linalg.norm(vector_D @ kernel) == pytest.approx(strength, rel=1e-4, abs=1e-5)
        assert np.linalg.norm(unit @ kernel, axis=1).max() <= strength * (1 + 1e-5) + 1e-5
        assert vector_D[np.abs(vector_D).argmax()] > 0
        steps = steps - np.outer(steps @ vector_D, vector_D)
    assert (np.diff(factors.strengths_M) <= 0).all() and len(factorize(readers, 2).strengths_M) == 2
    with pytest.raises(ValueError, match="nothing reads"):
        factorize([], 3)


@pytest.fixture(scope="module")
def planted():
    """Codes of unequal spread that are correlated, a linear map, and properties with noise."""
    random = np.random.default_rng(0)
    mixing = random.standard_normal((6, 6)) * np.array([3, 1, 1, 0.3, 0.1, 1])
    codes = random.standard_normal((800, 6)) @ mixing + 5
    weights = random.standard_normal((3, 6))
    return codes, weights, codes @ weights.T + 7


def test_regression_finds_a_planted_map(planted):
    codes, weights, properties = planted
    fit = fit_linear(codes, properties)
    np.testing.assert_allclose(fit.weights_AxD, weights, atol=0.01)
    np.testing.assert_allclose(fit.r2_A, 1, atol=1e-3)
    np.testing.assert_allclose(fit.deviation_A, properties.std(0))
    noise = np.random.default_rng(1).standard_normal(len(codes))
    noisy = np.stack([properties[:, 0] + properties[:, 0].std() * noise, noise], 1)
    assert fit_linear(codes, noisy).r2_A == pytest.approx([0.5, 0.0], abs=0.1)


def test_r2_of_what_w_says_nothing_about():
    random = np.random.default_rng(2)
    fit = fit_linear(random.standard_normal((400, 30)), random.standard_normal((400, 4)))
    assert (np.abs(fit.r2_A) < 0.1).all()
    with pytest.raises(ValueError, match="at least 20"):
        fit_linear(np.ones((19, 2)), np.ones((19, 1)))
    with pytest.raises(ValueError, match="30 rows of codes"):
        fit_linear(np.ones((30, 2)), np.ones((31, 1)))


def test_the_smallest_change_sets_one_property_and_leaves_the_others(planted):
    codes, weights, _ = planted
    covariance = np.cov(codes, rowvar=False)
    changes, products = smallest_changes(weights, covariance)
    np.testing.assert_allclose(weights @ changes.T, np.eye(3), atol=1e-9)
    inverse = np.linalg.inv(covariance)
    np.testing.assert_allclose(changes @ inverse @ changes.T, products, rtol=1e-6)
    # any other change that does the same is longer
    free = np.linalg.svd(weights)[2][3:]
    for step in np.random.default_rng(0).standard_normal((50, len(free))) @ free:
        other = changes[0] + 0.1 * step
        assert (weights @ other)[0] == pytest.approx(1)
        assert other @ inverse @ other > products[0, 0]


def test_properties_that_no_change_can_part(planted):
    codes, weights, _ = planted
    twice = np.stack([weights[0], weights[0]])
    changes, _ = smallest_changes(twice, np.cov(codes, rowvar=False))
    np.testing.assert_allclose(twice @ changes.T, 0.5, atol=1e-6)


def region_directions(weights, covariance, names):
    changes, products = smallest_changes(weights, covariance)
    lengths = np.sqrt(np.diag(products))
    inner = products / np.outer(lengths, lengths)
    return {
        name: Direction(
            f"component 1 {name}",
            "component 1",
            (changes[i] / np.linalg.norm(changes[i]))[None].astype(np.float32),
            np.linalg.norm(changes[i]) / lengths[i],
            "regression",
            facts={"per_unit": 1 / lengths[i], "products": dict(zip(names, inner[i], strict=True))},
        )
        for i, name in enumerate(names)
    }


def test_targets_of_several_properties_are_met_and_shortened(planted):
    codes, weights, _ = planted
    covariance = np.cov(codes, rowvar=False)
    directions = region_directions(weights, covariance, ["a", "b", "c"])
    targets = np.array([[2.0, -1.0], [0.0, 0.0], [20.0, 5.0]])
    found = target_change(directions, ["a", "c"], targets)
    reached = found.changes_BxD @ weights.T
    np.testing.assert_allclose(reached, targets[:, [0, 0, 1]] * [1, 0, 1], atol=1e-4)
    lengths = np.einsum(
        "bd,de,be->b", found.changes_BxD, np.linalg.inv(covariance), found.changes_BxD
    )
    np.testing.assert_allclose(found.lengths_B, np.sqrt(lengths), rtol=1e-4, atol=1e-6)
    assert not found.changes_BxD[1].any()
    limit = float(found.lengths_B[2]) / 4
    short = target_change(directions, ["a", "c"], targets, limit)
    np.testing.assert_allclose(short.changes_BxD[2], found.changes_BxD[2] / 4, rtol=1e-5)
    assert short.shares_B[2] == pytest.approx(0.25)


def test_properties_of_regions():
    images = np.zeros((3, 4, 8, 3), np.uint8)
    images[0, 1, 2:6] = [10, 20, 255]
    regions = np.zeros((3, 4, 8), bool)
    regions[0, 1, 2:6] = regions[2] = True
    found = region_properties(images, regions)
    assert property_names(3) == ("row", "column", "area", "red", "green", "blue")
    np.testing.assert_allclose(found[0], [1.5 / 4, 0.5, 4 / 32, 10, 20, 255])
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[2, :3], [0.5, 0.5, 1])
    assert property_names(1)[3:] == ("gray",) and property_names(2)[3:] == ("red", "green")
    for channels in (1, 2, 5):
        many = np.full((1, 4, 8, channels), 9, np.uint8)
        shape = (1, len(property_names(channels)))
        assert region_properties(many, regions[:1]).shape == shape
    with pytest.raises(ValueError, match="of shapes"):
        region_properties(images, regions[:2])


def test_which_latents_a_direction_moves():
    w = np.random.default_rng(0).standard_normal((1, 4, 5, 2)).astype(np.float32)
    one = np.array([[0.6, 0.8]], np.float32)

    def changed(direction, component=None):
        moved = direction.moved(w, np.array([0.0, 2.0]), component)
        np.testing.assert_array_equal(moved[0], w[0])
        return (moved[1] - w[0]).round(5)

    found = changed(Direction("g", GLOBAL, one, 3.0, "factorization", (1, 2)))
    assert not found[:3].any() and not found[3, [0, 3, 4]].any()
    np.testing.assert_allclose(found[3, 1:3], [[3.6, 4.8]] * 2, rtol=1e-4)
    shared = Direction("c", COMPONENTS, one, 1.0, "factorization")
    assert changed(shared).any((1, 2)).tolist() == [True, True, True, False]
    assert changed(shared, 1).any((1, 2)).tolist() == [False, True, False, False]
    own = Direction("o", "component 3", one, 1.0, "regression")
    assert changed(own).any((1, 2)).tolist() == [False, False, True, False]
    for component in (-1, 3):
        with pytest.raises(ValueError, match=f"component {component} is not one of 0 to 2"):
            shared.moved(w, np.ones(1), component)
    np.testing.assert_array_equal(shared.moved(w, 2.0, 1), shared.moved(w, np.array([2.0]), 1))
    every = Direction("a", ALL, np.ones((4, 2), np.float32), 1.0, "regression")
    assert changed(every).all()


def test_thirds_of_layers():
    assert layer_thirds(7) == {"coarse": [0, 1, 2], "middle": [3, 4], "fine": [5, 6]}
    assert layer_thirds(2) == {"coarse": [0], "middle": [1], "fine": []}


def raise_memory_error(*args, **options):
    raise MemoryError


def test_files_of_directions(tmp_path, monkeypatch):
    vector = np.ones((1, GANFORMER.w_size), np.float32)
    facts = {"property": "row", "per_unit": 0.1, "r2": 0.5, "products": {"row": 1.0}}
    saved = [
        Direction("global 1", GLOBAL, vector, 2.0, "factorization", (0, 2)),
        Direction("component 1 row", "component 1", 2 * vector, 0.5, "regression", facts=facts),
    ]
    path = tmp_path / "d.npz"
    save_directions(path, saved, "abc")
    lines = []
    found = read_directions(path, GANFORMER, weights="abc", say=lines.append)
    assert list(found) == ["global 1", "component 1 row"] and not lines
    for one, other in zip(saved, found.values(), strict=True):
        np.testing.assert_array_equal(one.vector_KxD, other.vector_KxD)
        assert dataclasses.replace(one, vector_KxD=None) == dataclasses.replace(
            other, vector_KxD=None
        )
    read_directions(path, GANFORMER, weights="other", say=lines.append)
    assert len(lines) == 1 and "other weights" in lines[0]
    with pytest.raises(UserError, match="of another generator"):
        read_directions(path, dataclasses.replace(GANFORMER, latent_size=8))
    with pytest.raises(UserError, match="it has no component 1"):
        read_directions(path, dataclasses.replace(PLAIN, latent_size=GANFORMER.w_size))
    save_directions(path, [dataclasses.replace(saved[1], facts={"r2": 0.5})])
    with pytest.raises(UserError, match="lacks per_unit, products, property"):
        read_directions(path, GANFORMER)
    one = saved[0]
    for damaged, message in [
        (dataclasses.replace(one, layers=(1,)), "layers of global 1 must be a first and a last"),
        (dataclasses.replace(one, layers=()), "layers of global 1 must be a first and a last"),
        (dataclasses.replace(one, scale=np.inf), "global 1 is not finite"),
        (dataclasses.replace(one, vector_KxD=np.nan * vector), "global 1 is not finite"),
        (dataclasses.replace(one, latent=["global"]), "not a file of directions"),
        (dataclasses.replace(one, scale=10**400), "not a file of directions: OverflowError"),
    ]:
        save_directions(path, [damaged])
        with pytest.raises(UserError, match=message):
            read_directions(path, GANFORMER)
    save_directions(path, saved)
    with monkeypatch.context() as patched:
        patched.setattr(np, "load", raise_memory_error)
        with pytest.raises(UserError, match="not a file of directions: MemoryError"):
            read_directions(path, GANFORMER)
    whole = path.read_bytes()
    method = whole.index(b"PK\x01\x02") + 10  # of the first entry's compression
    path.write_bytes(whole[:method] + b"\x63" + whole[method + 1 :])
    with pytest.raises(UserError, match="not a file of directions: NotImplementedError"):
        read_directions(path, GANFORMER)
    path.write_bytes(b"no zip")
    with pytest.raises(UserError, match="not a file of directions"):
        read_directions(path, GANFORMER)
    np.savez(path, w=vector)
    with pytest.raises(UserError, match="not a file of directions"):
        read_directions(path, GANFORMER)
    with pytest.raises(UserError, match="run `directions` first"):
        read_directions(tmp_path / "none.npz", GANFORMER)
