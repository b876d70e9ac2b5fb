"""A GAN in training: the grid of samples and their attention."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ganformer_jax import visualize
from ganformer_jax.config import Config
from ganformer_jax.experiment.data import ExperimentData
from ganformer_jax.experiment.latest import Figures, LatestNetworks, Lower
from ganformer_jax.sampling import Sampler
from ganformer_jax.train.devices import Placement
from ganformer_jax.train.observing import Moment
from ganformer_jax.train.state import TrainState

GRID = 32
"""Images in a sample grid, of seeds 0, 1, ..."""
GRID_COLUMNS = 8
ATTENTION_ROWS = 6
"""Images whose attention is drawn."""


class LatestGenerator(LatestNetworks):
    """The averaged generator of a state in training.

    Attributes:
        sampler: Shared by figures and metrics, since it takes long to compile.
    """

    def __init__(self, config: Config, training: Placement):
        shape = *config.generator.image_size, config.generator.image_channels
        super().__init__(training, TrainState.generator_variables, shape, GRID)
        self.sampler = Sampler(
            config.generator, self.batch_size, attention=True, batch_sharding=self.placement.batch
        )

    def _lower(self, weights: Mapping[str, Any]) -> Mapping[str, Lower]:
        return {"samples": functools.partial(self.sampler.lower, weights)}

    def images(self, data: ExperimentData, state: TrainState, indices: Sequence[int]) -> np.ndarray:
        """Return images, with labels of real images if the generator takes labels."""
        return self.sampler.images(self.weights(state), indices, data.labels(indices))

    def figures(self, data: ExperimentData, now: Moment) -> Callable[[], Figures]:
        """Return a function that draws a grid of samples and their attention."""
        weights, labels = self.weights(now.state), data.grid_labels(GRID)
        return functools.partial(draw_samples, self.sampler, weights, labels)


def draw_samples(
    sampler: Sampler, variables: Mapping[str, Any], labels: Sequence[Any] | None
) -> Figures:
    """Draw a grid of samples and, for a generator with components, their attention."""
    samples = sampler(variables, range(GRID), labels)
    drawn = {"samples": visualize.image_grid(samples.images, GRID_COLUMNS, scale=None)}
    if samples.attention:
        attention = visualize.attention_figure(samples.images, samples.attention, ATTENTION_ROWS)
        drawn["attention"] = attention
    return drawn
