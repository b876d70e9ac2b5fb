"""Processes that work together, one a host or several on one.

jax connects them (`jax.distributed`). Here they agree on what only one of them may do or know: the
first one decides for all, an error of one ends all, and all stop at the same step.
"""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import json
import os
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import jax
import numpy as np
from jax._src import distributed  # jax has no public access to its key-value store

from ganformer_jax.errors import UserError, one_line

HEARTBEAT = 50
"""Seconds after which jax takes a host that is silent for dead, and ends the others."""
_FAILURE, _SEEN = "ganformer_jax/failure", "ganformer_jax/seen"
_POLL, _PATIENCE = 1.0, 10.0  # seconds
_PREFIX = "ganformer_jax/first"
_NOTICE = "RECEIVED_PREEMPTION_NOTICE"  # where jax's preemption service notes it
_calls, _agreements, _agreed = 0, 0, False


def connect(
    address: str | None = None,
    processes: int | None = None,
    index: int | None = None,
    preemption: bool = False,
) -> None:
    """Connect the processes of a job; do nothing for one alone, or if the caller has done it.

    Call it before jax looks for devices. Options come first, then the variables
    `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`, then what SLURM, Open MPI
    or a TPU VM says.

    Args:
        address: Host and port of the first process.
        processes: Number of processes.
        index: Number of this process, from 0.
        preemption: Whether jax's preemption service takes SIGTERM over, if there are several
            processes: see `stop_agreed`.

    Raises:
        UserError: If the processes cannot be connected.
    """
    if distributed.global_state.client is None:
        address = address or os.environ.get("JAX_COORDINATOR_ADDRESS")
        processes = _integer(processes, "JAX_NUM_PROCESSES")
        index = _integer(index, "JAX_PROCESS_ID")
        given = [value is not None for value in (address, processes, index)]
        if any(given) and not all(given) and not _in_cluster():
            raise UserError(
                "several processes need --hosts.address, --hosts.processes and --hosts.index"
            )
        if not (any(given) or _in_cluster()):
            return
        jax.config.update("jax_enable_preemption_service", preemption)
        try:
            jax.distributed.initialize(
                address, processes, index, heartbeat_timeout_seconds=HEARTBEAT
            )
        except (RuntimeError, ValueError) as error:
            # One TPU VM by itself, where nothing names a job.
            if not any(given) and _on_tpu() and "coordinator_address" in str(error):
                return
            raise UserError(f"cannot connect the processes: {one_line(error)}") from error
        if count() == 1:  # jax has taken SIGTERM over nevertheless
            _take_back(signal.SIGTERM)
    if count() > 1 and "hosts" not in (thread.name for thread in threading.enumerate()):
        threading.Thread(target=_watch, name="hosts", daemon=True).start()


def count() -> int:
    """Return the number of processes, without making jax look for devices."""
    return distributed.global_state.num_processes or 1


def index() -> int:
    """Return the number of this process, from 0, without making jax look for devices."""
    return distributed.global_state.process_id or 0


def device_index() -> int:
    """Return the number of this process by which jax numbers devices: on TPUs that of the slice.

    It decides which rows of a batch or of a table are this process's.
    """
    return jax.process_index() if count() > 1 else 0


def is_first() -> bool:
    """Return whether this process writes what one process must write."""
    return index() == 0


def first(function: Callable[[], Any]) -> Any:
    """Call a function on the first process; return its JSON result on all.

    Every process must call this, in the same order.

    Raises:
        UserError: On all other processes, if the function raises anything.
    """
    if count() == 1:
        return function()
    global _calls
    _calls += 1
    key = f"{_PREFIX}/{_calls}"
    if not is_first():
        outcome = json.loads(_wait_for(key))
        if "error" in outcome:
            raise UserError(outcome["error"])
        return outcome["result"]
    try:
        result = function()
    except Exception as error:
        message = str(error) if isinstance(error, UserError) else one_line(error)
        _client().key_value_set(key, json.dumps({"error": message}))
        raise
    _client().key_value_set(key, json.dumps({"result": result}))
    return result


def first_arrays(function: Callable[[], Any], like: Any) -> Any:
    """Call a function on the first process; return its tree of arrays on all, NumPy arrays.

    Every process must call this, in the same order.

    Args:
        function: Makes the tree; others wait for it, however long it takes.
        like: The same tree of whatever has a shape and a dtype.
    """
    if count() == 1:
        return function()
    from jax.experimental import multihost_utils

    made: list[Any] = []
    first(lambda: made.append(function()))
    arrays = made[0] if made else jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
    return multihost_utils.broadcast_one_to_all(arrays, is_source=is_first())


def all_of(value: Any) -> list[Any]:
    """Return the JSON value of every process, in order; every process must call this."""
    if count() == 1:
        return [value]
    global _calls
    _calls += 1
    keys = [f"{_PREFIX}/{_calls}/{process}" for process in range(count())]
    _client().key_value_set(keys[index()], json.dumps(value))
    return [json.loads(_wait_for(key)) for key in keys]


