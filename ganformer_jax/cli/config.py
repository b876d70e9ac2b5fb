"""`config`: prints the experiment that a config file and options add up to."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import tyro

from ganformer_jax.cli.options import DEFAULT_CONFIG, config_of, parse
from ganformer_jax.config import Config
from ganformer_jax.config_files import to_dict


@dataclasses.dataclass(frozen=True)
class Options:
    """Print the experiment that a config file and options add up to."""

    config: pathlib.Path = DEFAULT_CONFIG
    """File that defines `config = Config(...)`, or a run's config.json."""
    list: bool = False
    """One option a line, as the command line spells it, instead of JSON."""
    experiment: Annotated[Config, tyro.conf.arg(name="")] = Config()


def run(arguments: Sequence[str], program: str) -> None:
    """Prints to standard output."""
    path, config = config_of(arguments)
    options = parse(Options(path, experiment=config), arguments, program)
    values = to_dict(options.experiment)
    lines = _flat(values) if options.list else [json.dumps(values, indent=2)]
    print("\n".join(lines))


def _flat(values: dict[str, Any], prefix: str = "--") -> Iterator[str]:
    for name, value in values.items():
        spelled = prefix + name.replace("_", "-")
        if isinstance(value, dict):
            yield from _flat(value, f"{spelled}.")
        else:
            yield f"{spelled} {' '.join(map(str, value)) if isinstance(value, list) else value}"
