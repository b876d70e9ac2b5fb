"""How processes find each other."""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator

import jax

from ganformer_jax.errors import UserError, one_line, os_reason
from ganformer_jax.hosts.ends import end, watch
from ganformer_jax.hosts.store import client, count
from ganformer_jax.storage import TEMPORARY_FAILURE

HEARTBEAT = 50
"""Seconds without a heartbeat after which jax declares a process dead and ends the others."""


AFTER_DEADLINE = 60
"""Seconds that jax waits longer than we do."""


def connect(
    address: str | None = None,
    processes: int | None = None,
    index: int | None = None,
    preemption: bool = False,
    wait: float = 300.0,
) -> None:
    """Connect the processes of a job; do nothing for a single one, or if the caller has done it.

    Call it before jax looks for devices. Options come first, then the variables
    `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`, then what SLURM, Open MPI
    or a TPU VM says.

    Args:
        address: Host and port of the first process.
        processes: Number of processes.
        index: Number of this process, from 0.
        preemption: Whether jax's preemption service takes SIGTERM over, if there are several
            processes: see `stop_agreed`.
        wait: Seconds to wait for the other processes.

    Raises:
        UserError: If the processes cannot be connected.
    """
    if client() is None:
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
        _check_numbers(processes, index)
        jax.config.update("jax_enable_preemption_service", preemption)
        try:
            if address and index:
                _await_first(address, wait)
            with _deadline(processes, wait):
                jax.distributed.initialize(
                    address,
                    processes,
                    index,
                    initialization_timeout=math.ceil(wait) + AFTER_DEADLINE,
                    heartbeat_timeout_seconds=HEARTBEAT,
                )
        except (RuntimeError, ValueError) as error:
            # One TPU VM by itself, where nothing names a job.
            if not any(given) and _on_tpu() and "coordinator_address" in str(error):
                return
            raise UserError(f"cannot connect the processes: {one_line(error)}") from error
        if count() == 1:  # jax has taken SIGTERM over nevertheless
            _take_back(signal.SIGTERM)
    if count() > 1 and "hosts" not in (thread.name for thread in threading.enumerate()):
        threading.Thread(target=watch, name="hosts", daemon=True).start()


def _check_numbers(processes: int | None, index: int | None) -> None:
    """Refuse numbers that no job has, before anything waits."""
    if processes is not None and processes < 1:
        raise UserError(f"--hosts.processes is {processes}; it should be 1 or more")
    if index is not None and (index < 0 or processes is not None and index >= processes):
        last = "" if processes is None else f" to {processes - 1}, below --hosts.processes"
        raise UserError(f"--hosts.index is {index}; it should be from 0{last}")


@contextlib.contextmanager
def _deadline(processes: int | None, seconds: float) -> Iterator[None]:
    """End this process in words if the others do not come in time; jax's own wait aborts it."""

    def give_up() -> None:
        all_of_them = "the processes" if processes is None else f"the {processes} processes"
        hint = "start the others, or correct --hosts.processes"
        missing = f"not all of {all_of_them} came within {seconds:.0f} s: {hint}"
        print(f"error: {missing}", file=sys.stderr)
        end(TEMPORARY_FAILURE)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _await_first(address: str, seconds: float) -> None:
    """Wait until the first process listens, as jax's own wait ends in a crash without words."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit()):
        raise UserError(f"the first process's address is {address}: give HOST:PORT")
    deadline, announced = time.monotonic() + seconds, False
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                hint = "start the first process there, or correct the address"
                reason = f"{os_reason(error)}, for {seconds:.0f} s"
                raise UserError(f"no answer at {address} ({reason}): {hint}") from error
            if not announced:
                print(f"waiting for the first process at {address}", flush=True)
            announced = True
            time.sleep(0.5)


def _take_back(number: int) -> None:
    """Let Python's handler of a signal take it again, after a library took it over."""
    handler = signal.getsignal(number)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(number, handler)


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
