"""`train`: puts data, training, sampling, pictures and the quality number together."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Annotated

import tyro

from ganformer_jax.caches import keep_compiled_programs
from ganformer_jax.cli.options import DEFAULT_CONFIG, config_option
from ganformer_jax.config import Config
from ganformer_jax.config_checks import validate
from ganformer_jax.config_files import load_config, to_dict


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a run, or resume it from its newest checkpoint."""

    config: pathlib.Path = DEFAULT_CONFIG
    """Name of a published config, such as ffhq, or path of a config file or
    of a run's config.json. It sets the defaults of the options below."""
    workdir: pathlib.Path | None = None
    """Folder of the run; by default runs/ and the name of the config."""
    init_from: pathlib.Path | None = None
    """Folder of another run, whose weights a new run starts from."""
    dry_run: bool = False
    """Print the resolved config as JSON and exit."""
    experiment: Annotated[Config, tyro.conf.arg(name="")] = Config()


def defaults(arguments: Sequence[str]) -> Options:
    """Return the options that hold where the command line sets no others.

    Raises:
        UserError: If there is no such config, or it cannot be read.
    """
    config = config_option(arguments)
    return Options(config, experiment=load_config(config))


def run(options: Options) -> None:
    """Trains until the length is reached or a signal arrives."""
    config = options.experiment
    validate(config)
    if options.dry_run:
        print(json.dumps(to_dict(config), indent=2))
        return
    workdir = options.workdir or pathlib.Path("runs") / options.config.stem
    keep_compiled_programs()

    from ganformer_jax.cli.observers import observers  # reading data needs much more
    from ganformer_jax.cli.run_data import Data
    from ganformer_jax.train import loop
    from ganformer_jax.train.cpu import nothing_but_cpu, one_device_per_core
    from ganformer_jax.train.heap import keep_freed_memory, leave_fragments

    own_heap = nothing_but_cpu(config.train.platform) and keep_freed_memory()
    one_device_per_core(config)
    data = Data(config)
    if config.data.name != "scenes":  # which are made when the run's folder is known to be good
        data.open("train")
    init_from = str(options.init_from) if options.init_from else None
    loop.train(
        config,
        workdir,
        lambda start_step: data.batches(start_step, workdir),
        observers(config, workdir, data),
        init_from=init_from,
        after_compile=leave_fragments if own_heap else None,
    )
