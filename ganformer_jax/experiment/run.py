"""Training of an experiment, as the command `train` runs it."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ganformer_jax import hosts
from ganformer_jax.config import Config
from ganformer_jax.config_checks import validate
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.data import ExperimentData
from ganformer_jax.experiment.initial_weights import warm_start
from ganformer_jax.experiment.observers import LatestGenerator, make_observers
from ganformer_jax.pixels import channel_words
from ganformer_jax.train.devices import find_devices, place_on
from ganformer_jax.train.loop import train
from ganformer_jax.train.progress import beside_bars
from ganformer_jax.train.state import TrainState
from ganformer_jax.train.updates import gan_trainable
from ganformer_jax.train.wandb_log import check_wandb


def train_experiment(
    config: Config,
    run: pathlib.Path,
    *,
    init_from: str | None = None,
    wandb: str | None = None,
    say: Callable[[str], None] = print,
) -> bool:
    """Train, or resume, an experiment, as `train.loop.train` does.

    Args:
        config: The experiment.
        run: Folder of the run.
        init_from: What a new run starts from: folder of another run, or path or URL of an export
            or a published snapshot.
        wandb: Project of Weights and Biases to log to as well.
        say: Receives lines for the user.

    Returns:
        Whether the run is complete; False after SIGINT or SIGTERM, which leave a checkpoint.

    Raises:
        UserError: If the config, the dataset or the folder cannot be used, or losses stay not
            finite.
    """
    validate(config)
    if config.generator.text.vocabulary and hosts.count() > 1:
        raise UserError(
            "several processes cannot train on captions yet, as they would wait for each other: "
            "start one"
        )
    if wandb is not None:
        check_wandb()
    data = ExperimentData(config)
    if not config.data.rendered:  # scenes are rendered once the run's folder is known to be good
        count = len(data.open("train"))
        hosts.check_equal({"the number of training images": count})
    if words := channel_words(config.generator.image_channels):
        say(words)
    devices = find_devices(config.train.platform, config.train.devices)
    placement = place_on(devices, config.train.fsdp)
    generator = LatestGenerator(config, placement)

    def sample(state: TrainState, indices: Sequence[int]) -> np.ndarray:
        return generator.sampler.images(generator.variables(state), indices, data.labels(indices))

    start = None
    if init_from is not None:
        if any(path.name.isdigit() for path in (run / "checkpoints").glob("*")):
            say("--init-from has no effect: the run resumes")
        else:
            start = warm_start(init_from, config, run, say)

    def batches(images_seen: int) -> Iterator[dict[str, np.ndarray]]:
        data.save_label_names(run)
        return data.batches(images_seen)

    return train(
        gan_trainable(config, placement, sample),
        placement,
        config,
        run,
        batches,
        make_observers(config, run, data, generator, beside_bars(say)),
        warm_start=start,
        wandb=wandb,
        identities=data.identity(),
        say=say,
    )
