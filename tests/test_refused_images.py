"""Losses, augmentation and edits of latents refuse what broadcasting would take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganformer_jax import augment, losses
from ganformer_jax.models import (
    broadcast_layers,
    mix_components,
    mix_layers,
    stack_attention,
    truncate,
)

KEY = jax.random.key(0)
IMAGES = jnp.linspace(-1, 1, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3)
W, MEAN = jnp.ones((5, 3, 5, 4)), jnp.zeros(4)


# Latents


@pytest.mark.parametrize("psi", [jnp.ones(5), jnp.ones((5, 1, 1, 1))])
def test_psi_is_one_number(psi):
    """One for each image was one for each layer where there are as many."""
    with pytest.raises(ValueError, match=r"psi is \[5.*\]: give one number"):
        truncate(W, MEAN, psi)


def test_latents_to_truncate_are_floating_point():
    """Those of integers were multiplied with psi rounded down."""
    with pytest.raises(TypeError, match="w is int32: convert it to floating point"):
        truncate(W.astype(jnp.int32), MEAN, 0.5)


@pytest.mark.parametrize("width", [1, 5])
def test_the_mean_has_the_width_of_w(width):
    with pytest.raises(ValueError, match=rf"mean of w is \[{width}\]: give \[4\]"):
        truncate(W, jnp.zeros(width), 0.5)


@pytest.mark.parametrize("mix", [mix_layers, mix_components])
def test_latents_to_mix_have_one_shape(mix):
    assert mix(W, W[:1], 2).shape == W.shape
    for other in (W[..., :1], W[:, :2], W[:2]):
        with pytest.raises(ValueError, match="w is .* and other .*: give one shape"):
            mix(W, other, 2)
    with pytest.raises(ValueError, match=r"cutoff is \[4\]: give one number"):
        mix(W, W, jnp.arange(4))


def test_latents_with_layers_are_not_given_layers():
    with pytest.raises(ValueError, match=r"w is \[5, 3, 5, 4\]: give \[batch, latents, width\]"):
        broadcast_layers(W, 2)


@pytest.mark.parametrize("resolution", [8, np.int64(8), (8, 8), [8, 8], np.array([8, 8])])
def test_attention_is_stacked_at_a_resolution_of_any_integers(resolution):
    maps = [np.ones((2, 3, 1, side, side)) for side in (4, 8)]
    assert stack_attention(maps, resolution).shape == (2, 3, 2, 1, 8, 8)


def test_attention_maps_of_one_image_are_not_stacked():
    with pytest.raises(ValueError, match=r"attention maps \[4, 4\]: give \[B, K, N, H, W\]"):
        stack_attention([np.ones((4, 4))], 8)
    with pytest.raises(ValueError, match="attention maps of 4x4 do not fill 8x4"):
        stack_attention([np.ones((2, 3, 1, 4, 4))], (8, 4))


# Losses


def test_a_penalty_has_a_logit_of_each_image():
    def one(images):
        return images.sum().reshape(1, 1)

    for penalty in (
        lambda: losses.r1_penalty(one, IMAGES),
        lambda: losses.gradient_penalty(one, IMAGES, IMAGES, jnp.ones((2, 1, 1, 1))),
    ):
        with pytest.raises(ValueError, match="1 logits for 2 images"):
            jax.eval_shape(penalty)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 8, 8, 3), (3, 1, 1, 1)])
def test_shares_of_the_gradient_penalty_are_one_for_each_image(shape):
    with pytest.raises(ValueError, match=r"shares must have shape \(2, 1, 1, 1\)"):
        losses.gradient_penalty(lambda x: x.mean((1, 2))[:, :1], IMAGES, IMAGES, jnp.ones(shape))


def test_lists_of_logits_are_refused():
    with pytest.raises(TypeError, match="logits must be an array, not a list"):
        losses.generator_loss("hinge", [[1.0]])


def test_distances_of_half_precision_are_computed_in_float32():
    one, other = IMAGES.astype(jnp.bfloat16), (IMAGES / 3).astype(jnp.bfloat16)
    exact = losses.laplacian_distance(one.astype(jnp.float32), other.astype(jnp.float32))
    np.testing.assert_array_equal(losses.laplacian_distance(one, other), exact)


def test_labels_that_are_the_own_are_bool():
    with pytest.raises(TypeError, match="same must be bool, not float32"):
        losses.contrastive(jnp.ones((2, 2)), jnp.eye(2))


@pytest.mark.parametrize(
    ("read", "layout"),
    [((1, 8, 8, 5), (2, 8, 8, 3)), ((2, 4, 4, 5), (2, 8, 8, 3)), ((2, 3, 3, 5), (2, 3, 3, 3))],
)
def test_layouts_have_the_size_of_what_is_read(read, layout):
    """One of 3x3 pixels gave NaN: no two of its pixels are three apart."""
    with pytest.raises(ValueError, match="give one size, of 4x4 pixels or more"):
        losses.layout_matching(jnp.ones(read), jnp.ones(layout))


def test_areas_are_those_of_the_segments():
    with pytest.raises(ValueError, match=r"areas must have shape \(2, 3\), not \(2, 1\)"):
        losses.segment_fidelity(jnp.ones((2, 3)), jnp.ones((2, 1)), real=True)
    with pytest.raises(TypeError, match=r"logits must be an array: .*take \[0\]"):
        losses.segment_fidelity((jnp.ones((2, 3)), {}), jnp.ones((2, 3)), real=True)


# Augmentation


def test_policies_may_be_any_iterable():
    """A generator was used up by the check of its names, and nothing was done."""
    expected = augment.diff_augment(IMAGES, KEY, ["color"])
    found = augment.diff_augment(IMAGES, KEY, (name for name in ["color"]))
    np.testing.assert_array_equal(found, expected)


def test_drawn_numbers_go_with_images_and_names_that_are_checked():
    draws, choices = augment.draw(KEY, IMAGES.shape, {}), augment.draw_choices(KEY, 2)
    integers = jnp.zeros(IMAGES.shape, jnp.uint8)
    cases = (
        (TypeError, "images must be floating point", lambda: _augmented(integers, draws)),
        (TypeError, "images must be floating point", lambda: _diff(integers, choices)),
        (ValueError, "no transformation 'flip'", lambda: _augmented(IMAGES, draws, "flip")),
        (ValueError, "no transformation 'nois'", lambda: augment.draw(KEY, (2, 8), {"nois": 1})),
        (TypeError, "transforms are strengths", lambda: augment.draw(KEY, (2, 8), "noise")),
        (ValueError, "no policy 'colors'.*color?", lambda: _diff(IMAGES, choices, "colors")),
        (ValueError, "without those of noise", lambda: _augmented(IMAGES, draws, "noise")),
        (ValueError, "for 2 images, but there are 1", lambda: _augmented(IMAGES[:1], draws)),
        (ValueError, "for 2 images, but there are 1", lambda: _diff(IMAGES[:1], choices)),
    )
    for error, message, function in cases:
        with pytest.raises(error, match=message):
            function()


def _augmented(images, draws, name="xflip"):
    return augment.augment_with(images, draws, 0.5, {name: 1.0})


def _diff(images, choices, policies="color"):
    return augment.diff_augment_with(images, choices, policies)


@pytest.mark.parametrize(
    "function",
    [
        lambda images: augment.augment(images, KEY, 0.5, augment.expand("bgcfnc")),
        lambda images: augment.diff_augment(images, KEY, augment.POLICIES),
        lambda images: augment.random_crop(images, KEY, 0.1),
        lambda images: losses.laplacian_distance(images, images),
        lambda images: losses.r1_penalty(lambda x: x.sum((1, 2, 3))[:, None], images),
    ],
)
def test_a_program_may_be_traced_for_any_batch(function):
    """As by `jax.export`: the checks and draws take a batch of symbolic size."""
    (batch,) = jax.export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, *IMAGES.shape[1:]), jnp.float32)
    assert jax.eval_shape(function, images).shape[0] == batch


def test_unknown_presets_list_the_known_ones():
    with pytest.raises(ValueError, match="no transformation 'bgd': .*xflip.*bgc.*did you mean bg"):
        augment.expand("bgd")


def test_crops_are_of_enlarged_images():
    with pytest.raises(ValueError, match="enlarge is -0.5; it should be 0 or more"):
        augment.random_crop(IMAGES, KEY, -0.5)
    with pytest.raises(TypeError, match="images must be floating point, not uint8"):
        augment.random_crop(jnp.zeros(IMAGES.shape, jnp.uint8), KEY, 0.1)
    with pytest.raises(ValueError, match="images must have rank 4"):
        augment.random_crop(IMAGES[0], KEY, 0.1)
