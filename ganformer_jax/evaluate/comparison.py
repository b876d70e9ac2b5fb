"""Metrics of one image set, or of two compared."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

import jax
import numpy as np

from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.features import FeatureReader, NetworkSettings, feature_reader
from ganformer_jax.evaluate.image_sets import ImageSet
from ganformer_jax.evaluate.requests import Request
from ganformer_jax.metrics.frechet import frechet_distance
from ganformer_jax.metrics.inception_score import inception_score
from ganformer_jax.metrics.kernel import kernel_distance
from ganformer_jax.metrics.prdc import prdc
from ganformer_jax.metrics.sliced_wasserstein import sliced_wasserstein

KERNEL_SUBSETS, KERNEL_ROWS = 100, 1000  # of KID, as it is usually reported
NEIGHBORS = {"pr": 3, "prdc": 5}  # k in the papers of precision and recall, and of density


def feature_readers(
    requests: Iterable[Request], settings: NetworkSettings
) -> dict[str, FeatureReader]:
    """Load the feature networks that requests need, by name."""
    names = dict.fromkeys(request.network for request in requests)
    return {name: feature_reader(name, settings) for name in names if name is not None}


def compare(
    requests: Iterable[Request],
    candidate: ImageSet,
    reference: ImageSet | None,
    readers: Mapping[str, FeatureReader],
    *,
    reference_count: int = 0,
    seed: int = 0,
) -> dict[str, float]:
    """Measure a candidate; metrics of one network share its features.

    Args:
        requests: Metrics of images, none of which needs a generator.
        candidate: Images to evaluate.
        reference: Real images; None if no metric needs them.
        readers: Feature networks by name (`feature_readers`).
        reference_count: Number of reference images for features.
        seed: Seed of the subsets of kernel distances.

    Returns:
        Numbers by name: the request's, followed by "_<part>" if the metric has several numbers.

    Raises:
        UserError: If a set has too few images for a metric.
    """
    requests = list(requests)

    @functools.cache
    def reference_features(network: str) -> Mapping[str, np.ndarray]:
        assert reference is not None, "Request.needs_reference"
        return readers[network](reference, reference_count)

    @functools.cache
    def candidate_features(network: str) -> Mapping[str, np.ndarray]:
        most = max(request.count for request in requests if request.network == network)
        return readers[network](candidate, most)

    def measure(request: Request) -> Mapping[str, float]:
        if request.kind == "swd":
            assert reference is not None, "Request.needs_reference"
            return {"": _sliced_wasserstein(request.count, candidate, reference)}
        network, feature = str(request.network), str(request.feature)
        fake_MxD = candidate_features(network)[feature][: request.count]
        if request.kind == "is":
            return dict(zip(("", "_std"), inception_score(fake_MxD), strict=True))
        real_MxD = reference_features(network)[feature]
        return _compare_features(request.kind.removeprefix("r"), real_MxD, fake_MxD, seed)

    numbers: dict[str, float] = {}
    for request in requests:
        try:
            parts = measure(request)
        except ValueError as error:
            raise UserError(f"{request.name}: {error}") from error
        numbers |= {f"{request.name}{part}": value for part, value in parts.items()}
    return numbers


def _compare_features(
    kind: str, real_MxD: np.ndarray, fake_MxD: np.ndarray, seed: int
) -> Mapping[str, float]:
    """Return the numbers of a metric by the end of their names: "" for a distance."""
    if kind == "fid":
        return {"": frechet_distance(real_MxD, fake_MxD)}
    if kind == "kid":
        rows = min(len(real_MxD), len(fake_MxD), KERNEL_ROWS)
        subsets = {"subsets": KERNEL_SUBSETS, "subset_size": rows, "seed": seed}
        return {"": kernel_distance(real_MxD, fake_MxD, **subsets)}
    numbers = prdc(real_MxD, fake_MxD, NEIGHBORS[kind])
    reported = ("precision", "recall") if kind == "pr" else tuple(numbers)
    return {f"_{name}": numbers[name] for name in reported}


def _sliced_wasserstein(count: int, candidate: ImageSet, reference: ImageSet) -> float:
    """Compare `count` images of each set, or all of the smaller set."""
    indices = range(min(count, reference.count or count, candidate.count or count))
    real, fake = reference.read(indices), candidate.read(indices)
    return sliced_wasserstein(real, fake, jax.random.key(0))["swd"]
