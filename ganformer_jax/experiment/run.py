"""Training of an experiment of any kind, as the command `train` runs it."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ganformer_jax.config import Config
from ganformer_jax.config_kinds import validate_experiment
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.initial_weights import warm_start
from ganformer_jax.experiment.kind_data import DATA
from ganformer_jax.experiment.kinds import TRAININGS
from ganformer_jax.experiment.observers import make_observers
from ganformer_jax.pixels import channel_words
from ganformer_jax.train.devices import find_devices, place_on
from ganformer_jax.train.loop import train
from ganformer_jax.train.progress import beside_bars
from ganformer_jax.train.trainable import State
from ganformer_jax.train.wandb_log import check_wandb


def train_experiment(
    config: Any,
    run: pathlib.Path,
    *,
    init_from: str | None = None,
    wandb: str | None = None,
    say: Callable[[str], None] = print,
) -> bool:
    """Train, or resume, an experiment, as `train.loop.train` does.

    Args:
        config: The experiment, of a kind in `config_kinds.KINDS`.
        run: Folder of the run.
        init_from: What a new run of a GAN starts from: folder of another run, or path or URL of an
            export or a published snapshot.
        wandb: Project of Weights and Biases to log to as well.
        say: Receives lines for the user.

    Returns:
        Whether the run is complete; False after SIGINT or SIGTERM, which leave a checkpoint.

    Raises:
        UserError: If the config, the data or the folder cannot be used, the kind has no
            `init_from`, or losses stay not finite.
    """
    validate_experiment(config)
    if init_from is not None and not isinstance(config, Config):
        raise UserError("--init-from is for GANs: leave it out")
    if wandb is not None:
        check_wandb()
    kind, data = TRAININGS[type(config)], DATA[type(config)](config)
    data.check()  # scenes are rendered once the run's folder is known to be good
    devices = find_devices(config.train.platform, config.train.devices)
    placement = place_on(devices, config.train.fsdp)
    latest = kind.latest(config, placement)
    if words := channel_words(latest.image_shape[-1]):
        say(words)

    def batches(images_seen: int) -> Iterator[dict[str, np.ndarray]]:
        data.save_label_names(run)
        return data.batches(images_seen)

    return train(
        kind.trainable(config, placement, functools.partial(latest.images, data)),
        placement,
        config,
        run,
        batches,
        make_observers(config.train, run, data, latest, beside_bars(say)),
        warm_start=_start(init_from, config, run, say),
        wandb=wandb,
        identities=data.identity(),
        say=say,
    )


def _start(
    source: str | None, config: Any, run: pathlib.Path, say: Callable[[str], None]
) -> Callable[[State], State] | None:
    """Return what puts other weights into the first state of a new run, if there are any."""
    if source is None:
        return None
    if any(path.name.isdigit() for path in (run / "checkpoints").glob("*")):
        say("--init-from has no effect: the run resumes")
        return None
    return warm_start(source, config, run, say)
