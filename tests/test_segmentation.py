"""Scores of segments and of latents: known answers, invariances, baselines."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from ganformer_jax.evaluate.component_metrics import segmentation_scores, segments_and_baselines
from ganformer_jax.metrics.dci import DCI, dci, entropies
from ganformer_jax.metrics.segmentation import color_clusters, foreground_ari, matched_mean_iou
from ganformer_jax.visualize import NO_COMPONENT, segments_grid

OBJECTS = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 0, 0], [2, 2, 3, 0]])


def test_the_true_objects_score_one_by_any_numbers():
    for numbers in itertools.permutations(range(4)):
        segments = np.array(numbers)[OBJECTS]
        assert foreground_ari(OBJECTS, segments) == 1
        assert matched_mean_iou(OBJECTS, segments) == 1


def test_ari_looks_at_objects_alone_and_iou_at_all():
    spilled = np.where(OBJECTS == 0, 1, OBJECTS)
    assert foreground_ari(OBJECTS, spilled) == 1
    assert matched_mean_iou(OBJECTS, spilled) == pytest.approx((4 / 11 + 1 + 1) / 3)


def test_one_segment_for_all():
    assert foreground_ari(OBJECTS, np.zeros_like(OBJECTS)) == 0
    assert matched_mean_iou(OBJECTS, np.zeros_like(OBJECTS)) == pytest.approx(4 / 16 / 3)


def test_chance_has_an_ari_of_zero():
    rng = np.random.default_rng(0)
    objects = rng.integers(1, 4, (40, 40))
    found = [foreground_ari(objects, rng.integers(0, 5, (40, 40))) for _ in range(50)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(50)


def test_images_with_nothing_to_tell_apart():
    assert np.isnan(foreground_ari(np.zeros((2, 2), int), np.zeros((2, 2), int)))
    assert np.isnan(foreground_ari(np.array([[1, 0]]), np.array([[1, 0]])))
    assert np.isnan(matched_mean_iou(np.zeros((2, 2), int), np.zeros((2, 2), int)))
    assert matched_mean_iou(np.array([[1, 0]]), np.array([[1, 0]])) == 1
    with pytest.raises(ValueError, match="same shape"):
        foreground_ari(np.zeros((2, 2), int), np.zeros((2, 3), int))


def test_matching_is_the_best_of_all():
    rng = np.random.default_rng(0)
    for _ in range(20):
        objects, segments = rng.integers(0, 4, (6, 6)), rng.integers(0, 5, (6, 6))
        masks = [objects == i for i in range(1, 4)]
        found = [segments == i for i in range(5)]
        best = max(
            np.mean([(a & b).sum() / (a | b).sum() for a, b in zip(masks, chosen, strict=True)])
            for chosen in itertools.permutations(found, 3)
        )
        assert matched_mean_iou(objects, segments) == pytest.approx(best)


def test_colors_alone():
    image = np.zeros((4, 4, 3), np.uint8)
    image[OBJECTS == 1], image[OBJECTS == 2], image[OBJECTS == 3] = (255, 0, 0), (0, 255, 0), 255
    assert matched_mean_iou(OBJECTS, color_clusters(image, 4)) == 1
    assert len(np.unique(color_clusters(jnp.asarray(image), 9))) == 4
    assert (color_clusters(np.zeros((4, 4, 3), np.uint8), 3) == 0).all()


def test_attention_as_a_segmentation_beside_its_baselines():
    side = np.kron(OBJECTS[None], np.ones((1, 2, 2), int))
    own = np.eye(4)[OBJECTS].transpose(2, 0, 1)[None, :, None]  # [1, components, heads, 4, 4]
    even = np.full((1, 4, 2, 2, 2), 0.25)
    images = np.zeros((1, 8, 8, 3), np.uint8)
    images[side == 1] = 200
    found = segments_and_baselines(images, [even, own])
    scores = {name: segmentation_scores(side, segments) for name, segments in found.items()}
    assert list(scores) == ["layer0_2px", "layer1_4px", "uniform", "color"]
    assert scores["layer1_4px"] == {"ari": 1, "iou": 1}
    assert scores["layer0_2px"] == scores["uniform"] and scores["uniform"]["ari"] == 0
    assert 0 < scores["color"]["ari"] < 1
    np.testing.assert_array_equal(found["layer1_4px"], side)
    with pytest.raises(ValueError, match="no attention layers"):
        segments_and_baselines(images, [])
    assert np.isnan(segmentation_scores(np.minimum(side, 1), found["color"])["ari"])
    figure = segments_grid(images, {"none": np.where(side == 0, -1, side)}, cell=1, padding=0)
    gray = (figure[-8:, 8:] == NO_COMPONENT).all(-1)
    np.testing.assert_array_equal(gray, side[0] == 0)
    figure = segments_grid(images, found)
    assert figure.shape[1] == 4 + 5 * (96 + 4)
    with pytest.raises(ValueError, match="is \\[1, 4, 4\\], images are"):
        segments_grid(images, {"a": OBJECTS[None]})


# Disentanglement, completeness, informativeness


def test_dci_of_latents_that_are_the_factors_in_another_order():
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((400, 4))
    found = dci(factors[:, [2, 0, 3, 1]] * [3, -1, 0.1, 5] + 7, factors)
    assert min(found) > 0.97


def test_dci_of_latents_that_mix_the_factors():
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((400, 4))
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    found = dci(factors @ turn, factors)
    assert found.informativeness > 0.97
    assert found.disentanglement < 0.6 and found.completeness < 0.6


def test_dci_is_of_rows_that_weights_were_not_fitted_to():
    """Factors in another order in a quarter of the rows change informativeness alone."""
    random = np.random.default_rng(0)
    codes = random.standard_normal((200, 4))
    factors = codes[:, :2] + 0.1 * random.standard_normal((200, 2))
    held_out = np.random.default_rng(0).permutation(200)[:50]  # those of seed 0
    other = factors.copy()
    other[held_out] = factors[held_out[::-1]]
    one, two = dci(codes, factors), dci(codes, other)
    np.testing.assert_allclose(one[:2], two[:2], rtol=1e-6)
    assert one.informativeness > 0.9 and two.informativeness < 0.2


def test_dci_leaves_out_factors_that_do_not_vary():
    """Rounding gives a column of 0.1 a standard deviation above 0."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((400, 2))
    with_constant = np.concatenate([factors, np.full((400, 1), 0.1)], 1)
    assert with_constant.std(0)[2] > 0
    assert dci(factors, with_constant) == dci(factors, factors)


