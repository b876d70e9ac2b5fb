"""DiffAugment: each policy against its definition, in NumPy from the same random numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import check_second_derivatives

from ganformer_jax.augment import POLICIES, diff_augment, diff_augment_with, draw_choices


def some_images(count=6, height=16, width=12, channels=3):
    random = np.random.default_rng(0)
    return jnp.asarray(random.uniform(-1, 1, (count, height, width, channels)).astype(np.float32))


@functools.cache
def compiled(policy):
    return jax.jit(lambda x, choices: diff_augment_with(x, choices, policy.split()))


CHOICES = draw_choices(jax.random.key(1), 6)


def test_color():
    x = some_images()
    found = compiled("color")(x, CHOICES)
    for image, wanted, numbers in zip(np.asarray(x), found, np.stack(CHOICES[:3], 1), strict=True):
        brightness, saturation, contrast = numbers
        image = image + brightness - 0.5
        gray = image.mean(2, keepdims=True)
        image = gray + (image - gray) * saturation * 2
        image = image.mean() + (image - image.mean()) * (contrast + 0.5)
        np.testing.assert_allclose(image, wanted, atol=1e-5)


@pytest.mark.parametrize("channels", [2, 6])
def test_channels_that_are_no_colors_are_gray_each(channels):
    x = some_images(channels=channels)
    found = compiled("color")(x, CHOICES)
    for channel in range(channels):
        one = compiled("color")(x[..., channel : channel + 1], CHOICES)
        np.testing.assert_allclose(found[..., channel], one[..., 0], atol=1e-6)


def test_translation():
    x = np.asarray(some_images())
    found = compiled("translation")(x, CHOICES)
    for image, wanted, numbers in zip(x, found, np.asarray(CHOICES.shift_Bx2), strict=True):
        down, right = (int(n * (2 * most + 1)) for n, most in zip(numbers, (2, 2), strict=True))
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
        np.testing.assert_array_equal(padded[down : down + 16, right : right + 12], wanted)


def test_translation_reaches_every_place():
    numbers = draw_choices(jax.random.key(0), 4000)
    x = jnp.zeros((4000, 8, 8, 1)).at[:, 4, 4].set(1)
    found = np.asarray(compiled("translation")(x, numbers))
    places, counts = np.unique(np.argwhere(found[..., 0])[:, 1:], axis=0, return_counts=True)
    assert places.tolist() == [[row, column] for row in (3, 4, 5) for column in (3, 4, 5)]
    assert counts / 4000 == pytest.approx(np.full(9, 1 / 9), abs=0.025)


def test_cutout():
    x = jnp.ones((6, 16, 12, 3))
    found = np.asarray(compiled("cutout")(x, CHOICES))
    for image, numbers in zip(found, np.asarray(CHOICES.cut_Bx2), strict=True):
        wanted = np.ones((16, 12, 3))
        row, column = int(numbers[0] * 17) - 4, int(numbers[1] * 13) - 3
        wanted[max(row, 0) : row + 8, max(column, 0) : column + 6] = 0
        np.testing.assert_array_equal(image, wanted)


def test_policies_come_in_their_order():
    x = some_images()
    whole = compiled("cutout translation color")(x, CHOICES)
    for policy in POLICIES:
        x = compiled(policy)(x, CHOICES)
    np.testing.assert_allclose(whole, x, atol=1e-6)
    assert (diff_augment(x, jax.random.key(0), ()) == x).all()


def test_opacity_has_no_color_and_dtype_is_kept():
    x = some_images(channels=4).astype(jnp.bfloat16)
    found = compiled("color")(x, CHOICES)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found[..., 3], x[..., 3])


def test_second_derivatives():
    check_second_derivatives(
        lambda images: diff_augment_with(images, CHOICES, POLICIES),
        some_images(),
        some_images()[::-1],
    )


def test_one_policy_needs_no_list():
    one, same = (diff_augment(some_images(), jax.random.key(0), p) for p in ("color", ["color"]))
    np.testing.assert_array_equal(one, same)


def test_errors():
    with pytest.raises(ValueError, match="no policy 'colour'.*did you mean color"):
        diff_augment(some_images(), jax.random.key(0), ["colour"])
    with pytest.raises(ValueError, match="rank 4"):
        diff_augment(some_images()[0], jax.random.key(0), ["color"])
