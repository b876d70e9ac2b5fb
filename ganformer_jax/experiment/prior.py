"""Training of a prior, as the command `train` runs it: its figures and metrics."""

from __future__ import annotations

import functools
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ganformer_jax import hosts, visualize
from ganformer_jax.config_prior import PriorConfig
from ganformer_jax.config_prior_checks import validate_prior
from ganformer_jax.evaluate.image_sets import dataset_images
from ganformer_jax.evaluate.training_metrics import TrainingMetrics, parse_training_requests
from ganformer_jax.experiment.data import ExperimentData
from ganformer_jax.experiment.observers import OwnCopy, checked, draw_curve, networks_for
from ganformer_jax.experiment.prior_data import prior_data
from ganformer_jax.metrics.pairs import pair_error
from ganformer_jax.models.codebook import use_of
from ganformer_jax.pixels import channel_words
from ganformer_jax.sampling.priors import PriorSampler
from ganformer_jax.train.devices import Placement, find_devices, place_on
from ganformer_jax.train.log_writers import BestEffort
from ganformer_jax.train.loop import train
from ganformer_jax.train.observing import Observer, Snapshot
from ganformer_jax.train.prior import prior_trainable
from ganformer_jax.train.prior_state import PriorState, weights_of
from ganformer_jax.train.progress import beside_bars
from ganformer_jax.train.wandb_log import check_wandb

GRID, COLUMNS = 32, 8
"""Images in a grid of samples, and its columns; reconstructions have as many."""
BATCH = 64
"""Images that are made at once."""


