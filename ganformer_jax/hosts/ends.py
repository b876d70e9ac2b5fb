"""How processes end: all of them, in time, and with the message of the one that failed."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from typing import NoReturn

from ganformer_jax.hosts.store import all_of, client, count, index, is_first, value_of

_FAILURE, _SEEN = "ganformer_jax/failure", "ganformer_jax/seen"
_POLL, _PATIENCE = 1.0, 10.0  # seconds
COMPILATION = "compile"
"""Start of the names of threads that compile, for which an orderly exit waits."""


def end_all(message: str, code: int) -> None:
    """End all processes because of this one; do nothing if it is alone.

    The exit code is that of all.
    """
    if count() == 1:
        return
    with contextlib.suppress(Exception):  # another process was the first to fail
        client().key_value_set(_FAILURE, json.dumps([index(), message, code]))
    _leave(code, last=True)


def let_cause_end() -> None:
    """Give the message of another process, whose end may be the cause of an error here, time."""
    if count() > 1:
        time.sleep(3 * _POLL)


def finish(code: int = 0) -> None:
    """End all processes together, without an error; do nothing if this one is alone.

    An orderly exit would wait forever for a preemption notice that came with the last step.
    """
    if count() > 1:
        all_of(True)
        _leave(code)


def end(code: int) -> NoReturn:
    """End at once: an orderly exit waits for programs that compile."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # a closed pipe, a full disk
            stream.flush()
    os._exit(code)


def end_if_compiling(code: int) -> None:
    """End at once if another thread compiles, which may take minutes; else do nothing."""
    if any(thread.name.startswith(COMPILATION) for thread in threading.enumerate()):
        end(code)


def watch() -> None:
    """End this process once another one has failed."""
    while True:
        time.sleep(_POLL)
        failure = _failure()
        if failure is None or failure[0] == index():
            continue
        process, message, code = failure
        words = f"process {process} of {count()}: {message}"
        with contextlib.suppress(OSError, ValueError):
            print(f"error: {words}" if code else words, file=sys.stderr)
        _leave(code)


def _leave(code: int, last: bool = False) -> NoReturn:
    """End this process.

    The first one, which holds what all read, and the one that failed (`last`) wait for the others.
    """
    try:
        client().key_value_set(f"{_SEEN}/{index()}", "", allow_overwrite=True)
        deadline = time.monotonic() + _PATIENCE
        while (last or is_first()) and time.monotonic() < deadline:
            if all(value_of(f"{_SEEN}/{process}") is not None for process in range(count())):
                break
            time.sleep(0.1)
        if is_first():  # it holds the connection that ends the others when it breaks
            time.sleep(_POLL)
    finally:
        end(code)


def _failure() -> tuple[int, str, int] | None:
    value = value_of(_FAILURE)
    return None if value is None else json.loads(value)
