"""Transient errors of disks and networks, which do not mean that a file is damaged."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from ganformer_jax.errors import one_line

T = TypeVar("T")

TEMPORARY_FAILURE = 75
"""Exit code after an error that may be gone at the next attempt: EX_TEMPFAIL of sysexits.h."""

_TRANSIENT = ("EIO", "ESTALE", "ETIMEDOUT", "EREMOTEIO", "EPIPE", "ECONNRESET", "ECONNREFUSED")
_TRANSIENT += ("ECONNABORTED", "ENOTCONN", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH")
_NUMBERS = {getattr(errno, name) for name in _TRANSIENT if hasattr(errno, name)}
# Libraries in C++ pass an error of the system, or the status of a bucket, on in words.
_WORDS = {os.strerror(number) for number in _NUMBERS} | {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
# What Gloo and NCCL say once another process has been killed.
_WORDS |= {"Connection closed by peer", "remote process exited"}

delays = (1, 2, 4, 8, 15, 30, 60)
"""Seconds before each retry, two minutes in all."""


def is_transient(error: BaseException) -> bool:
    """Return whether an error, or its cause, may be gone at the next attempt."""
    if isinstance(error, OSError):
        return error.errno in _NUMBERS
    if error.__cause__ is not None:
        return is_transient(error.__cause__)
    return any(word in str(error) for word in _WORDS)


def exit_code(error: BaseException) -> int:
    """Return the exit code of a command that an error ended: `TEMPORARY_FAILURE` or 1."""
    return TEMPORARY_FAILURE if is_transient(error) else 1


def with_retries(read: Callable[[], T], what: str) -> T:
    """Call what reads, with retries after transient errors.

    Args:
        read: Is called until it returns, or raises an error that is not transient.
        what: What is read, for the warnings on standard error.

    Raises:
        Exception: What the last call raised.
    """
    for seconds in delays:
        try:
            return read()
        except Exception as error:
            if not is_transient(error):
                raise
            cause = one_line(error.__cause__ or error)
            words = f"warning: cannot read {what} ({cause}); trying again in {seconds} s"
            print(words, file=sys.stderr, flush=True)
            time.sleep(seconds)
    return read()
