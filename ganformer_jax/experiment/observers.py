"""What is done with the averaged generator while it trains: figures, metrics, curves."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ganformer_jax import hosts, visualize
from ganformer_jax.config import Config
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.feasibility import check_measurable
from ganformer_jax.evaluate.features import NetworkSettings
from ganformer_jax.evaluate.image_sets import dataset_images
from ganformer_jax.evaluate.requests import TRAINED, Request
from ganformer_jax.evaluate.training_metrics import TrainingMetrics, parse_training_requests
from ganformer_jax.experiment.data import ExperimentData
from ganformer_jax.experiment.evaluation import metric_networks
from ganformer_jax.sampling import Sampler
from ganformer_jax.train.devices import Placement, place_on
from ganformer_jax.train.log_writers import BestEffort
from ganformer_jax.train.observing import Observer, Snapshot
from ganformer_jax.train.state import TrainState

GRID = 32
"""Images in a sample grid; always those of seeds 0, 1, ..."""
GRID_COLUMNS = 8
ATTENTION_ROWS = 6
"""Images whose attention is drawn."""


class LatestGenerator:
    """The averaged generator of a state in training, on the devices of this process.

    Every process samples by itself, so that images need not be gathered from other hosts.

    Attributes:
        sampler: One for figures and metrics, as it takes long to compile.
        placement: The devices of this process that train.
    """

    def __init__(self, config: Config, training: Placement):
        self.placement = place_on(training.own)
        batch = -(-GRID // len(training.own)) * len(training.own)
        self.sampler = Sampler(
            config.generator, batch, attention=True, batch_sharding=self.placement.batch
        )
        self._whole = jax.jit(lambda tree: tree, out_shardings=training.replicated)
        self._step, self._variables = None, None

    def variables(self, state: TrainState) -> Mapping[str, Any]:
        """Return the variables of the average; all processes must call this for a new state."""
        if state.step is not self._step:
            whole = self._whole(state.generator_variables())
            own = jax.tree.map(lambda leaf: leaf.addressable_data(0), whole)
            self._variables = jax.device_put(own, self.placement.replicated)
            self._step = state.step
        assert self._variables is not None
        return self._variables


def make_observers(
    config: Config,
    run: pathlib.Path,
    data: ExperimentData,
    generator: LatestGenerator,
    say: Callable[[str], None] = print,
) -> Sequence[Observer]:
    """Return the observers of a run: sample grids, metrics, and the curve of both.

    A figure that cannot be written, as on a full disk, is a warning to `say`.
    """
    options = config.train
    image_kimg, size = options.image_kimg, config.generator.image_size
    figures, curve = BestEffort(say), BestEffort(say)
    draw = functools.partial(draw_samples, generator, data.grid_labels, run, figures, say)
    made = [Observer(image_kimg, draw, at_once=True)]
    requests = parse_training_requests(options.metrics, options.metric_images, size)
    if requests and options.metric_kimg:
        networks = _networks_for(requests, data, generator)

        @functools.cache
        def metrics() -> TrainingMetrics:  # reads data, so not before it is needed
            images = dataset_images(data.open("train"))
            return TrainingMetrics(requests, images, data.held_out, networks)

        made.append(Observer(options.metric_kimg, lambda now: metrics()(checked(now))))
    made.append(Observer(image_kimg, functools.partial(draw_curve, run, curve)))
    return made


def _networks_for(
    requests: Sequence[Request], data: ExperimentData, generator: LatestGenerator
) -> NetworkSettings:
    """Return settings of the networks behind metrics, whose weights are here.

    Raises:
        UserError: If there are too few images, or weights cannot be loaded: not after the updates
            have been compiled.
    """
    try:
        check_measurable(requests, real=data.training_images())
    except UserError as error:
        raise UserError(f"train.metrics: {error}") from error
    networks = metric_networks(generator.placement, generator.sampler.batch_size)
    networks = dataclasses.replace(networks, load_weights=functools.cache(networks.load_weights))
    if any(request.network == TRAINED for request in requests):
        networks.load_weights(TRAINED)
    return networks


def checked(now: Snapshot) -> Callable[[Sequence[int]], np.ndarray]:
    """Return a function that samples a batch at a time, and ends if training is to stop."""

    def sample(indices: Sequence[int]) -> np.ndarray:
        now.check()
        return now.sample(indices)

    return sample


def draw_samples(
    generator: LatestGenerator,
    labels_for: Callable[[int], Sequence[Any] | None],
    run: pathlib.Path,
    attempt: BestEffort,
    say: Callable[[str], None],
    now: Snapshot,
) -> Mapping[str, np.ndarray]:
    """Write a grid of samples, and their attention, to `<run>/samples`; return both for the log.

    `labels_for` returns the labels of a number of images, None for an unconditional generator.
    """
    sampler, variables = generator.sampler, generator.variables(now.state)
    if not hosts.is_first():
        return {}
    config = sampler.config
    samples = sampler(variables, range(GRID), labels_for(GRID))
    scale = max(1, 64 // config.resolution)
    grid = visualize.image_grid(samples.images, GRID_COLUMNS, scale=scale)
    drawn = {"images/samples": ("", grid)}
    if samples.attention:
        figure = visualize.attention_figure(samples.images, samples.attention, ATTENTION_ROWS)
        drawn["images/attention"] = "-attention", figure
    for suffix, image in drawn.values():
        path = run / "samples" / f"{now.step:08d}{suffix}.png"
        attempt(str(path), visualize.save_png, path, image)
    if now.step == 0:
        say(f"first samples, of the untrained generator, in {run / 'samples'}")
    return {name: image for name, (_, image) in drawn.items()}


def draw_curve(run: pathlib.Path, attempt: BestEffort, now: Snapshot) -> Mapping[str, float]:
    """Draw losses and metrics so far to `<run>/curve.png`."""
    if now.step and hosts.is_first():
        path = run / "curve.png"
        attempt(str(path), visualize.training_curve, run / "metrics.jsonl", path)
    return {}
