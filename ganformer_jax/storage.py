"""Transient errors of disks and networks, which do not mean that a file is damaged."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from ganformer_jax.errors import TemporaryError, one_line

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
_STATUSES = {"408", "429", "500", "502", "503", "504"}
"""Of HTTP, as libraries of buckets have them in an attribute `code` or `status`."""
_LIBRARIES = {"requests", "aiohttp"}
_CLASSES = {"ConnectionError", "Timeout", "ClientConnectionError", "ClientPayloadError"}
"""Errors of these libraries, which are not imported here."""

delays = (1, 2, 4, 8, 15, 30, 60)
"""Seconds before each retry, two minutes in all."""


def is_transient(error: BaseException) -> bool:
    """Return whether an error, or its cause, may be gone at the next attempt."""
    if isinstance(error, TimeoutError | TemporaryError) or _of_the_network(error):
        return True
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    if isinstance(error, OSError):
        return error.errno in _NUMBERS
    if error.__cause__ is not None:
        return is_transient(error.__cause__)
    return any(word in str(error) for word in _WORDS)


def _of_the_network(error: BaseException) -> bool:
    """Return whether a library for buckets says that its server did not answer."""
    if any(str(getattr(error, name, None)) in _STATUSES for name in ("code", "status")):
        return True
    classes = (c for c in type(error).__mro__ if c.__module__.split(".")[0] in _LIBRARIES)
    return any(c.__name__ in _CLASSES for c in classes)


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
