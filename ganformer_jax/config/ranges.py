"""Ranges and choices that stand on the fields of a config, and the walk that checks them.

`heads: Annotated[int, at_least(1)] = 1` says that heads are 1 or more, `Literal` lists choices.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import types
import typing
from typing import Annotated, Any, Literal

from ganformer_jax.errors import UserError, did_you_mean

FLOAT32_MAX = (2 - 2**-23) * 2.0**127
NUMBERS = {int: (numbers.Integral, "an integer"), float: (numbers.Real, "a number")}


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; NaN and infinity are in no range."""

    low: float
    high: float = math.inf
    above: bool = False  # low itself is excluded
    below: bool = False  # high itself is excluded

    def __contains__(self, value: float) -> bool:
        low = self.low < value if self.above else self.low <= value
        return low and (value < self.high or value == self.high < math.inf and not self.below)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"above {self.low}" if self.above else f"{self.low} or more"
        if self.below:
            return f"{self.low} or more, below {self.high}"
        return f"from {self.low} to {self.high}"


def at_least(low: float) -> Range:
    """Return the range of `low` or more."""
    return Range(low)


def check_range(name: str, value: Any, allowed: Range) -> None:
    """Check one value; None passes, and each number of a tuple must pass.

    Raises:
        UserError: If the value is out of the range; `name` is its dotted name.
    """
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, float) and FLOAT32_MAX < abs(number) < math.inf:
            raise UserError(f"{name} is {number}; float32 holds at most 3.4e38")
    if isinstance(value, tuple):
        if not all(item in allowed for item in value):
            raise UserError(f"{name} is {list(value)}; each number should be {allowed}")
    elif value is not None and value not in allowed:
        raise UserError(f"{name} is {value}; it should be {allowed}")


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Check a value of a field that has a few; raise `UserError` with the nearest one."""
    if value not in choices:
        listed = [str(choice) for choice in choices]
        near = did_you_mean(str(value), listed)
        raise UserError(f"{name} must be one of {', '.join(listed)}, not {value!r}{near}")


def _check_hint(name: str, value: Any, hint: Any) -> None:
    """Check a value by the type of its field: numbers, choices, and tuples of them."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        _check_hint(name, value, arguments[0])
    elif origin in (typing.Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        if value is not None and len(inner) == 1:
            _check_hint(name, value, inner[0])
    elif origin is Literal:
        check_choice(name, value, arguments)
    elif origin is tuple:
        if not isinstance(value, tuple):  # jax compares configs by their hashes
            raise UserError(f"{name} is {value!r}; it should be a tuple")
        for item in value:
            _check_hint(name, item, arguments[0])
    elif hint in NUMBERS:  # `load_config` checks all types; Python code can give any
        kind, wanted = NUMBERS[hint]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise UserError(f"{name} is {value!r}; it should be {wanted}")


def check_ranges(config: Any, name: str = "") -> None:
    """Check every field that has a range or choices, of a config and of the configs inside it.

    Args:
        config: A config dataclass, such as `Config` or `GeneratorConfig`.
        name: Dotted name of the config itself, for the message: "generator".
    """
    hints = typing.get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):
        value, inner = getattr(config, field.name), f"{name}.{field.name}".lstrip(".")
        if dataclasses.is_dataclass(value):
            check_ranges(value, inner)
        _check_hint(inner, value, hints[field.name])
        for allowed in getattr(hints[field.name], "__metadata__", ()):
            check_range(inner, value, allowed)
