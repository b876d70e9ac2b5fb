"""Configs as nested dicts, with names and types checked, and what differs between two."""

from __future__ import annotations

import contextlib
import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from ganformer_jax.config.ranges import check_choice
from ganformer_jax.errors import UserError, did_you_mean

T = TypeVar("T")


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
            checked by `ranges.check_ranges`.
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
        check_choice(name, value, arguments)
        return value
    if origin is tuple:
        repeated = len(arguments) == 2 and arguments[1] is Ellipsis
        if isinstance(value, list | tuple) and (repeated or len(value) == len(arguments)):
            return tuple(_typed(arguments[0], item, name) for item in value)
        length = "" if repeated else f"{len(arguments)} "
        raise UserError(f"{name} must be a list of {length}values, not {value!r}")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # an integer that no float holds stays wrong
            return float(value)
    if isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise UserError(f"{name} must be of type {hint.__name__}, not {value!r}")
