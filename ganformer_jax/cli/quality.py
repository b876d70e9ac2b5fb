"""Quality numbers of the averaged generator while it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from ganformer_jax.cli.judged import Readers
from ganformer_jax.cli.run_data import Data, dataset_images, labels_like, make_sampler
from ganformer_jax.config import Config
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.image_sets import Numbered
from ganformer_jax.evaluate.measure import measure
from ganformer_jax.evaluate.requests import PATHS, SCENES, Request, parse_requests
from ganformer_jax.metrics.sliced_wasserstein import COARSEST, sliced_wasserstein
from ganformer_jax.train.loop import Snapshot

DISTANCES = ("swd", "fid", "kid", "rfid", "rkid")
"""Of which less is better, so that one may decide which checkpoint is best."""


class Quality:
    """Measures `train.metrics`.

    Attributes:
        requests: What to measure; nothing where images are too small for the default.

    Raises:
        UserError: If a metric is not known, not for training, or the first one is no distance.
    """

    def __init__(self, config: Config, data: Data):
        self.config, self.data = config, data
        self.readers: Readers | None = None
        small = min(config.generator.image_size) < COARSEST
        asked = parse_requests(config.train.metrics, config.train.metric_images)
        self.requests = [r for r in asked if not (small and r.kind == "swd")]
        _check(asked)

    def __call__(self, now: Snapshot) -> Mapping[str, float]:
        """Measures; the first number is the one that decides."""
        found: dict[str, float] = {}
        for request in self.requests:
            if request.kind == "swd":
                found |= self._sliced(request, now)
        rest = [request for request in self.requests if request.kind != "swd"]
        if rest:
            found |= self._features(rest, now)
        names = [request.name for request in self.requests]
        deciding = "swd" if self.requests[0].kind == "swd" else names[0]
        ordered = {deciding: found[deciding], **found}
        return {f"metric/{name}": value for name, value in ordered.items()}

    def _sliced(self, request: Request, now: Snapshot) -> Mapping[str, float]:
        """Of held-out images, level by level."""
        real = self.data.held_out(request.count)
        return sliced_wasserstein(real, self._make(now, range(len(real))), jax.random.key(0))

    def _features(self, requests: Sequence[Request], now: Snapshot) -> Mapping[str, float]:
        """Of the training split, whose features are remembered."""
        if self.readers is None:
            self.readers = Readers(now.divided, make_sampler(self.config, now).batch_size)
        real = dataset_images(self.data.open("train"))
        fake = Numbered("generated images", None, lambda rows: self._make(now, rows))
        most = max(request.count for request in requests)
        count = min(real.count or most, most)
        return measure(requests, real, fake, self.readers, real_count=count)

    def _make(self, now: Snapshot, seeds: Sequence[int]) -> np.ndarray:
        conditional = self.config.generator.label_size > 0
        labels = labels_like(self.data.open("train"), seeds) if conditional else None
        return make_sampler(self.config, now).images(now.variables, seeds, labels)


def _check(requests: Sequence[Request]) -> None:
    for request in requests:
        if request.kind in (*PATHS, *SCENES):
            raise UserError(f"train.metrics: {request.name} is for `evaluate` only")
    if requests[0].kind not in DISTANCES:
        raise UserError(
            f"train.metrics: the first one decides which checkpoint is best, so it must be one of "
            f"{', '.join(DISTANCES)}, not {requests[0].kind}"
        )
