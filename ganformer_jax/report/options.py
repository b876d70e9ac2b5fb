"""The options of a run, compared with the defaults and a built-in config, and its command."""

from __future__ import annotations

import dataclasses
import functools
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ganformer_jax.config.dicts import to_dict
from ganformer_jax.config.files import built_in_configs, load_experiment
from ganformer_jax.report.run_files import Run, defaults_of, flatten, kind_of_options

MISSING = "not stored"


@dataclasses.dataclass(frozen=True)
class Option:
    """An option of a run.

    Attributes:
        name: Dotted name.
        value: Its value, as JSON.
        default: The default, as JSON.
        built_in: The value in the nearest built-in config, as JSON.
    """

    name: str
    value: str
    default: str
    built_in: str

    @property
    def changed(self) -> bool:
        """Whether it differs from the built-in config."""
        return self.value != self.built_in

    @property
    def set(self) -> bool:
        """Whether it differs from the default."""
        return self.value != self.default


@dataclasses.dataclass(frozen=True)
class OptionTable:
    """Options of a run by group, and the built-in config with the fewest differences."""

    built_in: str
    groups: Mapping[str, Sequence[Option]]

    @property
    def changed(self) -> list[Option]:
        """List the options that differ from the built-in config."""
        return [option for option in self._all() if option.changed]

    @property
    def not_default(self) -> int:
        """Number of options that differ from the defaults."""
        return sum(option.set for option in self._all())

    def _all(self) -> Iterator[Option]:
        return (option for group in self.groups.values() for option in group)


def option_table(run: Run) -> OptionTable:
    """Return the options of a run."""
    name, defaults = nearest_config(run.options), defaults_of(run.options)
    built_in = _built_in()[name]
    groups: dict[str, list[Option]] = {}
    for option, value in run.options.items():
        others = [_text(values.get(option, MISSING)) for values in (defaults, built_in)]
        groups.setdefault(option.partition(".")[0], []).append(
            Option(option, _text(value), *others)
        )
    return OptionTable(name, groups)


def nearest_config(options: Mapping[str, Any]) -> str:
    """Return the name of the built-in config of its kind with the fewest differences."""
    kind = kind_of_options(options)
    configs = {n: each for n, each in _built_in().items() if kind_of_options(each) == kind}
    return min(configs, key=lambda name: len(_differing(options, configs[name])))


def train_command(run: Run, program: str) -> str | None:
    """Return the command that trains such a run; None without a config.

    Args:
        run: The run.
        program: Command that starts the program.
    """
    if not run.options:
        return None
    name = nearest_config(run.options)
    words = [*program.split(), "train", "--config", name, "--workdir", f"runs/{run.folder.name}"]
    for option, value in _differing(run.options, _built_in()[name]).items():
        words += _words(option.replace("_", "-"), value)
    return shlex.join(words)


def differing_options(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Return the options that are not the same in all runs, as JSON; the default if not stored."""
    names = dict.fromkeys(name for run in runs for name in run.options)
    rows = {n: [_text(run.option(n)) if run.options else MISSING for run in runs] for n in names}
    known = [bool(run.options) for run in runs]
    return {
        name: row
        for name, row in rows.items()
        if len({text for text, is_known in zip(row, known, strict=True) if is_known}) > 1
    }


@functools.cache
def _built_in() -> dict[str, dict[str, Any]]:
    configs = {name: to_dict(load_experiment(name)) for name in built_in_configs()}
    return {name: flatten(json.loads(json.dumps(config))) for name, config in configs.items()}


def _differing(options: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of this version that differ, with defaults for those not stored."""
    stored = {name: options.get(name, default) for name, default in defaults_of(options).items()}
    return {name: value for name, value in stored.items() if value != others[name]}


def _words(name: str, value: Any) -> list[str]:
    """Return an option as on the command line."""
    if isinstance(value, bool):
        group, _, last = name.rpartition(".")
        return [f"--{name}" if value else f"--{group}.no-{last}"]
    values = value if isinstance(value, list) else [value]
    return [f"--{name}", *map(str, values)]


def _text(value: Any) -> str:
    return value if value is MISSING else json.dumps(value, ensure_ascii=False)
