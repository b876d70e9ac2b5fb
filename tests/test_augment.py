"""Augmentation: equality with the published numbers, distributions, gradients, kinds of images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import check_second_derivatives
from reference import DATA

from ganformer_jax.augment import (
    PRESETS,
    TRANSFORMS,
    Draws,
    augment,
    augment_with,
    draw,
    expand,
    geometry,
)
from ganformer_jax.augment import warp as warping
from ganformer_jax.augment.filtering import band_filters
from ganformer_jax.augment.transforms import Chances

VECTORS = dict(np.load(DATA / "ada.npz"))
MANY = 20_000
"""Images of a sample, in which a share is within 0.02 of its probability."""


@functools.cache
def compiled(names: str, percentile: float | None = None):
    """Augments images, given a key and p, with strength 1."""
    transforms = expand(names.split())
    return jax.jit(lambda x, key, p: augment(x, key, p, transforms, percentile))


def augmented(names: str, x, p: float = 1.0, seed: int = 0):
    return compiled(names)(x, jax.random.key(seed), p)


def vector_cases():
    for name in VECTORS:
        kind, *rest = name.split("/")
        if kind == "single" and len(rest) == 2:
            yield pytest.param(rest[0], rest[1], "single/in", name, id=rest[0])
        if kind == "chain" and rest[-1] == "out":
            _, names, percentile, _ = rest
            yield pytest.param(names, percentile, name[:-3] + "in", name, id="/".join(rest[:3]))


@pytest.mark.parametrize(("names", "percentile", "source", "wanted"), list(vector_cases()))
def test_equals_the_published_transformations(names, percentile, source, wanted):
    """Single ones, and chains of them on square, oblong and gray images."""
    function = compiled(names.replace("+", " "), float(percentile))
    found = function(VECTORS[source], jax.random.key(0), 0.0)
    np.testing.assert_allclose(found, VECTORS[wanted], atol=5e-5)


def some_images(count=4, height=16, width=16, channels=3, seed=0):
    random = np.random.default_rng(seed)
    return jnp.asarray(random.uniform(-1, 1, (count, height, width, channels)).astype(np.float32))


@functools.cache
def many_draws(names: str):
    return draw(jax.random.key(5), (MANY, 1, 1, 1), expand(names.split()))


def chances(names: str, p: float, **strengths: float) -> Chances:
    transforms = expand(names.split()) | strengths
    return Chances(many_draws("bgcf cutout").uniform_BxN, p, transforms)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_is_applied_with_its_probability(name):
    assert float(chances(name, 0.3).applied(name).mean()) == pytest.approx(0.3, abs=0.02)
    half = chances(name, 0.3, **{name: 0.5})
    assert float(half.applied(name).mean()) == pytest.approx(0.15, abs=0.02)
    assert not chances(name, 0.0).applied(name).any()
    assert chances(name, 1.0).applied(name).all()


def test_normal_values_are_normal():
    values = np.asarray(chances("scale", 0.5).normal("scale"))
    assert np.isfinite(values).all()
    assert np.quantile(values, [0.1, 0.5, 0.9]) == pytest.approx([-1.2816, 0, 1.2816], abs=0.04)
    halves = np.asarray(chances("noise", 0.5).half_normal("noise"))
    assert np.quantile(halves, [0.1, 0.5, 0.9]) == pytest.approx([0.1257, 0.6745, 1.645], abs=0.04)


def test_extreme_numbers_stay_finite():
    """Uniform numbers include 0, and may be as near to 1 as float32 can tell."""
    shape = 2, 8, 8, 3
    run = jax.jit(functools.partial(augment_with, transforms=expand(["bgcfnc"])))
    for value in (0.0, 1 - 2.0**-24):
        uniform = jnp.full(draw(jax.random.key(0), shape, {}).uniform_BxN.shape, value)
        draws = Draws(uniform, jnp.ones(shape))
        for p in (0.0, 1.0):
            found = run(some_images(2, 8, 8), draws, p)
            assert jnp.isfinite(found).all()


def placements(names: str, p: float, count: int = MANY) -> warping.Affine:
    return geometry._where_from(chances(names, p), count, 64, 32)


def test_rotation_has_its_probability_in_either_place():
    linear = placements("rotate", 0.4).linear_Bx2x2
    assert float((linear[:, 0, 1] != 0).mean()) == pytest.approx(0.4, abs=0.02)
    np.testing.assert_allclose(jnp.linalg.det(linear), 1, atol=1e-5)


def test_geometry_has_the_spread_of_the_paper():
    scale = placements("scale", 1.0).linear_Bx2x2[:, 0, 0]
    assert float(jnp.log2(scale).std()) == pytest.approx(0.2, rel=0.05)
    stretch = placements("aniso", 1.0).linear_Bx2x2
    np.testing.assert_allclose(stretch[:, 0, 0] * stretch[:, 1, 1], 1, rtol=1e-5)
    assert float(jnp.log2(stretch[:, 0, 0]).std()) == pytest.approx(0.2, rel=0.05)
    shift = placements("xfrac", 1.0).shift_Bx2
    assert np.asarray(shift.std(0)) == pytest.approx([0.125 * 32, 0.125 * 64], rel=0.05)
    whole = np.asarray(placements("xint", 1.0).shift_Bx2)
    assert (whole == np.round(whole)).all()
    assert np.abs(whole).max(0).tolist() == [4, 8]
    turned = np.asarray(placements("rotate90", 1.0).linear_Bx2x2)
    assert set(np.unique(turned)) == {-1, 0, 1}
    flipped = np.asarray(placements("xflip", 1.0).linear_Bx2x2)[:, 0, 0]
    assert (flipped == -1).mean() == pytest.approx(0.5, abs=0.02)


def test_without_probability_images_stay():
    x = some_images()
    kept = augmented("color filter noise cutout", x, p=0.0)
    np.testing.assert_allclose(kept, x, atol=1e-5)
    smooth = jnp.cos(jnp.linspace(0, 3, 16))[None, :, None, None] * jnp.ones((1, 16, 16, 3))
    moved = augmented("bg", smooth, p=0.0)
    np.testing.assert_allclose(moved, smooth, atol=2e-3)  # up and down again
    assert (augment(x, jax.random.key(0), 1.0, {}) == x).all()


def test_an_image_does_not_depend_on_the_others():
    x, transforms = some_images(), expand(["bgcfnc"])
    draws = draw(jax.random.key(3), x.shape, transforms)
    function = jax.jit(lambda x, draws: augment_with(x, draws, 0.8, transforms))
    whole = function(x, draws)
    for index in range(len(x)):
        alone = function(*jax.tree.map(lambda array, i=index: array[i : i + 1], (x, draws)))
        np.testing.assert_allclose(alone, whole[index : index + 1], atol=1e-5)


def test_numbers_do_not_depend_on_the_other_transformations():
    x = some_images()
    contrast, both = augmented("contrast", x), augmented("contrast noise", x)
    other = augmented("contrast", x, seed=2)
    spread = (both - contrast).std((1, 2, 3))
    assert (spread > 0).all()
    assert float(spread.max()) < 0.5
    assert not jnp.allclose(contrast, other)


def test_gradients_are_those_of_an_affine_map():
    """The images' way through is affine, so <J x, y> = <x, J^T y> with J x = f(x) - f(0)."""
    x, y, transforms = some_images(2), some_images(2, seed=1), expand(["bgcfnc"])

    @jax.jit
    def both_products(x, y):
        def function(images):
            return augment(images, jax.random.key(7), 0.9, transforms)

        value, vjp = jax.vjp(function, x)
        return jnp.vdot(value - function(jnp.zeros_like(x)), y), jnp.vdot(x, vjp(y)[0])

    left, right = both_products(x, y)
    assert float(left) == pytest.approx(float(right), rel=1e-4)


