"""Reading of one checkpoint: what counts as damage, and agreement between processes on it.

Files are read without Orbax's manager, whose `restore` ends in a barrier of all processes: one that
cannot read a file would leave the others waiting there.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ganformer_jax import hosts
from ganformer_jax.errors import UserError, one_line, os_reason
from ganformer_jax.storage import is_transient, with_retries

T = TypeVar("T")


class Damage(Exception):
    """The reason why a checkpoint cannot be read, in one line."""


def agreed(read: Callable[[], T]) -> tuple[T | None, str]:
    """Call what reads; return its result, and the damage that any process found, or "".

    Each process reads again by itself while the disk or the network does not answer.
    """
    value, reason = None, ""
    try:
        value = with_retries(read, "a checkpoint")
    except Damage as error:
        reason = str(error)
    return value, next(filter(None, hosts.all_of(reason)), "")


@contextlib.contextmanager
def reading(what: object) -> Iterator[None]:
    """Turn what Orbax, TensorStore or JSON raise on broken files into `Damage`.

    Raises:
        UserError: If the disk or the network fails, which says nothing of the files.
    """
    try:
        yield
    except (Damage, UserError):
        raise
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise Damage(one_line(error)) from error
    except Exception as error:
        if "RESOURCE_EXHAUSTED" in str(error):  # the device has too little memory
            raise
        if isinstance(error, OSError) or is_transient(error):
            reason = os_reason(error) if isinstance(error, OSError) else one_line(error)
            hint = "try again once the disk can be read"
            raise UserError(f"cannot read {what}: {reason}; {hint}") from error
        raise Damage(one_line(error)) from error


def read_json(checkpoint: pathlib.Path, name: str) -> Any:
    """Read what Orbax stored as JSON, and compare it with its checksum.

    Raises:
        Damage: If it is missing or damaged.
        UserError: See `reading`.
    """
    with reading(checkpoint):
        value = json.loads((checkpoint / name / "metadata").read_text())
        if name != "checksums":
            expected = read_json(checkpoint, "checksums").get(f"{name}.json")
            if expected not in (None, json_checksum(value)):  # version 0.1 stored none
                raise Damage(f"the checksum of its {name} is wrong")
        return value


def json_checksum(value: Any) -> int:
    """Return the checksum of a JSON value."""
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())
