"""A prior in training: reconstructions, samples, and measures of its codes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ganformer_jax import visualize
from ganformer_jax.config.prior import PriorConfig
from ganformer_jax.experiment.data import ExperimentData
from ganformer_jax.experiment.latest import Figures, LatestNetworks, Lower, Metrics, checked
from ganformer_jax.metrics.pairs import pair_error
from ganformer_jax.models.codebook import use_of
from ganformer_jax.sampling.priors import PriorSampler
from ganformer_jax.train.devices import Placement
from ganformer_jax.train.kinds.prior import trains_transformer
from ganformer_jax.train.kinds.prior_state import PriorState, weights_of
from ganformer_jax.train.observing import Moment

GRID, COLUMNS = 32, 8
"""Images in a grid of samples, and its columns; reconstructions have as many."""
BATCH = 64
"""Images that are made at once."""


class LatestPrior(LatestNetworks):
    """The autoencoder and the transformer of a state in training.

    Attributes:
        sampler: Sampler of both networks.
    """

    def __init__(self, config: PriorConfig, training: Placement):
        options = config.autoencoder
        shape = *options.image_size, options.image_channels
        super().__init__(training, weights_of, shape, BATCH)
        self.config = config
        self.sampler = PriorSampler(config, self.batch_size, batch_sharding=self.placement.batch)

    def _lower(self, weights: Mapping[str, Any]) -> Mapping[str, Lower]:
        return {"samples": functools.partial(self.sampler.lower, weights)}

    def images(self, data: ExperimentData, state: PriorState, indices: Sequence[int]) -> np.ndarray:
        """Return samples, with labels of real images if the prior takes labels."""
        return self.sampler.images(self.weights(state), indices, data.labels(indices))

    def figures(self, data: ExperimentData, now: Moment) -> Callable[[], Figures]:
        """Return a function that draws held-out images above their reconstructions, and samples.

        Samples, of seeds 0, 1, ..., are drawn once the transformer trains.
        """
        weights, images = self.weights(now.state), data.held_out(COLUMNS)
        labels, samples = data.grid_labels(GRID), trains_transformer(self.config, now.images_seen)

        def draw() -> Figures:
            drawn = {"reconstructions": draw_reconstructions(self.sampler, weights, images)}
            if samples:
                made = self.sampler.images(weights, range(GRID), labels)
                drawn["samples"] = visualize.image_grid(made, COLUMNS, scale=None)
            return drawn

        return draw

    def measures(
        self, data: ExperimentData, metrics: Metrics | None, count: int
    ) -> Sequence[Callable[[Moment], Mapping[str, float]]]:
        """Return functions that measure codes and, once the transformer trains, samples."""
        codes = functools.partial(measure_codes, self, data, count)
        if metrics is None:
            return [codes]

        def compare(now: Moment) -> Mapping[str, float]:
            trained = trains_transformer(self.config, now.images_seen)
            return metrics()[-1](checked(now)) if trained else {}

        return [codes, compare]


def measure_codes(
    prior: LatestPrior, data: ExperimentData, count: int, now: Moment
) -> dict[str, float]:
    """Return measures of the codes of held-out images.

    "codes/error" is the mean absolute difference of reconstructions in levels of 0 to 255,
    "codes/used" the share of the codebook's entries that occur, and "codes/perplexity" the
    equivalent number of equally frequent entries. "codes/bits" is the cross-entropy of the
    transformer in bits per code.
    """
    variables, images = prior.weights(now.state), data.held_out(count)
    now.check()
    reconstructed, codes_MxT = prior.sampler.reconstruct(variables, images)
    counts_M = np.bincount(codes_MxT.reshape(-1), minlength=prior.config.codebook.entries)
    used, perplexity = use_of(counts_M)
    numbers = {
        "codes/error": pair_error(reconstructed, images),
        "codes/used": used,
        "codes/perplexity": perplexity,
    }
    if trains_transformer(prior.config, now.images_seen):
        now.check()
        nats_M = prior.sampler.nats(variables, codes_MxT, data.held_out_labels(count))
        numbers["codes/bits"] = float(nats_M.mean()) / math.log(2)
    return numbers


def draw_reconstructions(
    sampler: PriorSampler, variables: Mapping[str, Any], images: np.ndarray
) -> np.ndarray:
    """Draw images above their reconstructions."""
    reconstructed, _ = sampler.reconstruct(variables, images)
    rows = np.concatenate([images, reconstructed])
    headings = "image", "reconstruction"
    return visualize.image_grid(rows, len(images), scale=None, row_headings=headings)
