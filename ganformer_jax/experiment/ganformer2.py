"""Training of a GANformer2, as the command `train` runs it: its figures and metrics."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ganformer_jax import hosts, visualize
from ganformer_jax.config_ganformer2 import GANformer2Config
from ganformer_jax.config_ganformer2_checks import validate_ganformer2
from ganformer_jax.evaluate.image_sets import dataset_images
from ganformer_jax.evaluate.training_metrics import TrainingMetrics, parse_training_requests
from ganformer_jax.experiment.ganformer2_data import GANformer2Data
from ganformer_jax.experiment.observers import OwnCopy, checked, draw_curve, networks_for
from ganformer_jax.pixels import as_rgb, channel_words
from ganformer_jax.sampling.planned_scenes import PlannedScenes, SceneSampler
from ganformer_jax.train.devices import Placement, find_devices, place_on
from ganformer_jax.train.ganformer2 import ganformer2_trainable
from ganformer_jax.train.ganformer2_state import WEIGHTS, GANformer2State
from ganformer_jax.train.log_writers import BestEffort
from ganformer_jax.train.loop import train
from ganformer_jax.train.observing import Observer, Snapshot
from ganformer_jax.train.progress import beside_bars
from ganformer_jax.train.wandb_log import check_wandb

GRID, COLUMNS = 32, 8
"""Images in a sample grid, and in a row of it and of a sheet of layouts."""


class LatestScenes:
    """The averaged generators of a state in training, on the devices of this process."""

    def __init__(self, config: GANformer2Config, training: Placement):
        self._weights = OwnCopy(training, read_weights)
        self.placement = self._weights.placement
        batch = -(-GRID // len(training.own)) * len(training.own)
        self.sampler = SceneSampler(config, batch, self.placement.batch)

    def weights(self, state: GANformer2State) -> Mapping[str, Any]:
        """Return the weights of the average; all processes must call this for a new state."""
        return self._weights(state)


def read_weights(state: GANformer2State) -> dict[str, Any]:
    """Return what `SceneSampler` reads of a state."""
    return {name: getattr(state, name) for name in WEIGHTS}


def train_ganformer2(
    config: GANformer2Config,
    run: pathlib.Path,
    *,
    wandb: str | None = None,
    say: Callable[[str], None] = print,
) -> bool:
    """Train, or resume, a GANformer2, as `train.loop.train` does.

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
    validate_ganformer2(config)
    if wandb is not None:
        check_wandb()
    data = GANformer2Data(config)
    data.check()
    if words := channel_words(config.execution.image_channels):
        say(words)
    devices = find_devices(config.train.platform, config.train.devices)
    placement = place_on(devices, config.train.fsdp)
    scenes = LatestScenes(config, placement)

    def sample(state: GANformer2State, indices: Sequence[int]) -> np.ndarray:
        return scenes.sampler(scenes.weights(state), indices).images

    return train(
        ganformer2_trainable(config, placement, sample),
        placement,
        config,
        run,
        data.batches,
        make_scene_observers(config, run, data, scenes, beside_bars(say)),
        wandb=wandb,
        identities=data.images.identity(),
        say=say,
    )


def make_scene_observers(
    config: GANformer2Config,
    run: pathlib.Path,
    data: GANformer2Data,
    scenes: LatestScenes,
    say: Callable[[str], None] = print,
) -> Sequence[Observer]:
    """Return the observers of a run: scenes and layouts, metrics, and the curve of both."""
    options, figures, curve = config.train, BestEffort(say), BestEffort(say)
    draw = functools.partial(draw_scenes, scenes, data, run, figures)
    made = [Observer(options.image_kimg, draw, at_once=True)]
    size = config.execution.resolution, config.execution.resolution
    requests = parse_training_requests(options.metrics, options.metric_images, size)
    if requests and options.metric_kimg:
        real, batch = data.images.training_images(), scenes.sampler.batch_size
        networks = networks_for(requests, real, scenes.placement, batch)

        @functools.cache
        def metrics() -> TrainingMetrics:  # reads data, so not before it is needed
            images = dataset_images(data.images.open("train"))
            return TrainingMetrics(requests, images, data.images.held_out, networks)

        made.append(Observer(options.metric_kimg, lambda now: metrics()(checked(now))))
    made.append(Observer(options.image_kimg, functools.partial(draw_curve, run, curve)))
    return made


def draw_scenes(
    scenes: LatestScenes,
    data: GANformer2Data,
    run: pathlib.Path,
    attempt: BestEffort,
    now: Snapshot,
) -> Mapping[str, np.ndarray]:
    """Write images, and a sheet of layouts step by step, to `<run>/samples`; return both."""
    weights = scenes.weights(now.state)
    held_out = data.held_out(COLUMNS)  # by all processes: it may render them
    if not hosts.is_first():
        return {}
    drawn = scenes.sampler(weights, range(GRID))
    scale = max(1, 64 // drawn.images.shape[1])
    grid = visualize.image_grid(drawn.images, COLUMNS, scale=scale)
    segments = scenes.sampler.config.planning.segments
    sheet = layout_sheet(drawn, segments, COLUMNS, held_out)
    made = {"images/samples": ("", grid), "images/layouts": ("-layouts", sheet)}
    for suffix, image in made.values():
        path = run / "samples" / f"{now.step:08d}{suffix}.png"
        attempt(str(path), visualize.save_png, path, image)
    return {name: image for name, (_, image) in made.items()}


def segment_palette(segments: int) -> np.ndarray:
    """Return an RGB color, uint8, for each segment; the background is gray."""
    colors = visualize.component_palette(segments - 1)
    return np.concatenate([np.full((1, 3), 96, np.uint8), colors])


def layout_sheet(
    scenes: PlannedScenes,
    segments: int,
    columns: int,
    real: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Draw the layouts of scenes after each step of planning, their depth, and the images.

    Args:
        scenes: The scenes.
        segments: Segments of a layout.
        columns: Scenes to draw, at most.
        real: `images` and `layouts`, labels, of real scenes to draw below.
    """
    palette = segment_palette(segments)
    count = min(columns, len(scenes.images))
    steps = np.moveaxis(scenes.layouts[:count, 1:], 1, 0)
    rows = [palette[step] for step in steps]
    names = [f"step {number}" for number in range(1, len(rows) + 1)]
    depth = scenes.depth[:count]
    low, high = depth.min((1, 2), keepdims=True), depth.max((1, 2), keepdims=True)
    gray = (255 * (depth - low) / np.maximum(high - low, 1e-6)).astype(np.uint8)
    rows += [np.repeat(gray[..., None], 3, -1), as_rgb(scenes.images[:count])]
    names += ["depth", "image"]
    if real is not None and len(real["images"]) >= count:
        rows.append(palette[real["layouts"][:count]])
        rows.append(as_rgb(real["images"][:count]))
        names += ["real layout", "real image"]
    scale = max(1, 64 // scenes.images.shape[1])
    return visualize.image_grid(np.concatenate(rows), count, scale=scale, row_headings=names)
