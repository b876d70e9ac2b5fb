"""The command `train`."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from ganformer_jax.cli.options import DEFAULT_CONFIG, HostOptions, config_option
from ganformer_jax.cli.streams import lenient_streams
from ganformer_jax.config import Config
from ganformer_jax.config.dicts import to_dict
from ganformer_jax.config.files import CONFIG_FILE, load_experiment
from ganformer_jax.config.ganformer2 import GANformer2Config
from ganformer_jax.config.kinds import validate_experiment
from ganformer_jax.config.prior import PriorConfig
from ganformer_jax.config.translation import TranslationConfig
from ganformer_jax.errors import UserError
from ganformer_jax.signals import Stopped

STOP_CODES = (0, *range(3, 126))
"""Codes that a user may choose: errors use 1 and 2, and shells those from 126 up."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a run, or resume it from its newest checkpoint."""

    config: pathlib.Path = DEFAULT_CONFIG
    """Name of a built-in config, such as ffhq, or path of a config file or
    of a run's config.json. It sets the defaults of the options below."""
    workdir: pathlib.Path | None = None
    """Folder of the run; by default runs/ and the name of the config. Needed if
    the config is a run's config.json."""
    init_from: str | None = None
    """Weights that a new run starts from: folder of a run, or path or http(s) URL
    of an export or a published snapshot. Classes, image channels, resolution
    and components may differ."""
    init_text: pathlib.Path | None = None
    """Folder of a published BERT, with Hugging Face's file names, from which the
    caption encoders of a new run start."""
    wandb: str | None = None
    """Project of Weights and Biases to log to as well; not stored in the run's
    config."""
    dry_run: bool = False
    """Print the resolved config as JSON and exit."""
    compile_only: bool = False
    """Compile the run's programs into the cache, print the device memory that
    each needs, and exit."""
    slice: str | None = None
    """TPU slice to compile for with --compile-only, such as v5e:2x4; no TPU is
    needed."""
    stop_code: int = 0
    """Exit code of a run that a signal stopped, for supervisors that restart a
    command when its code is not 0; for example 75. A complete run exits with 0."""
    hosts: HostOptions = HostOptions()
    experiment: Annotated[Config, tyro.conf.arg(name="")] = Config()


@dataclasses.dataclass(frozen=True)
class TranslationOptions(Options):
    """Train a translation between two sets of images, or resume it from its newest checkpoint."""

    experiment: Annotated[TranslationConfig, tyro.conf.arg(name="")] = TranslationConfig()  # type: ignore[assignment]


@dataclasses.dataclass(frozen=True)
class PriorOptions(Options):
    """Train an autoencoder and a prior over its codes, or resume it from its newest checkpoint."""

    experiment: Annotated[PriorConfig, tyro.conf.arg(name="")] = PriorConfig()  # type: ignore[assignment]


@dataclasses.dataclass(frozen=True)
class GANformer2Options(Options):
    """Train a GANformer2, planning and execution, or resume it from its newest checkpoint."""

    experiment: Annotated[GANformer2Config, tyro.conf.arg(name="")] = GANformer2Config()  # type: ignore[assignment]


OPTIONS = {
    Config: Options,
    TranslationConfig: TranslationOptions,
    PriorConfig: PriorOptions,
    GANformer2Config: GANformer2Options,
}
"""Options by the class of the config that `--config` names."""


def defaults(arguments: Sequence[str]) -> Options:
    """Return the default options for the config that the command line names."""
    config = config_option(arguments)
    experiment = load_experiment(config)
    return OPTIONS[type(experiment)](config, experiment=experiment)


def run(options: Options) -> None:
    """Train until the length is reached or a signal arrives."""
    config = options.experiment
    validate_experiment(config)
    if options.stop_code not in STOP_CODES:
        raise UserError(f"--stop-code {options.stop_code}: give 0, or a code from 3 to 125")
    if options.dry_run:
        print(json.dumps(to_dict(config), indent=2))
        return
    if options.slice is not None:
        if not options.compile_only:
            raise UserError("--slice needs --compile-only: add it")
        compile_for_slice(config, options.slice)
        return

    workdir = options.workdir or default_workdir(options)
    options.hosts.connect(preemption=True)
    from ganformer_jax.cli.devices import prepare_cpu
    from ganformer_jax.experiment.run import (
        train_experiment,
    )  # imports more than parsing needs
    from ganformer_jax.train.devices import smallest_batch

    prepare_cpu(smallest_batch(config), config.train.devices, config.train.platform)
    if options.compile_only:
        from ganformer_jax.experiment.precompile import precompile

        precompile(config)
        return
    with lenient_streams():
        done = train_experiment(
            config,
            workdir,
            init_from=options.init_from,
            init_text=options.init_text,
            wandb=options.wandb,
        )
    if not done:
        raise Stopped(agreed=True)


def default_workdir(options: Options) -> pathlib.Path:
    """Return the folder of a run whose options name none: `runs/` and the name of the config.

    Raises:
        UserError: If the config is that of a run, whose file name says nothing, unless earlier
            versions made a run there.
    """
    config, workdir = options.config, pathlib.Path("runs") / options.config.stem
    if config.name == CONFIG_FILE and not (options.compile_only or workdir.exists()):
        raise UserError(
            f"{config} is the config of a run: give --workdir {config.parent} to resume that run, "
            "or another folder for a new one"
        )
    return workdir


def compile_for_slice(config: Any, slice_name: str) -> None:
    """Compile the programs of a run for a TPU slice, which need not be attached."""
    from ganformer_jax.caches import keep_compiled_programs
    from ganformer_jax.experiment.precompile import precompile

    keep_compiled_programs()
    precompile(config, slice_name)