def test_dci_of_latents_that_say_nothing():
    rng = np.random.default_rng(0)
    found = dci(rng.standard_normal((400, 5)), rng.standard_normal((400, 3)))
    assert found.informativeness < 0.05


def test_disentanglement_and_completeness_by_hand():
    one_to_one = np.diag([1.0, 2.0, 3.0])
    assert entropies(one_to_one) == (1, 1)
    shared = np.ones((3, 3))
    assert entropies(shared) == pytest.approx((0, 0))
    # Two codes for one factor: each code is pure, the first factor is not complete.
    two_codes = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert entropies(two_codes) == pytest.approx((1, (1 - np.log(2) / np.log(4) + 1) / 2))
    # One code for two factors, weighed by its share of all importance.
    one_code = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    assert entropies(one_code) == pytest.approx((0.5 * (1 - np.log(2) / np.log(3)) + 0.5, 1))
    assert entropies(np.zeros((3, 2))) == (0, 0)


def test_factors_that_do_not_vary_are_left_out():
    rng = np.random.default_rng(0)
    factors = np.c_[rng.standard_normal((60, 2)), np.ones(60)]
    assert dci(factors, factors) == pytest.approx(DCI(1, 1, 1), abs=0.03)
    with pytest.raises(ValueError, match="fewer than two factors vary"):
        dci(factors, factors[:, 1:])


@pytest.mark.parametrize(
    ("codes", "factors", "message"),
    [
        (np.zeros((19, 2)), np.zeros((19, 2)), "too few images: 19"),
        (np.zeros((20, 2)), np.zeros((21, 2)), "20 rows of codes, but 21"),
        (np.full((20, 2), np.nan), np.zeros((20, 2)), "not finite"),
    ],
)
def test_latents_and_factors_that_make_no_sense(codes, factors, message):
    with pytest.raises(ValueError, match=message):
        dci(codes, factors)
