"""Metrics and figures take arrays of jax as they take those of NumPy, for type checkers too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from ganformer_jax.metrics import frechet_distance, inception_score, kernel_distance, prdc
from ganformer_jax.metrics import sliced_wasserstein as swd
from ganformer_jax.metrics.dci import dci
from ganformer_jax.metrics.pairs import pair_error
from ganformer_jax.metrics.segmentation import color_clusters, foreground_ari, matched_mean_iou
from ganformer_jax.visualize import (
    attention_figure,
    attention_grid,
    attention_overlay,
    attention_segments,
    image_grid,
    reduce_attention,
    save_png,
    segments_grid,
)

RANDOM = np.random.default_rng(0)
FEATURES, OTHERS = RANDOM.normal(size=(2, 40, 3)).astype(np.float32)
IMAGES, MORE = RANDOM.integers(0, 256, (2, 3, 16, 16, 3), np.uint8)
SEGMENTS = RANDOM.integers(0, 3, (3, 16, 16))
ATTENTION = RANDOM.random((3, 4, 1, 2, 8, 8)).astype(np.float32)  # [B, K, L, N, H, W]


@pytest.mark.parametrize(
    "function",
    [
        lambda array: frechet_distance(array(FEATURES), array(OTHERS)),
        lambda array: kernel_distance(array(FEATURES), array(OTHERS)),
        lambda array: prdc(array(FEATURES), array(OTHERS))["density"],
        lambda array: inception_score(array(FEATURES)),
        lambda array: dci(array(FEATURES), array(OTHERS)),
        lambda array: swd(array(IMAGES), array(MORE), jax.random.key(0))["swd"],
        lambda array: pair_error(array(IMAGES), array(MORE)),
        lambda array: foreground_ari(array(SEGMENTS[0]), array(SEGMENTS[1])),
        lambda array: matched_mean_iou(array(SEGMENTS[0]), array(SEGMENTS[1])),
        lambda array: color_clusters(array(IMAGES[0]), 2),
        lambda array: reduce_attention(array(ATTENTION)),
        lambda array: attention_segments(array(ATTENTION[0, :, 0, 0])),
        lambda array: attention_overlay(array(IMAGES[0]), array(ATTENTION[0, :, 0, 0])),
        lambda array: attention_grid(array(IMAGES), array(ATTENTION[:, :, 0, 0])),
        lambda array: attention_figure(array(IMAGES), [array(ATTENTION[:, :, 0])], 2),
        lambda array: image_grid(array(IMAGES)),
        lambda array: segments_grid(array(IMAGES), {"objects": array(SEGMENTS)}),
    ],
)
def test_arrays_of_jax_are_taken(function):
    np.testing.assert_array_equal(function(jnp.asarray), function(np.asarray))


def test_images_of_jax_are_saved(tmp_path):
    save_png(tmp_path / "image.png", jnp.asarray(IMAGES[0]))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "image.png")), IMAGES[0])
