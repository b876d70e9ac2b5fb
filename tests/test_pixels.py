"""Converting images between uint8 and floats, and to color."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganformer_jax.pixels import as_rgb, channel_words, enlarge, from_uint8, to_uint8


def test_numpy_and_jax_convert_alike():
    values = np.array([-3, -1, -0.999, -1 / 255, 0, 0.5, 1, 1.7], np.float32)
    expected = [0, 0, 0, 127, 128, 191, 255, 255]
    assert to_uint8(values).tolist() == jax.jit(to_uint8)(jnp.asarray(values)).tolist() == expected
    levels = np.arange(256, dtype=np.uint8)
    for array in (levels, jnp.asarray(levels)):
        floats = from_uint8(array)
        assert floats.dtype == np.float32 and floats.min() == -1
        assert abs(floats.max() - 1) < 2e-7  # GPUs multiply by the reciprocal
        np.testing.assert_array_equal(to_uint8(floats), levels)
        assert isinstance(floats, type(array)) and to_uint8(floats).dtype == np.uint8


def test_floats_are_not_taken_for_levels():
    for images in (np.zeros(2, np.float32), jnp.zeros(2, jnp.bfloat16), np.zeros(2, bool)):
        with pytest.raises(TypeError, match=r"not uint8 in 0\.\.255"):
            from_uint8(images)


def test_any_channels_become_color():
    gray = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(as_rgb(gray), gray.repeat(3, -1))
    clear = np.array([0, 100, 200, 51], np.uint8).reshape(1, 1, 1, 4)
    assert as_rgb(clear).ravel().tolist() == [204, 224, 244]
    many = np.arange(6, dtype=np.uint8).reshape(1, 1, 1, 6)
    assert as_rgb(many).ravel().tolist() == [0, 1, 2]
    assert as_rgb(many[..., :2]).ravel().tolist() == [0, 1, 0]
    assert [channel_words(n) is None for n in range(1, 6)] == [True, False, True, True, False]
    assert "2 channels" in str(channel_words(2)) and "red and green" in str(channel_words(2))
    for images in (gray[0], gray.astype(np.float32), gray[..., :0]):
        with pytest.raises(ValueError, match="images must be uint8"):
            as_rgb(images)


def test_maps_are_enlarged_to_a_height():
    maps_BxHxW = np.arange(12).reshape(2, 2, 3)
    expected = np.kron(maps_BxHxW, np.ones((1, 4, 4), int))
    np.testing.assert_array_equal(enlarge(maps_BxHxW, 8), expected)
    colors = np.stack([maps_BxHxW, 2 * maps_BxHxW], -1)
    np.testing.assert_array_equal(enlarge(colors, 8, 1)[..., 1], 2 * expected)