class LatestPrior:
    """The networks of a state in training, on the devices of this process."""

    def __init__(self, config: PriorConfig, training: Placement):
        self._variables = OwnCopy(training, weights_of)
        self.config, self.placement = config, self._variables.placement
        batch = -(-BATCH // len(training.own)) * len(training.own)
        self.sampler = PriorSampler(config, batch, batch_sharding=self.placement.batch)

    def variables(self, state: PriorState) -> Mapping[str, Any]:
        """Return what samples need; all processes must call this for a new state."""
        return self._variables(state)

    def trains_transformer(self, images_seen: int) -> bool:
        """Return whether the transformer has been trained after this number of images."""
        return images_seen > 1000 * self.config.prior.autoencoder_kimg


def train_prior(
    config: PriorConfig,
    run: pathlib.Path,
    *,
    wandb: str | None = None,
    say: Callable[[str], None] = print,
) -> bool:
    """Train, or resume, a prior, as `train.loop.train` does.

    Args:
        config: The experiment.
        run: Folder of the run.
        wandb: Project of Weights and Biases to log to as well.
        say: Receives lines for the user.

    Returns:
        Whether the run is complete; False after SIGINT or SIGTERM, which leave a checkpoint.

    Raises:
        UserError: If the config, the dataset or the folder cannot be used, or losses stay not
            finite.
    """
    validate_prior(config)
    if wandb is not None:
        check_wandb()
    data = prior_data(config)
    if not config.data.rendered:
        hosts.check_equal({"the number of training images": data.training_images()})
    if words := channel_words(config.autoencoder.image_channels):
        say(words)
    devices = find_devices(config.train.platform, config.train.devices)
    placement = place_on(devices, config.train.fsdp)
    prior = LatestPrior(config, placement)

    def sample(state: PriorState, indices: Sequence[int]) -> np.ndarray:
        return prior.sampler.images(prior.variables(state), indices, data.labels(indices))

    def batches(images_seen: int) -> Any:
        data.save_label_names(run)
        return data.batches(images_seen)

    return train(
        prior_trainable(config, placement, sample),
        placement,
        config,
        run,
        batches,
        make_prior_observers(config, run, data, prior, beside_bars(say)),
        wandb=wandb,
        identities=data.identity(),
        say=say,
    )


def make_prior_observers(
    config: PriorConfig,
    run: pathlib.Path,
    data: ExperimentData,
    prior: LatestPrior,
    say: Callable[[str], None] = print,
) -> Sequence[Observer]:
    """Return the observers of a run: reconstructions, samples, metrics, and their curve."""
    options = config.train
    figures, curve = BestEffort(say), BestEffort(say)
    draw = functools.partial(draw_prior, prior, data, run, figures)
    made = [Observer(options.image_kimg, draw, at_once=True)]
    size = config.autoencoder.image_size
    requests = parse_training_requests(options.metrics, options.metric_images, size)
    if options.metric_kimg:
        measure = functools.partial(measure_codes, prior, data, options.metric_images)
        made.append(Observer(options.metric_kimg, measure))
    if requests and options.metric_kimg:
        real, batch = data.training_images(), prior.sampler.batch_size
        networks = networks_for(requests, real, prior.placement, batch)

        @functools.cache
        def metrics() -> TrainingMetrics:  # reads data, so not before it is needed
            images = dataset_images(data.open("train"))
            return TrainingMetrics(requests, images, data.held_out, networks)

        def compare(now: Snapshot) -> dict[str, float]:
            measured = prior.trains_transformer(now.images_seen)
            return metrics()(checked(now)) if measured else {}

        made.append(Observer(options.metric_kimg, compare))
    made.append(Observer(options.image_kimg, functools.partial(draw_curve, run, curve)))
    return made


def measure_codes(
    prior: LatestPrior, data: ExperimentData, count: int, now: Snapshot
) -> dict[str, float]:
    """Return how well codes of held-out images describe them, and how well they are predicted.

    "codes/error" is the mean absolute difference of reconstructions in levels of 0 to 255,
    "codes/used" the share of the codebook's entries that occur, and "codes/perplexity" to how many
    equally frequent ones they amount; "codes/bits" the cross-entropy of the transformer in bits a
    code.
    """
    variables, images = prior.variables(now.state), data.held_out(count)
    now.check()
    reconstructed, codes_MxT = prior.sampler.reconstruct(variables, images)
    counts_M = np.bincount(codes_MxT.reshape(-1), minlength=prior.config.codebook.entries)
    used, perplexity = use_of(counts_M)
    numbers = {
        "codes/error": pair_error(reconstructed, images),
        "codes/used": used,
        "codes/perplexity": perplexity,
    }
    if prior.trains_transformer(now.images_seen):
        now.check()
        nats_M = prior.sampler.nats(variables, codes_MxT, data.held_out_labels(count))
        numbers["codes/bits"] = float(nats_M.mean()) / math.log(2)
    return numbers


def draw_prior(
    prior: LatestPrior, data: ExperimentData, run: pathlib.Path, attempt: BestEffort, now: Snapshot
) -> Mapping[str, np.ndarray]:
    """Write held-out images above their reconstructions, and samples, to `<run>/samples`.

    Samples are those of seeds 0, 1, ... Returns both for the log.
    """
    variables, images = prior.variables(now.state), data.held_out(COLUMNS)
    labels = data.grid_labels(GRID)
    if not hosts.is_first():
        return {}
    reconstructed, _ = prior.sampler.reconstruct(variables, images)
    scale = max(1, 64 // max(images.shape[1:3]))
    rows = np.concatenate([images, reconstructed])
    headings = "image", "reconstruction"
    pairs = visualize.image_grid(rows, len(images), scale=scale, row_headings=headings)
    drawn = {"images/reconstructions": ("-reconstructions", pairs)}
    if prior.trains_transformer(now.images_seen):
        samples = prior.sampler.images(variables, range(GRID), labels)
        grid = visualize.image_grid(samples, COLUMNS, scale=scale)
        drawn["images/samples"] = "", grid
    for suffix, image in drawn.values():
        path = run / "samples" / f"{now.step:08d}{suffix}.png"
        attempt(str(path), visualize.save_png, path, image)
    return {name: image for name, (_, image) in drawn.items()}
