"""`train`: puts data, training, sampling, pictures and the quality number together."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Annotated

import tyro

from ganformer_jax.caches import keep_compiled_programs
from ganformer_jax.cli.options import DEFAULT_CONFIG, config_of, parse
from ganformer_jax.config import Config
from ganformer_jax.config_files import to_dict
from ganformer_jax.models import validate_networks


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a run. The same command again continues it from its newest checkpoint."""

    config: pathlib.Path = DEFAULT_CONFIG
    """File that defines `config = Config(...)`, or a run's config.json: the defaults below."""
    workdir: pathlib.Path | None = None
    """Folder of the run; by default runs/<name of the config file>."""
    init_from: pathlib.Path | None = None
    """Folder of another run whose weights a new run starts from."""
    dry_run: bool = False
    """Print the resolved experiment as JSON and exit."""
    experiment: Annotated[Config, tyro.conf.arg(name="")] = Config()


def run(arguments: Sequence[str], program: str) -> None:
    """Trains until the length is reached or a signal arrives."""
    path, config = config_of(arguments)
    options = parse(Options(path, experiment=config), arguments, program)
    config = options.experiment
    validate_networks(config.generator, config.discriminator)
    if options.dry_run:
        print(json.dumps(to_dict(config), indent=2))
        return
    keep_compiled_programs()

    from ganformer_jax.cli.heap import tune_heap
    from ganformer_jax.experiment.run import train_experiment  # needs much more than parsing
    from ganformer_jax.train.devices import divide_cpu, runs_on_cpu, smallest_batch

    if runs_on_cpu(config.train.platform):
        tune_heap()
    divide_cpu(smallest_batch(config), config.train.devices)
    workdir = options.workdir or pathlib.Path("runs") / path.stem
    train_experiment(config, workdir, init_from=options.init_from)