def test_second_derivatives_are_those_of_differences():
    x, direction = some_images(2, 8, 8), some_images(2, 8, 8, seed=1)
    transforms = expand(["bgcf"])
    check_second_derivatives(
        lambda images: augment(images, jax.random.key(7), 0.9, transforms), x, direction
    )


def test_forms_of_the_interpolation_are_equal():
    x = some_images(2, 9, 7)
    random = np.random.default_rng(0)
    row, column = (jnp.asarray(random.integers(0, n - 1, (2, 5, 6))) for n in (9, 7))

    def squares(take):
        return jax.value_and_grad(lambda image: jnp.square(take(image, row, column)).sum())(x)

    patches, pairs = (f(x, row, column) for f in (warping._take_patches, warping._take_pairs))
    np.testing.assert_array_equal(patches, pairs)
    assert patches[1, 2, 3, 1, 0, 2] == x[1, row[1, 2, 3] + 1, column[1, 2, 3], 2]
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5),
        squares(warping._take_patches),
        squares(warping._take_pairs),
    )


def test_far_away_there_is_nothing():
    x = some_images(3)
    linear = jnp.broadcast_to(jnp.eye(2), (3, 2, 2))
    shift = jnp.array([[1000.0, 0.0], [0.0, -1000.0], [0.0, 0.0]])
    found = jax.jit(warping.warp)(x, warping.Affine(linear, shift))
    assert (found[:2] == 0).all()
    assert jnp.abs(found[2] - x[2]).max() < 1.5  # white noise, which the filter smooths


