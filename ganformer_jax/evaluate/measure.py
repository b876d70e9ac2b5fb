"""Requests and two sets of images to numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping

import jax
import numpy as np

from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.features import FeatureReader
from ganformer_jax.evaluate.image_sets import ImageSet
from ganformer_jax.evaluate.requests import Request
from ganformer_jax.metrics.frechet import frechet_distance
from ganformer_jax.metrics.inception_score import inception_score
from ganformer_jax.metrics.kernel import kernel_distance
from ganformer_jax.metrics.prdc import prdc
from ganformer_jax.metrics.sliced_wasserstein import sliced_wasserstein

KERNEL_SUBSETS, KERNEL_ROWS = 100, 1000  # as the kernel distance is usually reported
NEIGHBOR = {"pr": 3, "prdc": 5}  # k of the papers of precision and recall, and of density

Readers = Callable[[bool], FeatureReader]
"""Gives the reader of random (True) or trained features."""


def measure(
    requests: Iterable[Request],
    real: ImageSet | None,
    fake: ImageSet,
    readers: Readers,
    *,
    real_count: int,
    seed: int = 0,
) -> dict[str, float]:
    """Computes what is asked for of two sets.

    Args:
        requests: Metrics of sets, without path lengths.
        real: What to compare with; None if no metric compares.
        fake: What is judged.
        readers: Makes features, once for each kind of network.
        real_count: Images of `real` to use.
        seed: Of the subsets of kernel distances.

    Returns:
        Numbers by name: that of the request, and of its part where it has several.

    Raises:
        UserError: If a set has too few images for a metric.
    """
    wanted = list(requests)

    @functools.cache  # so that metrics of one network share its features
    def features(random: bool, of_fake: bool) -> Mapping[str, np.ndarray]:
        if not of_fake:
            assert real is not None, "Request.compares says so"
            return readers(random)(real, real_count)
        most = max(r.count for r in wanted if r.feature and r.random == random)
        return readers(random)(fake, most)

    found: dict[str, float] = {}
    for request in wanted:
        try:
            if request.feature is None:
                assert real is not None, "Request.compares says so"
                numbers = _sliced(request, real, fake)
            else:
                fakes = features(request.random, True)[request.feature][: request.count]
                if request.kind == "is":
                    numbers = dict(zip(("", "_std"), inception_score(fakes), strict=True))
                else:
                    numbers = _compare(request, features(request.random, False), fakes, seed)
        except ValueError as error:
            raise UserError(f"{request.name}: {error}") from error
        found |= {f"{request.name}{part}": value for part, value in numbers.items()}
    return found


def _compare(
    request: Request, reals: Mapping[str, np.ndarray], fake_MxD: np.ndarray, seed: int
) -> Mapping[str, float]:
    """One metric of two sets, by its part: "" for the one number of a distance."""
    assert request.feature is not None
    real_NxD, kind = reals[request.feature], request.kind.removeprefix("r")
    if kind == "fid":
        return {"": frechet_distance(real_NxD, fake_MxD)}
    if kind == "kid":
        rows = min(len(real_NxD), len(fake_MxD), KERNEL_ROWS)
        subsets = {"subsets": KERNEL_SUBSETS, "subset_size": rows, "seed": seed}
        return {"": kernel_distance(real_NxD, fake_MxD, **subsets)}
    numbers = prdc(real_NxD, fake_MxD, NEIGHBOR[kind])
    wanted = ("precision", "recall") if kind == "pr" else tuple(numbers)
    return {f"_{part}": numbers[part] for part in wanted}


def _sliced(request: Request, real: ImageSet, fake: ImageSet) -> Mapping[str, float]:
    """Of as many images as the smaller set has, at most those asked for."""
    count = min(request.count, real.count or request.count, fake.count or request.count)
    rows = range(count)
    return {"": sliced_wasserstein(real.read(rows), fake.read(rows), jax.random.key(0))["swd"]}
