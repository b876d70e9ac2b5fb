"""Training of a translation, as the command `train` runs it: its figures and metrics."""

from __future__ import annotations

import dataclasses
import functools
import operator
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ganformer_jax import hosts, visualize
from ganformer_jax.config_translation import TranslationConfig
from ganformer_jax.config_translation_checks import validate_translation
from ganformer_jax.evaluate.image_sets import dataset_images
from ganformer_jax.evaluate.training_metrics import TrainingMetrics, parse_training_requests
from ganformer_jax.experiment.observers import OwnCopy, checked, draw_curve, networks_for
from ganformer_jax.experiment.translation_data import TranslationData
from ganformer_jax.metrics.pairs import pair_error
from ganformer_jax.pixels import channel_words
from ganformer_jax.sampling.translations import ImageTranslator
from ganformer_jax.train.devices import Placement, find_devices, place_on
from ganformer_jax.train.log_writers import BestEffort
from ganformer_jax.train.loop import train
from ganformer_jax.train.observing import Observer, Snapshot
from ganformer_jax.train.progress import beside_bars
from ganformer_jax.train.translation import (
    OTHER,
    SETS,
    TranslationState,
    translation_trainable,
)
from ganformer_jax.train.wandb_log import check_wandb

COLUMNS = 8
"""Images of either set in a figure: the first held-out ones."""
BATCH = 32
"""Images that are translated at once."""


class LatestTranslators:
    """Both generators of a state in training, on the devices of this process."""

    def __init__(self, config: TranslationConfig, training: Placement):
        self._params = OwnCopy(training, operator.attrgetter("generators"))
        self.placement = self._params.placement
        devices = len(training.own)
        batch = -(-BATCH // devices) * devices
        make = functools.partial(
            ImageTranslator, config.generator, batch, batch_sharding=self.placement.batch
        )
        self.plain, self.with_attention = make(), make(attention=True)

    def params(self, state: TranslationState) -> Mapping[str, Any]:
        """Return both generators; all processes must call this for a new state."""
        return self._params(state)

    def translate(self, state: TranslationState, kind: str, images: np.ndarray) -> np.ndarray:
        """Translate images into a set."""
        return self.plain(self.params(state)[kind], images).images


def train_translation(
    config: TranslationConfig,
    run: pathlib.Path,
    *,
    wandb: str | None = None,
    say: Callable[[str], None] = print,
) -> bool:
    """Train, or resume, a translation, as `train.loop.train` does.

    Args:
        config: The experiment.
        run: Folder of the run.
        wandb: Project of Weights and Biases to log to as well.
        say: Receives lines for the user.

    Returns:
        Whether the run is complete; False after SIGINT or SIGTERM, which leave a checkpoint.

    Raises:
        UserError: If the config, a dataset or the folder cannot be used, or losses stay not finite.
    """
    validate_translation(config)
    if wandb is not None:
        check_wandb()
    data = TranslationData(config)
    data.check()
    if words := channel_words(config.generator.image_channels):
        say(words)
    devices = find_devices(config.train.platform, config.train.devices)
    placement = place_on(devices, config.train.fsdp)
    translators = LatestTranslators(config, placement)

    def sample(state: TranslationState, indices: Sequence[int]) -> np.ndarray:
        images = data.held_out("source", max(indices) + 1)[np.asarray(indices)]
        return translators.translate(state, "target", images)

    return train(
        translation_trainable(config, placement, sample),
        placement,
        config,
        run,
        data.batches,
        make_translation_observers(config, run, data, translators, beside_bars(say)),
        wandb=wandb,
        identities=data.identity(),
        say=say,
    )


def make_translation_observers(
    config: TranslationConfig,
    run: pathlib.Path,
    data: TranslationData,
    translators: LatestTranslators,
    say: Callable[[str], None] = print,
) -> Sequence[Observer]:
    """Return the observers of a run: figures of both directions, metrics, and their curve."""
    options = config.train
    figures, curve = BestEffort(say), BestEffort(say)
    draw = functools.partial(draw_translations, translators, data, run, figures)
    made = [Observer(options.image_kimg, draw, at_once=True)]
    size = config.generator.image_size
    requests = parse_training_requests(options.metrics, options.metric_images, size)
    if requests and options.metric_kimg:
        real = min(images.training_images() for images in data.sets.values())
        batch = translators.plain.batch_size
        networks = networks_for(requests, real, translators.placement, batch)

        @functools.cache
        def measures() -> dict[str, TrainingMetrics]:  # reads data, so not before it is needed
            return {
                kind: TrainingMetrics(
                    requests,
                    dataset_images(data.sets[kind].open("train")),
                    functools.partial(data.held_out, kind),
                    networks,
                )
                for kind in SETS
            }

        def measure(now: Snapshot) -> dict[str, float]:
            return measure_translations(translators, data, measures(), options.metric_images, now)

        made.append(Observer(options.metric_kimg, measure))
    made.append(Observer(options.image_kimg, functools.partial(draw_curve, run, curve)))
    return made


def measure_translations(
    translators: LatestTranslators,
    data: TranslationData,
    measures: Mapping[str, TrainingMetrics],
    count: int,
    now: Snapshot,
) -> dict[str, float]:
    """Return metrics of translations of held-out images; "back_" are into the source.

    Where the truth is known, "metric/error" and "metric/back_error" are distances to it
    (`pair_error`).
    """
    numbers: dict[str, float] = {}
    known = data.truth(count)
    for kind, prefix in (("target", "metric/"), ("source", "metric/back_")):
        images = data.held_out(OTHER[kind], count)

        def sample(indices: Sequence[int], kind: str = kind, images: Any = images) -> np.ndarray:
            chosen = images[np.asarray(indices) % len(images)]
            return translators.translate(now.state, kind, chosen)

        found = measures[kind](checked(dataclasses.replace(now, sample=sample)))
        numbers |= {prefix + name.removeprefix("metric/"): each for name, each in found.items()}
        if known:
            truth = data.held_out(kind, count)[: len(images)]
            translated = translators.translate(now.state, kind, images[: len(truth)])
            numbers[f"{prefix}error"] = pair_error(translated, truth)
    return numbers


def draw_translations(
    translators: LatestTranslators,
    data: TranslationData,
    run: pathlib.Path,
    attempt: BestEffort,
    now: Snapshot,
) -> Mapping[str, np.ndarray]:
    """Write held-out images, their translations, and those back, to `<run>/samples`.

    With components, the attention of translations into the target as well. Returns both for the
    log.
    """
    params = translators.params(now.state)
    held_out = {kind: data.held_out(kind, COLUMNS) for kind in SETS}  # by all: it may render them
    if not hosts.is_first():
        return {}
    rows, names, drawn = [], [], {}
    for kind in SETS[::-1]:
        images = held_out[OTHER[kind]]
        there = translators.with_attention(params[kind], images)
        back = translators.plain(params[OTHER[kind]], there.images)
        rows += [images, there.images, back.images]
        names += [OTHER[kind], f"to {kind}", "and back"]
        if kind == "target" and there.attention:
            drawn["images/attention"] = (
                "-attention",
                visualize.attention_figure(images, there.attention, len(images)),
            )
    scale = max(1, 64 // max(images.shape[1:3]))
    grid = visualize.image_grid(np.concatenate(rows), len(rows[0]), scale=scale, row_headings=names)
    drawn["images/translations"] = "", grid
    for suffix, image in drawn.values():
        path = run / "samples" / f"{now.step:08d}{suffix}.png"
        attempt(str(path), visualize.save_png, path, image)
    return {name: image for name, (_, image) in drawn.items()}
