"""Metrics of an image set, alone or compared with a reference set."""

import functools
from collections.abc import Iterable, Mapping

import numpy as np

from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.features import (
    FeatureReader,
    NetworkSettings,
    RememberingReader,
    feature_reader,
)
from ganformer_jax.evaluate.image_sets import ImageSet
from ganformer_jax.evaluate.requests import Request
from ganformer_jax.metrics.frechet import frechet_distance
from ganformer_jax.metrics.inception_score import inception_score
from ganformer_jax.metrics.kernel import kernel_distance
from ganformer_jax.metrics.prdc import prdc
from ganformer_jax.metrics.sliced_wasserstein import sliced_wasserstein
from ganformer_jax.random_keys import seeded_key

KERNEL_SUBSETS, KERNEL_ROWS = 100, 1000  # subsets for KID and their size, as usually reported
NEIGHBORS = {"pr": 3, "prdc": 5}  # k, as in the papers


def feature_readers(
    requests: Iterable[Request], settings: NetworkSettings
) -> dict[str, FeatureReader]:
    """Load the feature networks that the requested metrics need, by name."""
    names = dict.fromkeys(request.network for request in requests)
    return {name: feature_reader(name, settings) for name in names if name is not None}


def references(request: Request, reference: ImageSet, count: int | None = None) -> int:
    """Return the number of reference images that a metric uses, independent of other metrics.

    Args:
        request: The metric.
        reference: Reference images.
        count: Requested number; by default as many as generated ones, or all if there are fewer.
            "swd" never uses more than generated ones, and then as many generated ones as these.
    """
    found = count or min(request.count, reference.count or request.count)
    return min(found, request.count) if request.kind == "swd" else found


def compare(
    requests: Iterable[Request],
    candidate: ImageSet,
    reference: ImageSet | None,
    readers: Mapping[str, FeatureReader | RememberingReader],
    *,
    reference_count: int | None = None,
    seed: int = 0,
    allow_few: bool = False,
) -> dict[str, float]:
    """Measure a candidate; metrics of the same network share its features.

    Args:
        requests: Metrics of images.
        candidate: Images to measure.
        reference: Reference images; needed if `Request.needs_reference`.
        readers: Feature networks by name, as `feature_readers` returns them.
        reference_count: Number of reference images, as in `references`.
        seed: Seed of the subsets of kernel distances.
        allow_few: Accept Fréchet distances of too few images (`frechet_distance`).

    Returns:
        Values by the names of the requests, with the suffix "_<part>" if a metric has several.

    Raises:
        UserError: If a set has too few images for a metric.
    """
    requests = list(requests)

    @functools.cache
    def reference_features(network: str) -> Mapping[str, np.ndarray]:
        assert reference is not None, "Request.needs_reference"
        of_network = [r for r in requests if r.network == network and r.needs_reference]
        most = max(references(request, reference, reference_count) for request in of_network)
        return readers[network](reference, most)

    @functools.cache
    def candidate_features(network: str) -> Mapping[str, np.ndarray]:
        most = max(request.count for request in requests if request.network == network)
        return readers[network](candidate, most)

    def measure(request: Request) -> Mapping[str, float]:
        if request.kind == "swd":
            assert reference is not None, "Request.needs_reference"
            indices = range(references(request, reference, reference_count))
            real, fake = reference.read(indices), candidate.read(indices)
            return {"": sliced_wasserstein(real, fake, seeded_key(0))["swd"]}
        network, feature = str(request.network), str(request.feature)
        fake_MxD = candidate_features(network)[feature][: request.count]
        if request.kind == "is":
            return dict(zip(("", "_std"), inception_score(fake_MxD), strict=True))
        assert reference is not None, "Request.needs_reference"
        compared = references(request, reference, reference_count)
        real_MxD = reference_features(network)[feature][:compared]
        if request.kind in ("fid", "rfid"):
            return {"": frechet_distance(real_MxD, fake_MxD, allow_few=allow_few)}
        return _compare_features(request.kind, real_MxD, fake_MxD, seed)

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
    """Return the values of a metric by the suffixes of their names: "" for a distance."""
    kind = kind.removeprefix("r")
    if kind == "kid":
        rows = min(len(real_MxD), len(fake_MxD), KERNEL_ROWS)
        subsets = {"subsets": KERNEL_SUBSETS, "subset_size": rows, "seed": seed}
        return {"": kernel_distance(real_MxD, fake_MxD, **subsets)}
    numbers = prdc(real_MxD, fake_MxD, NEIGHBORS[kind])
    reported = ("precision", "recall") if kind == "pr" else tuple(numbers)
    return {f"_{name}": numbers[name] for name in reported}
