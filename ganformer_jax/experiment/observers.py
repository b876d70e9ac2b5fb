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


class OwnCopy:
    """Arrays of the latest state in training, whole on every device of this process.

    Every process samples by itself, so that images need not be gathered from other hosts.

    Attributes:
        placement: The devices of this process that train.
    """

    def __init__(self, training: Placement, read: Callable[[Any], Any]):
        self.placement = place_on(training.own)
        self._read = read
        self._whole = jax.jit(lambda tree: tree, out_shardings=training.replicated)
        self._step, self._tree = None, None

    def __call__(self, state: Any) -> Any:
        """Return what `read` takes of a state; all processes must call this for a new state."""
        if state.step is not self._step:
            whole = self._whole(self._read(state))
            own = jax.tree.map(lambda leaf: leaf.addressable_data(0), whole)
            self._tree = jax.device_put(own, self.placement.replicated)
            self._step = state.step
        return self._tree


class LatestGenerator:
    """The averaged generator of a state in training, on the devices of this process.

    Attributes:
        sampler: One for figures and metrics, as it takes long to compile.
        placement: The devices of this process that train.
    """

    def __init__(self, config: Config, training: Placement):
        self._variables = OwnCopy(training, TrainState.generator_variables)
        self.placement = self._variables.placement
        batch = -(-GRID // len(training.own)) * len(training.own)
        self.sampler = Sampler(
            config.generator, batch, attention=True, batch_sharding=self.placement.batch
        )

    def variables(self, state: TrainState) -> Mapping[str, Any]:
        """Return the variables of the average; all processes must call this for a new state."""
        return self._variables(state)


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
        real, batch = data.training_images(), generator.sampler.batch_size
        networks = networks_for(requests, real, generator.placement, batch)

        @functools.cache
        def metrics() -> TrainingMetrics:  # reads data, so not before it is needed
            images = dataset_images(data.open("train"))
            return TrainingMetrics(requests, images, data.held_out, networks)

        made.append(Observer(options.metric_kimg, lambda now: metrics()(checked(now))))
    made.append(Observer(image_kimg, functools.partial(draw_curve, run, curve)))
    return made


def networks_for(
    requests: Sequence[Request], real: int, placement: Placement, batch_size: int
) -> NetworkSettings:
    """Return settings of the networks behind metrics, whose weights are here.

    Args:
        requests: The metrics.
        real: Number of images to compare with.
        placement: Where they run.
        batch_size: Images at once.

    Raises:
        UserError: If there are too few images, or weights cannot be loaded: not after the updates
            have been compiled.
    """
    try:
        check_measurable(requests, real=real)
    except UserError as error:
        raise UserError(f"train.metrics: {error}") from error
    networks = metric_networks(placement, batch_size)
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
