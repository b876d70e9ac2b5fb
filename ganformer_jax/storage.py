"""Disks and networks that do not answer for a while, which says nothing of the files on them."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from ganformer_jax.errors import one_line

T = TypeVar("T")

_PASSING = ("EIO", "ESTALE", "ETIMEDOUT", "EREMOTEIO", "ECONNRESET", "ECONNREFUSED", "ECONNABORTED")
_PASSING += ("EPIPE", "ENOTCONN", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH")
_NUMBERS = {getattr(errno, name) for name in _PASSING if hasattr(errno, name)}
# Libraries in C++ pass an error of the system, or the status of a bucket, on in words.
_WORDS = {os.strerror(number) for number in _NUMBERS} | {"UNAVAILABLE", "DEADLINE_EXCEEDED"}

delays = (1, 2, 4, 8, 15, 30, 60)
"""Seconds before each further attempt, two minutes in all."""


def may_pass(error: BaseException) -> bool:
    """Return whether an error, or its cause, is of storage that may answer again later."""
    if isinstance(error, OSError):
        return error.errno in _NUMBERS
    if error.__cause__ is not None:
        return may_pass(error.__cause__)
    return any(word in str(error) for word in _WORDS)


def patiently(read: Callable[[], T], what: str) -> T:
    """Call what reads, and again after each of `delays` if the storage does not answer.

    Args:
        read: Is called until it returns, or raises what will not pass.
        what: What is read, for the warnings on standard error.

    Raises:
        Exception: What the last call raised.
    """
    for seconds in delays:
        try:
            return read()
        except Exception as error:
            if not may_pass(error):
                raise
            cause = one_line(error.__cause__ or error)
            words = f"warning: cannot read {what} ({cause}); trying again in {seconds} s"
            print(words, file=sys.stderr, flush=True)
            time.sleep(seconds)
    return read()
