"""Constructor arguments of published networks, each read, ignored on purpose, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganformer_jax.config import PositionConfig
from ganformer_jax.errors import UserError


class ConversionError(UserError):
    """Names, shapes or arguments of a published network that have no counterpart here."""


class Arguments:
    """Arguments by name; `finish` refuses those that nothing has read.

    Args:
        values: The arguments.
        network: What they are arguments of, for messages.
    """

    def __init__(self, values: Mapping[str, Any], network: str) -> None:
        self.values, self.network, self.read = dict(values), network, set()

    def get(self, default: Any, *names: str) -> Any:
        """Return the first argument of these names, which differ between versions."""
        self.read.update(names)
        return next((self.values[name] for name in names if name in self.values), default)

    def required(self, name: str) -> Any:
        """Return an argument.

        Raises:
            ConversionError: If it is missing.
        """
        value = self.get(None, name)
        if value is None:
            raise ConversionError(f"{self.network} argument {name} is missing")
        return value

    def ignore(self, *names: str) -> None:
        """Accept arguments that the network's output does not depend on."""
        self.read.update(names)

    def require(self, **expected: Any) -> None:
        """Accept only these values of arguments that may be given.

        Raises:
            ConversionError: If one has another value, whose effect this package lacks.
        """
        for name, only in expected.items():
            value = self.get(only, name)
            if value != only:
                raise ConversionError(
                    f"{self.network} argument {name}={value!r} is not supported, only {only!r}"
                )

    def finish(self) -> None:
        """Refuse arguments that were not read.

        Raises:
            ConversionError: With their names.
        """
        unread = sorted(set(self.values) - self.read)
        if unread:
            raise ConversionError(f"{self.network} has unknown arguments: {', '.join(unread)}")


def position_config(synthesis: Arguments) -> PositionConfig:
    """Read the encoding of positions, which both frameworks call the same."""
    return PositionConfig(
        kind=synthesis.get("sinus", "pos_type"),
        directions=synthesis.get(2, "pos_directions_num"),
        init=synthesis.get("uniform", "pos_init"),
        size=synthesis.get(None, "pos_dim"),
    )
