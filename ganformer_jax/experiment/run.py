"""Training of an experiment of any kind, as the command `train` runs it."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from typing import Any

from ganformer_jax import hosts
from ganformer_jax.config import Config
from ganformer_jax.config.early_ends import early_ends
from ganformer_jax.config.kinds import validate_experiment
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.initial_text import start_from_bert
from ganformer_jax.experiment.initial_weights import warm_start
from ganformer_jax.experiment.kind_data import DATA
from ganformer_jax.experiment.kinds import TRAININGS
from ganformer_jax.experiment.observers import make_observers
from ganformer_jax.pixels import channel_words
from ganformer_jax.train.devices import find_devices, place_on
from ganformer_jax.train.logs.progress import beside_bars
from ganformer_jax.train.logs.wandb_log import check_wandb
from ganformer_jax.train.loop import train
from ganformer_jax.train.run_folder import check_accelerator
from ganformer_jax.train.stalls import Stalls
from ganformer_jax.train.trainable import State
from ganformer_jax.train.transfer.report import REPORT_FILE

WarmStart = Callable[[State], State]
"""Puts initial weights into the first state of a run."""


def train_experiment(
    config: Any,
    run: pathlib.Path,
    *,
    init_from: str | None = None,
    init_text: pathlib.Path | None = None,
    wandb: str | None = None,
    say: Callable[[str], None] = print,
) -> bool:
    """Train, or resume, an experiment, as `train.loop.train` does.

    Args:
        config: The experiment, of a kind in `config.kinds.KINDS`.
        run: Folder of the run.
        init_from: Initial weights of a new run of a GAN: folder of another run, or path or URL of
            an export or a published snapshot.
        init_text: Folder of a BERT that its encoders of captions start from; not with `init_from`.
        wandb: Project of Weights and Biases to log to as well.
        say: Receives lines for the user.

    Returns:
        Whether the run is complete; False after SIGINT or SIGTERM, which leave a checkpoint.

    Raises:
        UserError: If the config, the data or the folder cannot be used, the kind has no
            `init_from` or `init_text`, layers to freeze have no initial weights, or losses do not
            become finite again.
    """
    validate_experiment(config)
    option = _initial_weights_option(config, init_from, init_text)
    _check_frozen(config, option, run)
    if wandb is not None:
        check_wandb()
    kind, data = TRAININGS[type(config)], DATA[type(config)](config)
    say_once = say if hosts.is_first() else lambda line: None
    with Stalls(config.train.stall_minutes, say_once):
        data.check()  # scenes are rendered later, after the run's folder has been checked
        devices = find_devices(config.train.platform, config.train.devices)
        check_accelerator(run, devices, config.train.platform)
    placement = place_on(devices, config.train.fsdp)
    latest = kind.latest(config, placement)
    if words := channel_words(latest.image_shape[-1]):
        say_once(words)
    for line in early_ends(config):
        say_once(line)

    def read_initial_weights() -> WarmStart:
        if init_text is not None:
            return start_from_bert(init_text, config, data.tokenizer(), say_once)
        return warm_start(str(init_from), config, run, say_once, data.tokenizer())

    return train(
        kind.trainable(config, placement, functools.partial(latest.images, data)),
        placement,
        config,
        run,
        data.batches,
        make_observers(config.train, run, data, latest, beside_bars(say)),
        write_data_files=functools.partial(data.save_label_names, run),
        warm_start=_warm_start(option, read_initial_weights, run, say_once),
        wandb=wandb,
        identities=data.identity(),
        say=say,
    )


def _initial_weights_option(
    config: Any, init_from: str | None, init_text: pathlib.Path | None
) -> str | None:
    """Return the option that names initial weights, if one is given; refuse it if not for a GAN."""
    if init_from is not None and init_text is not None:
        raise UserError("--init-from and --init-text cannot be combined: leave one of them out")
    option = "--init-from" if init_from is not None else "--init-text" if init_text else None
    if option is not None and not isinstance(config, Config):
        raise UserError(f"{option} is for GANs: leave it out")
    return option


def _check_frozen(config: Any, option: str | None, run: pathlib.Path) -> None:
    """Refuse a new run whose frozen layers would stay as they are initialized."""
    frozen = config.train.freeze_discriminator if isinstance(config, Config) else 0
    if frozen and option != "--init-from" and not _has_checkpoints(run):
        raise UserError(
            f"train.freeze_discriminator is {frozen}, and without --init-from these layers would "
            "stay random: give it, or freeze none"
        )


def _has_checkpoints(run: pathlib.Path) -> bool:
    return hosts.first(lambda: any(p.name.isdigit() for p in (run / "checkpoints").glob("*")))


def _warm_start(
    option: str | None,
    read: Callable[[], WarmStart],
    run: pathlib.Path,
    say: Callable[[str], None],
) -> WarmStart | None:
    """Read the initial weights for a new run; return None without any, or for a resumed run.

    Raises:
        UserError: If an earlier command put weights into this run, but ended before a checkpoint.
    """
    resumes = _has_checkpoints(run)
    if option is None:
        if not resumes and hosts.first(lambda: (run / REPORT_FILE).is_file()):
            raise UserError(
                f"{run} began with the weights that {REPORT_FILE} there lists, and has no "
                "checkpoint yet: give --init-from again, or choose another --workdir"
            )
        return None
    if resumes:
        say(f"{option} has no effect: the run resumes")
        return None
    return read()
