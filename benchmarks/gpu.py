"""Check, time and profile this package on the accelerator at hand, in less than nine minutes.

Command:   python benchmarks/gpu.py                      # writes gpu.json and gpu.md
           python benchmarks/gpu.py --small --minutes 3  # tiny networks, such as on a CPU

Needs jax, flax, optax and chex only, and no network. In this order, until the time is over:

1. every form that accelerators have of their own against that of the CPU (`gpu_checks.py`);
2. images per second in training and sampling, by resolution, kind, precision and batch, each in a
   process of its own (`gpu_case.py`);
3. the kernels that take longest in training (`gpu_profile.py`);
4. with --published CHECKOUT, and PyTorch and nvcc, the published code in turn (`published.py`).

What was not reached, or did not fit, is listed. Both files are written after each result.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # a checkout that is not installed
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # other processes need memory too

import cases
import gpu_checks
import jax
from gpu_case import PRECISIONS

from ganformer_jax.gpu import prepare_gpu

LARGE = {64: (32, 128, 512), 128: (16, 64, 256), 256: (8, 32, 128)}
SMALL = {32: (4, 8)}
"""Batches by resolution."""
PUBLISHED_SECONDS = 90


class Plan(NamedTuple):
    """One thing to time."""

    case: cases.Case
    precision: str

    def words(self) -> str:
        return f"{self.case}, {self.precision}"


def plans(small: bool) -> list[Plan]:
    """Return what to time, the most important first: small batches of all kinds, then larger."""
    sizes = SMALL if small else LARGE
    base, most = (1024, 32) if small else (32_768, 512)
    return [
        Plan(cases.Case(size, base, most, batches[number], 16, kind=kind), precision)
        for number in range(max(map(len, sizes.values())))
        for kind in ("duplex", "stylegan2")
        for precision in PRECISIONS
        for size, batches in reversed(sizes.items())
        if number < len(batches)
    ]


class Report:
    """What has been found so far, in both files."""

    def __init__(self, folder: pathlib.Path):
        parts = "checks", "timed", "kernels", "published", "left_out"
        self.folder, self.found = folder, dict[str, Any](device=describe())
        self.found |= {part: [] for part in parts}
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, part: str, record: Any) -> None:
        self.found[part].append(record)
        print(part, json.dumps(record), flush=True)
        (self.folder / "gpu.json").write_text(json.dumps(self.found, indent=1))
        (self.folder / "gpu.md").write_text(markdown(self.found))


def describe() -> dict[str, str]:
    """Return what the figures depend on."""
    device = jax.devices()[0]
    words = {
        "device": f"{jax.device_count()} {device.device_kind}",
        "jax": jax.__version__,
        "python": platform.python_version(),
        "cores": str(os.cpu_count()),
        "date": time.strftime("%Y-%m-%d"),
    }
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=driver_version,power.limit", "--format=csv,noheader"]
        words["driver, power limit"] = subprocess.run(
            query, capture_output=True, text=True, check=False
        ).stdout.strip()
    return words


def markdown(found: dict[str, Any]) -> str:
    """Return the report for people."""
    lines = ["# " + ", ".join(f"{key} {value}" for key, value in found["device"].items())]
    tables = {
        "checks": ("Forms of accelerators against those of the CPU", "largest relative error"),
        "timed": (
            "Speed",
            "medians",
        ),
        "kernels": ("Kernels that take longest in an adversarial update", "share of the time"),
        "published": ("The published code", "images per second"),
    }
    for part, (title, words) in tables.items():
        rows = found[part]
        if rows:
            lines += [f"\n## {title}\n", f"{words}\n"]
            lines.append("| " + " | ".join(rows[0]) + " |")
            lines.append("| --- " * len(rows[0]) + "|")
            lines += [
                "| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows
            ]
    if found["left_out"]:
        lines += ["\n## Left out\n", *(f"- {words}" for words in found["left_out"])]
    return "\n".join(lines) + "\n"


class Process:
    """A process of `gpu_case.py`, which compiles when it is started and measures on request."""

    def __init__(self, plan: Plan, seconds: float, profile: bool, folder: pathlib.Path):
        script = pathlib.Path(__file__).with_name("gpu_case.py")
        command = [sys.executable, str(script), *plan.case.flags(), "--precision", plan.precision]
        command += ["--seconds", str(seconds), *(["--profile"] if profile else [])]
        name = "-".join((plan.precision, *map(str, dataclasses.astuple(plan.case))))
        self.plan, self.errors = plan, folder / f"{name}.log"
        with self.errors.open("w") as errors:
            self.running = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
            )

    def line(self) -> str:
        """Return what the process says next; nothing if it has ended."""
        assert self.running.stdout is not None
        return self.running.stdout.readline()

    def measure(self) -> dict[str, Any] | None:
        """Let the process measure; None if it cannot."""
        assert self.running.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            print("go", file=self.running.stdin, flush=True)
        line = self.line()
        self.running.wait()
        return json.loads(line) if line else None

    def last_error(self) -> str:
        lines = self.errors.read_text().strip().splitlines()
        return lines[-1][:300] if lines else f"exit code {self.running.returncode}"


def time_all(report: Report, made: Sequence[Plan], until: float, seconds: float) -> None:
    """Compile some plans side by side, then time one after the other.

    Compiling for a GPU runs kernels on it, to choose the fastest: that would disturb the timing,
    and programs that compile side by side wait for each other.
    """
    count = max(1, (os.cpu_count() or 1) // 4)
    for first in range(0, len(made), count):
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(count) as pool:

            def start(number: int, folder: str = folder) -> Process | None:
                left = until - time.monotonic()
                if left < 0:
                    return None
                process = Process(made[number], seconds, number == 0, pathlib.Path(folder))
                end = threading.Timer(left, process.running.kill)
                end.daemon = True
                end.start()
                process.line()  # ready
                return process

            numbers = range(first, min(first + count, len(made)))
            for number, process in zip(numbers, list(pool.map(start, numbers)), strict=True):
                words = made[number].words()
                found = process and process.measure()
                if found:
                    report.add("timed", {"case": words} | found["timed"])
                    for row in found["kernels"]:
                        report.add("kernels", row)
                elif process is None or time.monotonic() > until:
                    report.add("left_out", f"{words}: no time left")
                else:
                    report.add("left_out", f"{words}: {process.last_error()}")


def time_published(
    report: Report, checkout: pathlib.Path, made: Sequence[Plan], until: float
) -> None:
    """Time the published networks in float32 at the batches that were timed here."""
    script = pathlib.Path(__file__).with_name("published.py")
    for plan in made:
        left = until - time.monotonic()
        if plan.precision != "TF32" or left < PUBLISHED_SECONDS / 3:
            continue
        command = [sys.executable, str(script), str(checkout), *plan.case.flags()]
        try:
            run = subprocess.run(
                [*command, "--seconds", "5", "--device", "cuda"],
                capture_output=True,
                text=True,
                timeout=left,
                check=True,
            )
            report.add(
                "published", {"case": str(plan.case)} | json.loads(run.stdout.splitlines()[-1])
            )
        except subprocess.CalledProcessError as error:
            report.add("left_out", f"published, {plan.case}: {error.stderr.strip()[-200:]}")
        except subprocess.TimeoutExpired:
            report.add("left_out", f"published, {plan.case}: no time left")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path())
    parser.add_argument("--minutes", type=float, default=8.5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of timing, for each line")
    parser.add_argument("--small", action="store_true", help="tiny networks, to try this")
    parser.add_argument("--published", type=pathlib.Path, help="folder of the published code")
    options = parser.parse_args()
    began, made = time.monotonic(), plans(options.small)
    prepare_gpu()
    until = began + options.minutes * 60
    report = Report(options.out)
    for row in gpu_checks.all_checks():
        report.add("checks", row)
    own = until - PUBLISHED_SECONDS if options.published else until
    time_all(report, made, own, options.seconds)
    if options.published:
        time_published(report, options.published, made, until)
    print(f"wrote {options.out / 'gpu.md'} after {time.monotonic() - began:.0f} s", flush=True)
    failed = [row["form"] for row in report.found["checks"] if not row["passed"]]
    if failed:
        print(f"error: wrong on this device: {', '.join(failed)}", file=sys.stderr, flush=True)
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
