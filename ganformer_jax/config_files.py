"""Configs as files and as JSON: finding and reading them, checking names and types.

A config file is a Python file that defines `config = Config(...)`. Those in `configs/` are
published: they are installed with the package and found by name.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import runpy
import traceback
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from ganformer_jax import config as config_module
from ganformer_jax.config import Config
from ganformer_jax.errors import UserError, did_you_mean, one_line

T = TypeVar("T")


def published_configs() -> dict[str, pathlib.Path]:
    """Return the files of the published configs by name."""
    package = pathlib.Path(__file__).resolve().parent
    folder = package / "configs"  # where they are installed; in a checkout they are one level up
    if not folder.is_dir():
        folder = package.parent / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.py"))}


def find_config(name: str | pathlib.Path) -> pathlib.Path:
    """Return the file of a config by path or, from any folder, as `ffhq` or `configs/ffhq.py`."""
    path, published = pathlib.Path(name), published_configs()
    if str(path) in published:
        return published[str(path)]
    if path.is_file():
        return path
    if path.stem in published and path == pathlib.Path("configs", f"{path.stem}.py"):
        return published[path.stem]
    nearby = sorted(p.name for p in path.parent.glob("*.py"))
    near = did_you_mean(path.name, [*nearby, *published])
    raise UserError(f"no config {path} (the published ones: {', '.join(published)}){near}")


def load_config(name: str | pathlib.Path) -> Config:
    """Read a config, every value checked against its type.

    Args:
        name: Name of a published config, a Python file that defines `config = Config(...)`, or the
            `config.json` of a run.

    Raises:
        UserError: If there is no such config, or it cannot be read; the message names the field.
    """
    path = find_config(name)
    try:
        values = json.loads(path.read_text()) if path.suffix == ".json" else to_dict(_run(path))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    try:
        return from_dict(Config, values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _run(path: pathlib.Path) -> Config:
    """Run a Python file and return its `config`."""
    try:
        config = runpy.run_path(str(path)).get("config")
    except SyntaxError as error:
        raise UserError(f"{error.filename}, line {error.lineno}: {error.msg}") from error
    except UserError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        where = f", line {lines[-1]}" if lines else ""
        raise UserError(f"{path}{where}: {_reason(error)}") from error
    if not isinstance(config, Config):
        raise UserError(f"{path} must define `config = Config(...)`")
    return config


def _reason(error: Exception) -> str:
    """Return in one line what a config file raised, with the field nearest to an unknown one."""
    found = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    kind = getattr(config_module, found[1], None) if found else None
    if not found or kind is None:
        return one_line(error)
    near = did_you_mean(found[2], [field.name for field in dataclasses.fields(kind)])
    return f"{found[1]} has no field {found[2]}{near}"


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config dataclass as nested dicts and lists, which JSON can hold."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            names = [field.name for field in dataclasses.fields(value)]
            return {name: plain(getattr(value, name)) for name in names}
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    return plain(config)


def from_dict(kind: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """Build a config dataclass from nested dicts; fields left out keep their defaults.

    Args:
        kind: The dataclass, for example `Config` or `GeneratorConfig`.
        values: All or some of what `to_dict` returns.
        prefix: Dotted path of `values`, for messages.

    Raises:
        UserError: If a name is not a field, or a value is not of its field's type. Ranges are
            checked by `config_ranges.check_ranges`.
    """
    hints = typing.get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    if not isinstance(values, Mapping):
        raise UserError(f"{prefix.rstrip('.') or kind.__name__} must be a group of options")
    for name in values:
        if name not in known:
            raise UserError(f"unknown option {prefix}{name}{did_you_mean(name, known)}")
    checked = {n: _typed(hints[n], value, prefix + n) for n, value in values.items()}
    return kind(**checked)


def differences(a: Any, b: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Map the dotted name of each field that differs to its value in `a` and in `b`."""
    found = {}
    for field in dataclasses.fields(a):
        one, other = getattr(a, field.name), getattr(b, field.name)
        if dataclasses.is_dataclass(one):
            found |= differences(one, other, f"{prefix}{field.name}.")
        elif one != other:
            found[prefix + field.name] = (one, other)
    return found


def _typed(hint: Any, value: Any, name: str) -> Any:
    """Return a value as its field's type, or raise a `UserError` that names the field."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, f"{name}.")  # type: ignore[arg-type]
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (inner,) = [a for a in arguments if a is not type(None)]
        return _typed(inner, value, name)
    if origin is Literal:
        if value in arguments:
            return value
        choices = [str(choice) for choice in arguments]
        near = did_you_mean(value, choices)
        raise UserError(f"{name} must be one of {', '.join(choices)}, not {value!r}{near}")
    if origin is tuple:
        repeated = len(arguments) == 2 and arguments[1] is Ellipsis
        if isinstance(value, list | tuple) and (repeated or len(value) == len(arguments)):
            return tuple(_typed(arguments[0], item, name) for item in value)
        length = "" if repeated else f"{len(arguments)} "
        raise UserError(f"{name} must be a list of {length}values, not {value!r}")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise UserError(f"{name} must be of type {hint.__name__}, not {value!r}")