def own_rows(total: int) -> list[int]:
    """Return the rows of a table that this process computes, equally many on each.

    Where the number of processes does not divide the total, the last row is repeated.
    """
    share = -(-total // count())
    start = device_index() * share
    return [min(row, total - 1) for row in range(start, start + share)]


def gather_rows(own: Any, total: int) -> Any:
    """Return the whole table on all processes, from the `own_rows` of each; NumPy arrays."""
    if count() == 1:
        return own
    from jax.experimental import multihost_utils

    gathered = multihost_utils.process_allgather(own, tiled=True)
    return jax.tree.map(lambda rows: np.asarray(rows)[:total], gathered)


def preemption_noticed() -> bool:
    """Return whether a process has received SIGTERM, as far as jax's preemption service knows."""
    return count() > 1 and _value(_NOTICE) is not None


def stop_agreed() -> bool:
    """Return whether all are to stop at this call, because one has received SIGTERM.

    All processes must call this equally often. Once they have agreed, it stays so.
    """
    global _agreements, _agreed
    if count() > 1 and not _agreed:
        from jax.experimental import multihost_utils

        _agreements += 1
        _agreed = multihost_utils.reached_preemption_sync_point(_agreements)
    return _agreed


def check_shared(folder: pathlib.Path) -> None:
    """Raise `UserError` on all processes unless they see the same folder."""
    if count() == 1:
        return
    token = folder / ".hosts"
    stamp = first(lambda: _write_stamp(token))
    deadline = time.monotonic() + _PATIENCE  # a network's disk may be slow to show a file
    while not (found := _read(token) == stamp) and time.monotonic() < deadline:
        time.sleep(0.2)
    seen = all_of(found)
    if is_first():
        token.unlink(missing_ok=True)
    if not all(seen):
        raise UserError(f"{folder} is not the same folder on every host: put it on a shared disk")


def end_all(message: str, code: int) -> None:
    """End all processes because of this one; do nothing if it is alone.

    The exit code is 0 if it was asked to end, and otherwise says that it failed.
    """
    if count() == 1:
        return
    with contextlib.suppress(Exception):  # another process was the first to fail
        _client().key_value_set(_FAILURE, json.dumps([index(), message, code]))
    _leave(code, last=True)


def let_cause_end() -> None:
    """Give the message of another process, whose end may be the cause of an error here, time."""
    if count() > 1:
        time.sleep(3 * _POLL)


def finish() -> None:
    """End all processes together, without an error; do nothing if this one is alone.

    An orderly exit would wait forever for a preemption notice that came with the last step.
    """
    if count() > 1:
        all_of(True)
        _leave(0)


def end(code: int) -> NoReturn:
    """End at once: an orderly exit waits for programs that compile."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # a closed pipe, a full disk
            stream.flush()
    os._exit(code)


def _watch() -> None:
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
        _client().key_value_set(f"{_SEEN}/{index()}", "", allow_overwrite=True)
        deadline = time.monotonic() + _PATIENCE
        while (last or is_first()) and time.monotonic() < deadline:
            if all(_value(f"{_SEEN}/{process}") is not None for process in range(count())):
                break
            time.sleep(0.1)
        if is_first():  # it holds the connection that ends the others when it breaks
            time.sleep(_POLL)
    finally:
        end(code)


def _failure() -> tuple[int, str, int] | None:
    value = _value(_FAILURE)
    return None if value is None else json.loads(value)


def _value(key: str) -> str | None:
    try:
        return _client().key_value_try_get(key)
    except Exception:  # not there, or the first process is gone: then jax ends this one
        return None


def _wait_for(key: str) -> str:
    while True:
        try:
            return _client().blocking_key_value_get(key, 2000)
        except Exception as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise UserError(f"the first process is gone: {one_line(error)}") from error


def _write_stamp(path: pathlib.Path) -> str:
    stamp = os.urandom(8).hex()
    path.write_text(stamp)
    return stamp


def _read(path: pathlib.Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def _take_back(number: int) -> None:
    """Let Python's handler of a signal take it again, after a library took it over."""
    handler = signal.getsignal(number)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(number, handler)


def _client() -> Any:
    return distributed.global_state.client


def _integer(value: int | None, variable: str) -> int | None:
    if value is not None or not (text := os.environ.get(variable)):
        return value
    if not text.isdigit():
        raise UserError(f"the environment variable {variable} is {text}: set it to a number")
    return int(text)


def _in_cluster() -> bool:
    """Return whether jax can find out by itself which processes there are."""

    def several(names: Iterable[str]) -> bool:
        return any(os.environ.get(name, "1") not in ("", "0", "1") for name in names)

    slurm = "SLURM_STEP_NODELIST" in os.environ and several(["SLURM_NTASKS"])
    return slurm or several(["OMPI_COMM_WORLD_SIZE"]) or _on_tpu()


def _on_tpu() -> bool:
    devices = glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*")
    return bool(devices) and importlib.util.find_spec("libtpu") is not None
