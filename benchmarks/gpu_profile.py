"""The kernels that take longest in a program, by jax's profiler, for `gpu.py`."""

from __future__ import annotations

import collections
import gzip
import json
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import jax

CALLS, KERNELS = 5, 20
ON_CPU, WAITING = "tf_XLA", "ThunkExecutor"
"""Begins the names of the threads that compute on a CPU, and of what they do besides."""


def kernels(call: Callable[[], object]) -> list[dict[str, Any]]:
    """Run a program and return its longest kernels: milliseconds a call, and share of all."""
    call()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(CALLS):
                call()
        (path,) = pathlib.Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    spent = durations(events)
    total = sum(spent.values())
    return [
        {
            "kernel": name[:80],
            "milliseconds": round(microseconds / CALLS / 1e3, 3),
            "share": round(microseconds / total, 3),
        }
        for name, microseconds in spent.most_common(KERNELS)
    ]


def durations(events: list[dict[str, Any]]) -> collections.Counter[str]:
    """Sum the microseconds of kernels by name.

    Args:
        events: Of Chrome's trace format: those of a GPU's streams or, without one, of the threads
            of XLA's CPU backend.
    """
    labels = [e for e in events if e.get("ph") == "M" and "name" in e.get("args", {})]
    devices = {e["pid"] for e in labels if e["args"]["name"].startswith("/device:")}
    named = {(e["pid"], e["tid"]): e["args"]["name"] for e in labels if e["name"] == "thread_name"}
    wanted = "Stream" if devices else ON_CPU
    spent: collections.Counter[str] = collections.Counter()
    for event in events:
        thread = named.get((event.get("pid"), event.get("tid")), "")
        if event.get("ph") != "X" or event["name"].startswith(WAITING):
            continue
        if thread.startswith(wanted):
            spent[event["name"]] += event["dur"]
    return spent
