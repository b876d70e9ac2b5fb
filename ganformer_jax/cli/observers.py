"""What is done with the averaged generator while it trains."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax import visualize
from ganformer_jax.caches import caches
from ganformer_jax.cli.run_data import BATCH, Data, make_sampler
from ganformer_jax.config import Config
from ganformer_jax.convert.state_dict import read_state_dict
from ganformer_jax.evaluate.features import NetworkSettings
from ganformer_jax.evaluate.image_sets import dataset_images, sample_labels
from ganformer_jax.evaluate.requests import Request
from ganformer_jax.evaluate.training_metrics import TrainingMetrics, parse_training_requests
from ganformer_jax.evaluate.weights import load_weights
from ganformer_jax.models import stack_attention
from ganformer_jax.sampling import Samples
from ganformer_jax.train.loop import Observer, Snapshot

GRID = BATCH
"""Images in a sample grid; always those of seeds 0, 1, ..."""
GRID_COLUMNS = 8
ATTENTION_ROWS = 6
"""Images whose attention is drawn."""


def observers(config: Config, workdir: pathlib.Path, data: Data) -> Sequence[Observer]:
    """Makes the observers of a run: sample grids, the quality number, and the curve of both."""
    made = [Observer(config.train.image_kimg, functools.partial(draw_samples, config, workdir))]
    requests = parse_training_requests(
        config.train.metrics, config.train.metric_images, config.generator.image_size
    )
    if requests:
        made.append(Observer(config.train.metric_kimg, _observe_metrics(config, data, requests)))
    made.append(Observer(config.train.image_kimg, functools.partial(draw_curve, workdir)))
    return made


def _observe_metrics(
    config: Config, data: Data, requests: Sequence[Request]
) -> Callable[[Snapshot], Mapping[str, float]]:
    """Return an observer that measures `train.metrics`."""

    @functools.cache
    def metrics(batch_size: int, sharding: jax.sharding.NamedSharding) -> TrainingMetrics:
        load = functools.partial(load_weights, read=read_state_dict)
        networks = NetworkSettings(load, batch_size, sharding, caches() / "features")
        return TrainingMetrics(
            requests, dataset_images(data.open("train")), data.held_out, networks
        )

    def observe(now: Snapshot) -> Mapping[str, float]:
        sampler = make_sampler(config, now)

        def sample(indices: Sequence[int]) -> np.ndarray:
            conditional = config.generator.label_size > 0
            labels = sample_labels(data.open("train"), indices) if conditional else None
            return sampler.images(now.variables, indices, labels)

        return metrics(sampler.batch_size, now.divided)(sample)

    return observe


def draw_samples(config: Config, workdir: pathlib.Path, now: Snapshot) -> Mapping[str, float]:
    """Writes a grid of samples, and their attention, to `<workdir>/samples`."""
    samples = make_sampler(config, now)(now.variables, range(GRID), labels_in_turn(config, GRID))
    folder = workdir / "samples"
    scale = max(1, 64 // config.generator.resolution)
    grid = visualize.image_grid(samples.images, columns=GRID_COLUMNS, scale=scale)
    visualize.save_png(folder / f"{now.step:08d}.png", grid)
    if samples.attention:
        figure = attention_figure(samples, ATTENTION_ROWS)
        visualize.save_png(folder / f"{now.step:08d}-attention.png", figure)
    return {}


def draw_curve(workdir: pathlib.Path, now: Snapshot) -> Mapping[str, float]:
    """Draws losses and quality so far to `<workdir>/curve.png`."""
    if now.step:
        visualize.training_curve(workdir / "metrics.jsonl", workdir / "curve.png")
    return {}


def attention_figure(samples: Samples, rows: int) -> np.ndarray:
    """Draws the attention of the first samples: heads and layers of the finest grid, averaged."""
    finest = max(layer.shape[-2:] for layer in samples.attention)
    maps = [jnp.asarray(layer[:rows]) for layer in samples.attention if layer.shape[-2:] == finest]
    stacked = np.asarray(stack_attention(maps, finest))
    return visualize.attention_grid(samples.images[:rows], visualize.reduce_attention(stacked))


def labels_in_turn(config: Config, count: int) -> list[int] | None:
    """Takes the classes in turn."""
    classes = config.generator.label_size
    return [i % classes for i in range(count)] if classes else None
