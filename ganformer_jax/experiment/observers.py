"""Observers of the latest networks while they train: figures, metrics, and a curve of both."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ganformer_jax import hosts, visualize
from ganformer_jax.config.training import TrainConfig
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.feasibility import check_measurable
from ganformer_jax.evaluate.features import NetworkSettings
from ganformer_jax.evaluate.image_sets import dataset_images
from ganformer_jax.evaluate.requests import TRAINED, Request
from ganformer_jax.evaluate.training_metrics import TrainingMetrics, parse_training_requests
from ganformer_jax.experiment.data import ExperimentData
from ganformer_jax.experiment.evaluation import metric_networks
from ganformer_jax.experiment.latest import Figures, LatestNetworks, Metrics, TrainingData
from ganformer_jax.train.logs.writers import BestEffort
from ganformer_jax.train.observing import Moment, Observer


def make_observers(
    options: TrainConfig,
    run: pathlib.Path,
    data: TrainingData,
    latest: LatestNetworks,
    say: Callable[[str], None] = print,
) -> Sequence[Observer]:
    """Return the observers of a run: figures, metrics, and the curve of both.

    A figure that cannot be written, as on a full disk, is a warning to `say`.

    Args:
        options: Options of training.
        run: Folder of the run.
        data: The data of the experiment.
        latest: The networks in training.
        say: Receives lines for the user.

    Raises:
        UserError: If metrics cannot be measured; this is found before the updates are compiled.
    """
    figures, curve = BestEffort(say), BestEffort(say)

    def draw(now: Moment) -> Mapping[str, np.ndarray]:
        drawing, main = latest.figures(data, now), latest.main_figure
        return draw_figures(drawing, main, run, figures, say, now) if hosts.is_first() else {}

    made = [Observer(options.image_kimg, draw, at_once=True)]
    metrics = metrics_of(options, data, latest)
    if options.metric_kimg:
        first = next(iter(_requests(options, data, latest)), None)
        suffix = first.name.removeprefix("swd") if first and first.kind == "swd" else ""
        for measure in latest.measures(data, metrics, options.metric_images):
            made.append(Observer(options.metric_kimg, measure, metric_suffix=suffix))
    made.append(Observer(options.image_kimg, functools.partial(draw_curve, run, curve)))
    return made


def draw_figures(
    drawing: Callable[[], Figures],
    main: str,
    run: pathlib.Path,
    attempt: BestEffort,
    say: Callable[[str], None],
    now: Moment,
) -> Mapping[str, np.ndarray]:
    """Draw figures and write them to `<run>/samples`; return them for the log.

    Only the first process calls this. The file of the figure named `main` is named after the step.
    """
    with hosts.single_process():
        drawn = drawing()
    for name, image in drawn.items():
        suffix = "" if name == main else f"-{name}"
        path = run / "samples" / f"{now.step:08d}{suffix}.png"
        attempt(str(path), visualize.save_png, path, image)
    if now.step == 0:
        say(f"first {' and '.join(drawn)}, before any step, in {run / 'samples'}")
    return {f"images/{name}": image for name, image in drawn.items()}


def draw_curve(run: pathlib.Path, attempt: BestEffort, now: Moment) -> Mapping[str, float]:
    """Draw losses and metrics so far to `<run>/curve.png`; nothing if none are logged."""
    log, path = run / "metrics.jsonl", run / "curve.png"
    if now.step and hosts.is_first() and log.exists():
        attempt(str(path), visualize.training_curve, log, path)
    return {}


def metrics_of(options: TrainConfig, data: TrainingData, latest: LatestNetworks) -> Metrics | None:
    """Return a function that makes the metrics of `train.metrics`, or None if there are none.

    Raises:
        UserError: If they cannot be measured.
    """
    sets, most = data.image_sets(), latest.most_images(data)
    requests = _requests(options, data, latest)
    if not (requests and options.metric_kimg):
        return None
    real = min(images.training_images() for images in sets)
    networks = networks_for(requests, most, real, latest)

    def held_out(images: ExperimentData, count: int) -> np.ndarray:
        return images.held_out(min(count, most or count))

    @functools.cache
    def make() -> Sequence[TrainingMetrics]:  # reads data, so not before it is needed
        return [
            TrainingMetrics(
                requests,
                dataset_images(images.open("train")),
                functools.partial(held_out, images),
                networks,
            )
            for images in sets
        ]

    return make


def _requests(
    options: TrainConfig, data: TrainingData, latest: LatestNetworks
) -> Sequence[Request]:
    """Return the metrics of `train.metrics`, each of as many images as there are."""
    count = min(options.metric_images, latest.most_images(data) or options.metric_images)
    return parse_training_requests(options.metrics, count, latest.image_shape[:2])


def networks_for(
    requests: Sequence[Request], most: int | None, real: int, latest: LatestNetworks
) -> NetworkSettings:
    """Return settings of the networks behind metrics, after checking that weights are available.

    Args:
        requests: The metrics.
        most: Number of different images that can be measured; None if unlimited.
        real: Number of images to compare with.
        latest: The networks whose images are measured, on the same devices.

    Raises:
        UserError: If there are too few images, or weights cannot be loaded.
    """
    try:
        check_measurable(requests, most, real, fake_name="the held-out split")
    except UserError as error:
        raise UserError(f"train.metrics: {error}") from error
    networks = metric_networks(latest.placement, latest.batch_size)
    networks = dataclasses.replace(networks, load_weights=functools.cache(networks.load_weights))
    if any(request.network == TRAINED for request in requests):
        networks.load_weights(TRAINED)
    return networks
