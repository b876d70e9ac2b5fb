"""Distances of features: reference numbers, closed forms, and what moves them."""

from pathlib import Path

import numpy as np
import pytest

from ganformer_jax.metrics import (
    frechet_distance,
    inception_score,
    kernel_distance,
    prdc,
)
from ganformer_jax.metrics.frechet import Gaussian, frechet_distance_of_gaussians

DATA = np.load(Path(__file__).parent / "data" / "feature_metrics.npz")
REAL, FAKE = DATA["real"], DATA["fake"]


def gaussian(rows, dim=8, seed=0, scale=1.0, shift=0.0):
    return np.random.default_rng(seed).standard_normal((rows, dim)) * scale + shift


def test_reference_numbers(report_line):
    mean, std = inception_score(DATA["logits"])
    found = {
        "fid": frechet_distance(REAL, FAKE),
        "kid_full": kernel_distance(REAL, FAKE),
        "is_mean": mean,
        "is_std": std,
        **{f"prdc_{name}": value for name, value in prdc(REAL, FAKE, k=3).items()},
    }
    assert found.keys() == set(DATA.files) - {"real", "fake", "logits"}
    for name, value in found.items():
        assert value == pytest.approx(float(DATA[name]), rel=1e-5)
    worst = max(abs(found[name] / float(DATA[name]) - 1) for name in found)
    report_line(f"metrics of features: relative error at most {worst:.1e}")


def test_a_set_with_itself():
    assert frechet_distance(REAL, REAL) == pytest.approx(0, abs=1e-9)
    assert kernel_distance(REAL, REAL) < 1e-6
    assert prdc(REAL, REAL, 3) == dict.fromkeys(("precision", "recall", "density", "coverage"), 1)


def test_frechet_distance_of_gaussians_in_closed_form():
    rng = np.random.default_rng(0)
    one, other = np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 4.0, 1.0])
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    means = np.zeros(3), np.array([1.0, -2.0, 2.0])
    found = frechet_distance_of_gaussians(
        Gaussian(turn @ means[0], turn @ one @ turn.T),
        Gaussian(turn @ means[1], turn @ other @ turn.T),
    )
    # |m|^2 plus the squared differences of deviations along the common axes
    assert found == pytest.approx(9 + (1 - 2) ** 2 + 0 + (3 - 1) ** 2, rel=1e-12)


def test_frechet_distance_of_covariances_that_do_not_commute():
    """The square root of the product, as Heusel et al. write it, by another library's way."""
    import scipy.linalg

    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((6, 6)) for _ in range(2))
    one, other = a @ a.T, b @ b.T
    root = scipy.linalg.sqrtm(one @ other)
    expected = np.trace(one) + np.trace(other) - 2 * np.trace(root).real
    zero = np.zeros(6)
    found = frechet_distance_of_gaussians(Gaussian(zero, one), Gaussian(zero, other))
    assert found == pytest.approx(expected, rel=1e-9)


def test_estimates_approach_the_closed_form():
    found = frechet_distance(gaussian(40_000, seed=1), gaussian(40_000, seed=2, scale=2, shift=1))
    assert found == pytest.approx(8 * (1 + 1), rel=0.02)


def test_too_few_images_for_a_covariance():
    with pytest.raises(ValueError, match="covariance of 8 features is rank-deficient with 8"):
        frechet_distance(gaussian(8), gaussian(9))
    assert frechet_distance(gaussian(8), gaussian(8, seed=1), allow_few=True) > 0
    assert frechet_distance(gaussian(4), gaussian(4), allow_few=True) == pytest.approx(0, abs=1e-9)


def test_several_subsets_need_a_size():
    with pytest.raises(ValueError, match="100 subsets need a subset_size"):
        kernel_distance(REAL, FAKE, subsets=100)


def test_kernel_distance_is_unbiased_where_a_biased_one_is_not():
    pairs = [(gaussian(30, seed=2 * i), gaussian(30, seed=2 * i + 1)) for i in range(200)]
    found = np.array([kernel_distance(*pair) for pair in pairs])
    assert abs(found.mean()) < 3 * found.std() / np.sqrt(len(found))
    assert found.min() < 0 < found.max()


def test_kernel_distance_against_its_definition():
    one, other = gaussian(7, seed=1), gaussian(7, seed=2, shift=0.3)

    def kernel(x, y):
        return (x @ y / 8 + 1) ** 3

    total = 0.0
    for i in range(7):
        for j in range(7):
            if i != j:
                total += (kernel(one[i], one[j]) + kernel(other[i], other[j])) / 42
            total -= 2 * kernel(one[i], other[j]) / 49
    assert kernel_distance(one, other) == pytest.approx(total, rel=1e-10)


