"""How many processes there are, and what they tell each other by jax's key-value store."""

from __future__ import annotations

import contextlib
import contextvars
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from ganformer_jax.errors import TemporaryError, UserError, one_line
from ganformer_jax.storage import is_transient

_PREFIX = "ganformer_jax/first"
_PATIENCE = 10.0  # seconds, for a network that is away
_calls = 0
_single = contextvars.ContextVar("single_process", default=False)


def _jax_state() -> Any:
    """Return what jax knows of the processes: it has no public access to its key-value store."""
    from jax._src import distributed

    return distributed.global_state


def count() -> int:
    """Return the number of processes, without making jax look for devices."""
    return _jax_state().num_processes or 1


def index() -> int:
    """Return the number of this process, from 0, without making jax look for devices."""
    return _jax_state().process_id or 0


def device_index() -> int:
    """Return the number of this process by which jax numbers devices: on TPUs that of the slice.

    It decides which rows of a batch or of a table are this process's.
    """
    return jax.process_index() if count() > 1 else 0


def is_first() -> bool:
    """Return whether this process writes what one process must write."""
    return index() == 0


@contextlib.contextmanager
def single_process() -> Iterator[None]:
    """Mark what one process does by itself: calls that all must make raise an error in it.

    In this thread only, and with one process too, where they would do no harm: so a test of any
    kind shows what would wait forever with two.
    """
    token = _single.set(True)
    try:
        yield
    finally:
        _single.reset(token)


def check_together() -> None:
    """Raise `RuntimeError` in `single_process`; for functions that all processes must call."""
    if _single.get():
        raise RuntimeError("one process alone made a call that all processes must make")


def first(function: Callable[[], Any]) -> Any:
    """Call a function on the first process; return its JSON result on all.

    Every process must call this, in the same order.

    Raises:
        UserError: On all other processes, if the function raises anything; `TemporaryError` if that
            may be gone at the next attempt.
    """
    check_together()
    if count() == 1:
        with single_process():
            return function()
    global _calls
    _calls += 1
    key = f"{_PREFIX}/{_calls}"
    if not is_first():
        outcome = json.loads(_wait_for(key))
        if "error" in outcome:
            raise (TemporaryError if outcome["temporary"] else UserError)(outcome["error"])
        return outcome["result"]
    try:
        with single_process():
            result = function()
    except Exception as error:
        message = str(error) if isinstance(error, UserError) else one_line(error)
        outcome = {"error": message, "temporary": is_transient(error)}
        client().key_value_set(key, json.dumps(outcome))
        raise
    client().key_value_set(key, json.dumps({"result": result}))
    return result


def all_of(value: Any) -> list[Any]:
    """Return the JSON value of every process, in order; every process must call this."""
    check_together()
    if count() == 1:
        return [value]
    global _calls
    _calls += 1
    keys = [f"{_PREFIX}/{_calls}/{process}" for process in range(count())]
    client().key_value_set(keys[index()], json.dumps(value))
    return [json.loads(_wait_for(key)) for key in keys]


def client() -> Any:
    """Return jax's client of the key-value store, which the first process holds."""
    return _jax_state().client


def value_of(key: str) -> str | None:
    """Return the value of a key now; None if it has none."""
    try:
        return client().key_value_try_get(key)
    except Exception:  # not there, or the first process is gone: then jax ends this one
        return None


def _wait_for(key: str) -> str:
    lost: float | None = None  # since when there was no answer
    while True:
        try:
            return client().blocking_key_value_get(key, 2000)
        except Exception as error:
            if "DEADLINE_EXCEEDED" in str(error):
                lost = None
                continue
            now = time.monotonic()
            lost = now if lost is None else lost
            if "UNAVAILABLE" not in str(error) or now - lost > _PATIENCE:
                raise UserError(f"the first process is gone: {one_line(error)}") from error
            time.sleep(0.5)
