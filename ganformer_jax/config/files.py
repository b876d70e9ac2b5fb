"""Configs as files: finding and reading them.

A config file is a Python file that defines `config = Config(...)`. Those in `configs/` are
built in: they are installed with the package and found by name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import re
import runpy
import sys
import traceback
from collections.abc import Iterator
from typing import Any, get_type_hints

from ganformer_jax.config.dicts import to_dict
from ganformer_jax.config.gan import Config
from ganformer_jax.config.kinds import KINDS, experiment_from_dict, kind_of
from ganformer_jax.errors import UserError, did_you_mean, one_line

CONFIG_FILE = "config.json"
"""Name of the config in the folder of a run."""


def built_in_configs() -> dict[str, pathlib.Path]:
    """Return the files of the built-in configs by name."""
    package = pathlib.Path(__file__).resolve().parents[1]
    folder = package / "configs"  # where they are installed; in a checkout they are one level up
    if not folder.is_dir():
        folder = package.parent / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.py"))}


def find_config(name: str | pathlib.Path) -> pathlib.Path:
    """Return the file of a config by path or, from any folder, as `ffhq` or `configs/ffhq.py`."""
    path, built_in = pathlib.Path(name), built_in_configs()
    if str(path) in built_in:
        return built_in[str(path)]
    if path.is_file():
        return path
    if path.stem in built_in and path == pathlib.Path("configs", f"{path.stem}.py"):
        return built_in[path.stem]
    nearby = sorted(p.name for p in path.parent.glob("*.py"))
    near = did_you_mean(path.name, [*nearby, *built_in])
    raise UserError(f"no config {path} (the built-in ones: {', '.join(built_in)}){near}")


def load_config(name: str | pathlib.Path) -> Config:
    """Read the config of a GAN, as `load_experiment`; raise `UserError` for another kind."""
    config = load_experiment(name)
    if not isinstance(config, Config):
        kind = kind_of(config)
        raise UserError(f"{name} is of kind {kind}, not of a GAN: read it with load_experiment")
    return config


def load_experiment(name: str | pathlib.Path) -> Any:
    """Read a config of any kind, every value checked against its type.

    Args:
        name: Name of a built-in config, a Python file that defines `config = Config(...)`, or
            that of another kind, or the `config.json` of a run.

    Raises:
        UserError: If there is no such config, or it cannot be read; the message names the field.
    """
    path = find_config(name)
    try:
        values = json.loads(path.read_text()) if path.suffix == ".json" else to_dict(_run(path))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    try:
        return experiment_from_dict(values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _run(path: pathlib.Path) -> Any:
    """Run a Python file and return its `config`."""
    folder, known = str(path.resolve().parent), {*sys.modules}
    sys.path.insert(0, folder)  # for configs that import one beside them
    try:
        config = runpy.run_path(str(path)).get("config")
    except SystemExit as error:
        raise UserError(f"{path} ended the command (exit code {error.code})") from error
    except SyntaxError as error:
        raise UserError(f"{error.filename}, line {error.lineno}: {error.msg}") from error
    except UserError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        where = f", line {lines[-1]}" if lines else ""
        raise UserError(f"{path}{where}: {_reason(error)}") from error
    finally:
        with contextlib.suppress(ValueError):  # as if the file had changed the path itself
            sys.path.remove(folder)
        _forget_files(folder, known)
    if not isinstance(config, tuple(kind.config for kind in KINDS.values())):
        raise UserError(f"{path} must define `config = Config(...)`")
    return config


def _forget_files(folder: str, known: set[str]) -> None:
    """Forget files of a folder that were imported: those of another may have the same names."""
    for name in sys.modules.keys() - known:
        if getattr(sys.modules[name], "__file__", None) == str(pathlib.Path(folder, f"{name}.py")):
            del sys.modules[name]


def _reason(error: Exception) -> str:
    """Return in one line what a config file raised, with the field nearest to an unknown one."""
    found = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    classes = {part.__name__: part for kind in KINDS.values() for part in _parts(kind.config)}
    if not found or found[1] not in classes:
        return one_line(error)
    near = did_you_mean(found[2], [field.name for field in dataclasses.fields(classes[found[1]])])
    return f"{found[1]} has no field {found[2]}{near}"


def _parts(config: type[Any]) -> Iterator[type[Any]]:
    """Yield a class of configs, and those of its fields."""
    yield config
    for hint in get_type_hints(config).values():
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from _parts(hint)
