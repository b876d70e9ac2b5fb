"""Kills of one process among several."""

import pathlib
import time
from collections.abc import Iterator

from processes import HERE, finish, start

from . import Row


def hosts(folder: pathlib.Path, count: int = 3) -> Iterator[Row]:
    """Kill one of two processes; the other ends, and both resume."""

    def codes(job: str, run: pathlib.Path) -> list[int]:
        return [code for code, _, _ in finish(start(2, str(HERE / "host_jobs.py"), job, str(run)))]

    failures, longest = 0, 0.0
    for number in range(count):
        began, run = time.monotonic(), folder / f"hosts{number}"
        failures += codes("die", run) != [75, -9]
        longest = max(longest, time.monotonic() - began)
        failures += codes("train", run) != [0, 0]
    words = f"the other ended within {longest:.0f} s, start included; both resumed"
    yield "kill -9 of one host of two", count, words, failures