def test_bands_add_up_to_the_image():
    filters = band_filters()
    assert filters.shape == (4, 43)
    wanted = np.zeros(43)
    wanted[21] = 1
    np.testing.assert_allclose(filters.sum(0), wanted, atol=1e-12)


def test_opacity_has_no_color():
    x = some_images(channels=4)
    found = augmented("color", x)
    np.testing.assert_array_equal(found[..., 3], x[..., 3])
    rgb = augmented("color", x[..., :3])
    np.testing.assert_allclose(found[..., :3], rgb, atol=1e-6)


def test_other_channels_are_gray_each():
    x = some_images(channels=5)
    found = augmented("color", x)
    for channel in range(5):
        alone = augmented("color", x[..., channel, None])
        np.testing.assert_allclose(found[..., channel, None], alone, atol=1e-6)


def test_gray_stays_gray():
    """A color image whose channels are equal is what its single channel becomes."""
    x = some_images(channels=1)
    gray = augmented("bgcf cutout", x, p=0.9)
    color = augmented("bgcf cutout", jnp.repeat(x, 3, 3), p=0.9)
    np.testing.assert_allclose(color, jnp.repeat(gray, 3, 3), atol=1e-4)


def test_half_precision_is_kept():
    x = some_images().astype(jnp.bfloat16)
    found = augmented("bgcfnc", x, p=0.9)
    assert found.dtype == jnp.bfloat16
    exact = augmented("bgcfnc", x.astype(jnp.float32), p=0.9)
    np.testing.assert_array_equal(found, exact.astype(jnp.bfloat16))


def test_presets():
    assert list(expand(["bgc"])) == [*TRANSFORMS[:12]]
    assert set(PRESETS["bgcfnc"]) == set(TRANSFORMS)
    assert expand(["color", "xflip"]) == dict.fromkeys([TRANSFORMS[0], *TRANSFORMS[7:12]], 1.0)


def test_errors_say_what_is_wrong():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="no transformation 'rotate80'.*did you mean rotate"):
        augment(some_images(), key, 0.5, {"rotate80": 1.0})
    with pytest.raises(ValueError, match="rank 4"):
        augment(some_images()[0], key, 0.5, {})
    with pytest.raises(TypeError, match="floating point"):
        augment(jnp.zeros((1, 8, 8, 3), jnp.uint8), key, 0.5, {})
    with pytest.raises(TypeError, match="strengths by name: give expand"):
        augment(some_images(), key, 0.5, ["xflip"])  # pyright: ignore[reportArgumentType]
    assert expand("color") == expand(["color"])