def test_kernel_distance_of_subsets():
    whole = kernel_distance(REAL, FAKE)
    found = kernel_distance(REAL, FAKE, subsets=50, subset_size=200)
    assert found == pytest.approx(whole, rel=0.05)
    assert found == kernel_distance(REAL, FAKE, subsets=50, subset_size=200)
    assert found != kernel_distance(REAL, FAKE, subsets=50, subset_size=200, seed=1)
    with pytest.raises(ValueError, match="too few images: 500, at least 501"):
        kernel_distance(REAL, FAKE, subset_size=501)
    with pytest.raises(ValueError, match="subsets"):
        kernel_distance(REAL, FAKE, subsets=0)


def test_blocks_of_the_kernel_matrix_do_not_matter(monkeypatch):
    from ganformer_jax.metrics import kernel

    whole = kernel_distance(REAL, FAKE)
    monkeypatch.setattr(kernel, "BLOCK", 7)
    assert kernel_distance(REAL, FAKE) == pytest.approx(whole, rel=1e-12)


def test_the_order_of_images_does_not_matter():
    order = np.random.default_rng(0).permutation(len(FAKE))
    assert frechet_distance(REAL, FAKE[order]) == pytest.approx(frechet_distance(REAL, FAKE))
    assert prdc(REAL, FAKE[order]) == pytest.approx(prdc(REAL, FAKE))
    same = slice(0, len(FAKE))
    one, other = kernel_distance(REAL[same], FAKE[order]), kernel_distance(REAL[same], FAKE)
    assert one == pytest.approx(other)


def test_mode_collapse_lowers_recall_and_noise_lowers_precision():
    real = gaussian(500)
    healthy = prdc(real, gaussian(500, seed=1))
    collapsed = prdc(real, gaussian(500, seed=1, scale=0.05))
    noisy = prdc(real, gaussian(500, seed=1, scale=4))
    assert min(healthy.values()) > 0.7
    assert collapsed["precision"] > 0.95 and collapsed["recall"] < 0.05
    assert collapsed["coverage"] < 0.5 * healthy["coverage"]
    assert noisy["precision"] < 0.1 and noisy["density"] < 0.1
    assert prdc(real, np.repeat(gaussian(1, seed=5), 500, 0))["recall"] == 0


def test_neighbors_against_their_definition():
    real, fake, k = gaussian(12, 3, 1), gaussian(9, 3, 2, shift=0.4), 2

    def radius(rows):
        return [sorted(np.linalg.norm(rows - row, axis=1))[k] for row in rows]

    real_radius, fake_radius = radius(real), radius(fake)
    apart = np.array([[np.linalg.norm(r - f) for f in fake] for r in real])
    found = prdc(real, fake, k)
    inside = apart < np.array(real_radius)[:, None]
    assert found["precision"] == inside.any(0).mean()
    assert found["recall"] == (apart < np.array(fake_radius)[None]).any(1).mean()
    assert found["density"] == pytest.approx(inside.sum() / (k * len(fake)))
    assert found["coverage"] == inside.any(1).mean()


def test_copies_of_images_are_in_the_balls_of_each_other():
    """Their balls are points: sets of many copies are still equal to themselves."""
    rows = np.abs(gaussian(20, 300, 1, shift=1.0)).astype(np.float32)
    found = prdc(np.repeat(rows, 6, 0), np.tile(rows, (5, 1)), 3)
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)
    assert found["density"] == pytest.approx(6 / 3)
    far = prdc(np.repeat(rows, 6, 0), np.tile(rows + 0.01, (5, 1)), 3)
    assert (far["precision"], far["recall"], far["coverage"]) == (0, 0, 0)


def test_inception_score_in_closed_form():
    sure = 200.0 * np.eye(10)[np.arange(1000) % 10]
    assert inception_score(sure)[0] == pytest.approx(10)
    assert inception_score(np.zeros((100, 10))) == pytest.approx((1, 0))
    assert inception_score(sure[::10]) == pytest.approx((1, 0))  # sure, and of one class
    assert inception_score(np.array([[0.0, -2000.0], [0.0, -2000.0]]), splits=1)[0] == 1


@pytest.mark.parametrize("metric", [frechet_distance, kernel_distance, prdc])
@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (gaussian(20), np.full((20, 8), np.nan), "not finite"),
        (gaussian(20), gaussian(20, 7), "differ in width: 8 real, 7 fake"),
        (gaussian(20)[0], gaussian(20), "must be"),
        (gaussian(1), gaussian(20), "too few"),
        (gaussian(20), gaussian(0), "too few"),
    ],
)
def test_sets_that_make_no_sense(metric, real, fake, message):
    with pytest.raises(ValueError, match=message) as raised:
        metric(real, fake)
    assert "\n" not in str(raised.value)


def test_options_that_make_no_sense():
    with pytest.raises(ValueError, match="k must be positive"):
        prdc(REAL, FAKE, 0)
    with pytest.raises(ValueError, match="too few images: 3"):
        prdc(REAL, FAKE[:3], 3)
    with pytest.raises(ValueError, match="splits must be positive"):
        inception_score(DATA["logits"], 0)
    with pytest.raises(ValueError, match="too few images: 5, at least 10"):
        inception_score(DATA["logits"][:5])
    with pytest.raises(ValueError, match="not finite"):
        inception_score(np.full((20, 3), np.nan))
