"""Experiments as files and as JSON: reading `configs/*.py`, checking names and types.

A config file is a Python file that defines `config = Config(...)`. Whatever is wrong with a
file or a value ends in a `UserError` of one line that names the field, and for a name nobody
knows, the nearest one.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import pathlib
import re
import runpy
import traceback
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar

from ganformer_jax import config as config_module
from ganformer_jax.config import Config
from ganformer_jax.errors import UserError

T = TypeVar("T")


def load_config(path: str | pathlib.Path) -> Config:
    """Reads an experiment from a file, every value checked against its type.

    Args:
        path: A Python file that defines `config = Config(...)`, or a run's `config.json`.

    Raises:
        UserError: When the file is missing, does not run, defines no `config`, or a value has
            the wrong type.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise UserError(f"no config file {path}{_nearest(path.name, beside)}")
    values = _json(path) if path.suffix == ".json" else to_dict(_python(path))
    try:
        return from_dict(Config, values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _json(path: pathlib.Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error


def _python(path: pathlib.Path) -> Config:
    try:
        config = runpy.run_path(str(path)).get("config")
    except SyntaxError as error:
        raise UserError(f"{error.filename}, line {error.lineno}: {error.msg}") from error
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}, line {_line_in(error, path)}: {_explain(error)}") from error
    if not isinstance(config, Config):
        raise UserError(f"{path} must define `config = Config(...)`")
    return config


def to_dict(config: Any) -> dict[str, Any]:
    """Turns a dataclass of this package into nested dicts and lists that JSON can hold."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            names = [field.name for field in dataclasses.fields(value)]
            return {name: plain(getattr(value, name)) for name in names}
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    return plain(config)


def from_dict(kind: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """Builds a dataclass from nested dicts; fields left out keep their defaults.

    Args:
        kind: The dataclass, for example `Config` or `GeneratorConfig`.
        values: What `to_dict` gives, or parts of it.
        prefix: Dotted path of `values`, for messages.

    Raises:
        UserError: On a name that is no field, with the nearest one, and on a value that is not
            of its field's type.
    """
    hints = typing.get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    if not isinstance(values, Mapping):
        raise UserError(f"{prefix.rstrip('.') or kind.__name__} must be a group of options")
    for name in values:
        if name not in known:
            raise UserError(f"unknown option {prefix}{name}{_nearest(name, known)}")
    checked = {n: _checked(hints[n], value, prefix + n) for n, value in values.items()}
    return kind(**checked)


def differences(a: Any, b: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Lists the fields in which two configs of one kind differ.

    Returns:
        Dotted name of each differing field, mapped to its value in `a` and in `b`.
    """
    found = {}
    for field in dataclasses.fields(a):
        one, other = getattr(a, field.name), getattr(b, field.name)
        if dataclasses.is_dataclass(one):
            found |= differences(one, other, f"{prefix}{field.name}.")
        elif one != other:
            found[prefix + field.name] = (one, other)
    return found


def _checked(hint: Any, value: Any, name: str) -> Any:
    """Returns the value as its field's type, or says which field has which type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, f"{name}.")  # type: ignore[arg-type]
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (inner,) = [a for a in arguments if a is not type(None)]
        return _checked(inner, value, name)
    if origin is Literal:
        if value in arguments:
            return value
        wanted = ", ".join(map(str, arguments))
        near = _nearest(value, list(map(str, arguments)))
        raise UserError(f"{name} must be one of {wanted}, not {value!r}{near}")
    if origin is tuple:
        repeated = len(arguments) == 2 and arguments[1] is Ellipsis
        if isinstance(value, list | tuple) and (repeated or len(value) == len(arguments)):
            return tuple(_checked(arguments[0], item, name) for item in value)
        length = "" if repeated else f"{len(arguments)} "
        raise UserError(f"{name} must be a list of {length}values, not {value!r}")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise UserError(f"{name} must be of type {hint.__name__}, not {value!r}")


def _nearest(name: Any, known: Iterable[str]) -> str:
    """Words a suggestion, or nothing when no known name is close."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _line_in(error: BaseException, path: pathlib.Path) -> int | str:
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return lines[-1] if lines and lines[-1] else "?"


def _explain(error: Exception) -> str:
    """Says in one line what a config file raised; names the field nearest to an unknown one."""
    found = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    kind = getattr(config_module, found[1], None) if found else None
    if found and kind is not None:
        near = _nearest(found[2], [field.name for field in dataclasses.fields(kind)])
        return f"{found[1]} has no field {found[2]}{near}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
