"""What is done with the averaged generator while it trains, and the data of a run."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax import visualize
from ganformer_jax.config import Config
from ganformer_jax.data.batches import DatasetSource, held_out_images, open_dataset, train_batches
from ganformer_jax.errors import UserError
from ganformer_jax.metrics.sliced_wasserstein import COARSEST, sliced_wasserstein
from ganformer_jax.models import stack_attention
from ganformer_jax.sampling import Sampler, Samples
from ganformer_jax.train.loop import Observer, Snapshot

GRID = 32
"""Images in a sample grid; always those of seeds 0, 1, ..."""
GRID_COLUMNS = 8
ATTENTION_ROWS = 6
"""Images whose attention is drawn."""


class Data:
    """The data of a run, opened (and for scenes made) when first asked for."""

    def __init__(self, config: Config):
        self.config = config

    @functools.cached_property
    def folder(self) -> str:
        """Name or folder of the prepared dataset."""
        data = self.config.data
        if data.name != "scenes":
            return data.name
        from ganformer_jax.data.scenes_dataset import prepare_scenes

        builder = prepare_scenes(
            data.directory,
            self.config.generator.resolution,
            data.train_images,
            data.held_out_images,
        )
        return str(builder.data_path)

    def open(self, split: str) -> DatasetSource:
        """Opens a split at the generator's resolution."""
        generator = self.config.generator
        source = open_dataset(
            self.folder,
            self.config.data.directory,
            resolution=generator.resolution,
            split=split,
            channels=generator.image_channels,
        )
        if generator.label_size not in (0, source.label_count):
            raise UserError(
                f"generator.label_size is {generator.label_size}, but {source.name} has "
                f"{source.label_count} classes"
            )
        return source

    def batches(self, start_step: int) -> Iterator[dict[str, np.ndarray]]:
        """Goes on with this process's share of the training batches."""
        return train_batches(
            self.open("train"),
            batch_size=self.config.train.batch_size,
            seed=self.config.train.seed,
            start_step=start_step,
            mirror=self.config.data.mirror,
            host_index=jax.process_index(),
            host_count=jax.process_count(),
            threads=self.config.data.threads,
        )

    @functools.cached_property
    def held_out(self) -> np.ndarray:
        """Images to compare with: of the test split, or of training where there is none."""
        source = self.open("train")
        for split in ("test", "validation"):
            try:
                source = self.open(split)
                break
            except UserError:
                continue
        return held_out_images(source, min(self.config.train.metric_images, len(source)))


def observers(config: Config, workdir: pathlib.Path, data: Data) -> Sequence[Observer]:
    """Makes the observers of a run: sample grids, the quality number, and the curve of both."""
    made = [Observer(config.train.image_kimg, functools.partial(draw_samples, config, workdir))]
    if config.generator.resolution >= COARSEST:
        measured = functools.partial(measure, config, data)
        made.append(Observer(config.train.metric_kimg, measured))
    made.append(Observer(config.train.image_kimg, functools.partial(draw_curve, workdir)))
    return made


def draw_samples(config: Config, workdir: pathlib.Path, now: Snapshot) -> Mapping[str, float]:
    """Writes a grid of samples, and their attention, to `<workdir>/samples`."""
    samples = _sampler(config, now)(now.variables, range(GRID), _labels(config, GRID))
    folder = workdir / "samples"
    scale = max(1, 64 // config.generator.resolution)
    grid = visualize.image_grid(samples.images, columns=GRID_COLUMNS, scale=scale)
    visualize.save_png(folder / f"{now.step:08d}.png", grid)
    if samples.attention:
        figure = attention_figure(samples, ATTENTION_ROWS)
        visualize.save_png(folder / f"{now.step:08d}-attention.png", figure)
    return {}


def measure(config: Config, data: Data, now: Snapshot) -> Mapping[str, float]:
    """Measures the sliced Wasserstein distance to held-out images."""
    real, sampler = data.held_out, _sampler(config, now)
    fake = sampler.images(now.variables, range(len(real)), _labels(config, len(real)))
    numbers = sliced_wasserstein(real, fake, jax.random.key(0))
    return {f"metric/{name}": value for name, value in numbers.items()}


def draw_curve(workdir: pathlib.Path, now: Snapshot) -> Mapping[str, float]:
    """Draws losses and quality so far to `<workdir>/curve.png`."""
    if now.step:
        visualize.training_curve(workdir / "metrics.jsonl", workdir / "curve.png")
    return {}


def attention_figure(samples: Samples, rows: int) -> np.ndarray:
    """Draws the attention of the first samples: heads and layers of the finest grid, averaged."""
    finest = max(layer.shape[-1] for layer in samples.attention)
    maps = [jnp.asarray(layer[:rows]) for layer in samples.attention if layer.shape[-1] == finest]
    stacked = np.asarray(stack_attention(maps, finest))
    return visualize.attention_grid(samples.images[:rows], visualize.reduce_attention(stacked))


def _labels(config: Config, count: int) -> list[int] | None:
    """Takes the classes in turn."""
    classes = config.generator.label_size
    return [i % classes for i in range(count)] if classes else None


def _sampler(config: Config, now: Snapshot) -> Sampler:
    """One sampler for pictures and numbers, as it takes long to compile."""
    devices = now.divided.num_devices
    batch = GRID if GRID % devices == 0 else config.train.batch_size
    return Sampler(config.generator, batch, attention=True, divided=now.divided)
