"""Random crops of enlarged images."""

import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax.augment import random_crop

IMAGES = jax.random.uniform(jax.random.key(0), (32, 12, 16, 3), minval=-1)


def test_crops_are_pieces_of_the_enlarged_image():
    """14x18 has nine places for 12x16: all occur, and each crop is at one of them."""
    crops = np.asarray(random_crop(IMAGES, jax.random.key(1), 1 / 8))
    size = (len(IMAGES), 14, 18, 3)
    large = np.asarray(jax.image.resize(IMAGES, size, "cubic", antialias=False))
    places = set()
    for image, crop in zip(large, crops, strict=True):
        errors = {
            (row, column): np.abs(image[row : row + 12, column : column + 16] - crop).max()
            for row in range(3)
            for column in range(3)
        }
        place = min(errors, key=lambda place: errors[place])
        assert errors[place] < 1e-5
        places.add(place)
    assert len(places) == 9


def test_images_of_one_number_are_cropped_at_the_same_place():
    key = jax.random.key(2)
    both = [random_crop(scale * IMAGES, key, 0.25) for scale in (1.0, -2.0)]
    np.testing.assert_allclose(both[1], -2 * both[0], atol=1e-5)


def test_without_enlargement_images_stay():
    np.testing.assert_allclose(random_crop(IMAGES, jax.random.key(3), 0.0), IMAGES, atol=1e-6)


def test_the_sizes_are_the_published_ones():
    """A constant image stays one, up to its edges; 256 pixels become 286."""
    flat = jnp.ones((2, 256, 256, 1))
    np.testing.assert_allclose(random_crop(flat, jax.random.key(4), 0.1171875), flat, atol=1e-6)
    assert round(256 * 1.1171875) == 286
