"""Errors that the user can correct, and parts of their messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class UserError(Exception):
    """A mistake that the user can correct; its message is one line that says what to do.

    The command line prints the message and exits with code 1, without a traceback.
    """


class TemporaryError(UserError):
    """An error that may be gone at the next attempt; the command exits with code 75."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return "; did you mean X?" for the known name nearest to an unknown one, else ""."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def choose(kind: str, name: object, choices: Mapping[str, T]) -> T:
    """Return the choice of this name.

    Raises:
        ValueError: There is none; the message lists the names. `kind` says what they are of.
    """
    if name not in choices:
        near = did_you_mean(name, choices)
        raise ValueError(f"{kind} is {name!r}; it should be one of {', '.join(choices)}{near}")
    return choices[str(name)]


def one_line(error: BaseException, limit: int = 200) -> str:
    """Return the type of another library's exception and `limit` characters of its first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:limit]}" if lines else type(error).__name__


def first_cause(error: BaseException) -> BaseException:
    """Return the error that led to another, as far as Python knows."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def os_reason(error: OSError) -> str:
    """Return why the operating system refused: "No space left on device"."""
    return error.strerror or str(error) or type(error).__name__
