"""Metrics of the averaged generator that are measured during training (`train.metrics`)."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8

from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.comparison import compare, feature_readers
from ganformer_jax.evaluate.features import NetworkSettings, RememberingReader
from ganformer_jax.evaluate.image_sets import ImageSet, Sample
from ganformer_jax.evaluate.requests import Request, parse_requests
from ganformer_jax.metrics.sliced_wasserstein import COARSEST, sliced_wasserstein
from ganformer_jax.random_keys import seeded_key

DISTANCES = ("swd", "fid", "kid", "rfid", "rkid")
"""Metrics by whose lowest value the best checkpoint may be chosen."""


def parse_training_requests(
    text: str, default_count: int, image_size: tuple[int, int]
) -> list[Request]:
    """Parse `train.metrics` like `parse_requests`; leave out "swd" if images are too small for it.

    Raises:
        UserError: If a metric is unknown or not for training, or the first one is not a distance.
    """
    requests = parse_requests(text, default_count)
    _check(requests)
    too_small = min(image_size) < COARSEST
    kept = [request for request in requests if not (too_small and request.kind == "swd")]
    if kept:
        _check(kept)
    return kept


class TrainingMetrics:
    """Metrics of images that are sampled from a generator in training.

    Args:
        requests: Metrics; the first one chooses the best checkpoint (`parse_training_requests`).
        training_images: Reference of feature-based metrics; their features are cached.
        held_out: Function from a number of images to at most as many held-out images, uint8
            [M, H, W, C]: the reference of "swd".
        networks: Settings of the feature networks.

    Raises:
        UserError: If a metric is not for training, the first one is not a distance, or weights
            cannot be loaded.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        training_images: ImageSet,
        held_out: Callable[[int], UInt8[np.ndarray, "m h w c"]],
        networks: NetworkSettings,
    ):
        _check(requests)
        self._requests, self._held_out = requests, held_out
        self._training_images = training_images
        self._readers = {
            name: RememberingReader(reader, training_images)
            for name, reader in feature_readers(requests, networks).items()
        }

    def __call__(self, sample: Sample) -> dict[str, float]:
        """Measure images.

        Args:
            sample: Function from indices to uint8 images [M, H, W, C].

        Returns:
            Values by names "metric/<name>"; the first one chooses the best checkpoint.
        """
        numbers: dict[str, float] = {}
        for request in self._requests:
            if request.kind == "swd":
                real = self._held_out(request.count)
                numbers |= sliced_wasserstein(real, sample(range(len(real))), seeded_key(0))
        of_features = [request for request in self._requests if request.network is not None]
        if of_features:
            candidate = ImageSet("generated images", None, sample)
            numbers |= compare(of_features, candidate, self._training_images, self._readers)
        first = self._requests[0]
        deciding = "swd" if first.kind == "swd" else first.name
        ordered = {deciding: numbers[deciding], **numbers}
        return {f"metric/{name}": value for name, value in ordered.items()}


def _check(requests: Sequence[Request]) -> None:
    for request in requests:
        if request.needs_generator:
            raise UserError(f"train.metrics: {request.name} is for `evaluate` only: remove it")
    if sum(request.kind == "swd" for request in requests) > 1:
        raise UserError("train.metrics: swd is logged under one name: give it once")
    if requests[0].kind not in DISTANCES:
        raise UserError(
            "train.metrics: the first metric decides which checkpoint is best, so it must be one "
            f"of {', '.join(DISTANCES)}, not {requests[0].kind}"
        )
