"""Check, time and profile this package on the accelerator at hand, in less than nine minutes.

Command:   python benchmarks/gpu.py                      # writes gpu.json and gpu.md
           python benchmarks/gpu.py --small --minutes 3  # tiny networks, such as on a CPU

Needs jax, flax, optax and chex only, and no network. In this order, until the time is over:

1. every form that accelerators have of their own against that of the CPU (`gpu_checks.py`);
2. images per second in training and sampling, by resolution, kind, precision and batch, while the
   next programs compile on other cores;
3. the kernels that take longest in training (`gpu_profile.py`);
4. with --published CHECKOUT, and PyTorch and nvcc, the published code in turn (`published.py`).

What was not reached, or did not fit, is listed. Both files are written after each result.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from typing import Any, Literal, NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # a checkout that is not installed

import cases
import gpu_checks
import gpu_profile
import jax
import numpy as np

from ganformer_jax.errors import one_line
from ganformer_jax.sampling import ALL_LAYERS, Sampler
from ganformer_jax.train.compile import Programs
from ganformer_jax.train.devices import find_devices, memory_gib, place_on
from ganformer_jax.train.prefetch import place_batch
from ganformer_jax.train.updates import gan_trainable

PRECISIONS: dict[str, tuple[Literal["float32", "bfloat16"], Literal["default", "highest"]]] = {
    "bfloat16": ("bfloat16", "default"),
    "TF32": ("float32", "default"),
    "float32": ("float32", "highest"),
}
"""Type of activations and `train.matmul_precision`; without TF32 the last two are the same."""
LARGE = {64: (32, 128, 512), 128: (16, 64, 256), 256: (8, 32, 128)}
SMALL = {32: (4, 8)}
"""Batches by resolution."""
PROFILE_SECONDS, PUBLISHED_SECONDS = 25, 90


class Plan(NamedTuple):
    """One thing to time."""

    case: cases.Case
    precision: str

    def words(self) -> str:
        return f"{self.case}, {self.precision}"


class Ready(NamedTuple):
    """Programs of a plan, compiled."""

    programs: Programs
    init: Any
    updates: dict[str, Any]
    sample: Any
    batch: Any
    seconds: float


def plans(small: bool) -> list[Plan]:
    """Return what to time, the most important first: small batches of all kinds, then larger."""
    sizes = SMALL if small else LARGE
    base, most = (1024, 32) if small else (32_768, 512)
    made = []
    for number in range(max(map(len, sizes.values()))):
        for kind in "duplex", "stylegan2":
            for precision in PRECISIONS:
                for size, batches in reversed(sizes.items()):
                    if number < len(batches):
                        case = cases.Case(size, base, most, batches[number], 16, kind=kind)
                        made.append(Plan(case, precision))
    return made


def prepare(plan: Plan) -> Ready:
    """Compile all programs of a plan."""
    began = time.perf_counter()
    dtype, precision = PRECISIONS[plan.precision]
    config = cases.config_of(plan.case, dtype)
    train = dataclasses.replace(config.train, matmul_precision=precision)
    config = dataclasses.replace(config, train=train)
    placement = place_on(find_devices())
    programs = Programs(gan_trainable(config, placement, no_images), placement)
    state, batch = programs.abstract_state(), programs.abstract_batch()
    updates = {
        update.name: programs.lower(update.function, state, batch).compile()
        for update in programs.trainable.updates
    }
    sampler = Sampler(config.generator, plan.case.batch, batch_sharding=placement.batch)
    sample = sampler.lower(state.generator_variables()).compile()
    size = (plan.case.batch, plan.case.resolution, plan.case.resolution, 3)
    images = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    placed = place_batch({"images": images}, ["images"], placement.batch)
    init = programs.init.lower(jax.random.key(0)).compile()
    return Ready(programs, init, updates, sample, placed, time.perf_counter() - began)


def no_images(state: Any, indices: Sequence[int]) -> np.ndarray:
    raise AssertionError("images are drawn by a program of their own")


class Trial:
    """A state that the programs of a plan train."""

    def __init__(self, plan: Plan, ready: Ready):
        self.plan, self.ready = plan, ready
        self.state = ready.init(jax.random.key(0))
        seeds = np.arange(plan.case.batch, dtype=np.uint32)
        inputs = seeds, np.zeros((plan.case.batch, 0), np.float32)
        placed = jax.device_put(inputs, ready.programs.placement.batch)
        self.inputs = *placed, np.float32(0.7), np.int32(ALL_LAYERS)

    def update(self, name: str) -> None:
        self.state, _ = jax.block_until_ready(
            self.ready.updates[name](self.state, self.ready.batch)
        )

    def sample(self) -> None:
        jax.block_until_ready(self.ready.sample(self.state.generator_variables(), *self.inputs))

    def phases(self) -> dict[str, Callable[[], None]]:
        updates = {name: functools.partial(self.update, name) for name in self.ready.updates}
        return {**updates, "sample": self.sample}

    def measure(self, seconds: float) -> dict[str, Any]:
        """Return the figures of this plan."""
        spent = cases.median_milliseconds(self.phases(), cases.EVERY, seconds)
        interval = cases.config_of(self.plan.case).loss.r1_interval
        batch, training = self.plan.case.batch, spent["adversarial"] + spent["r1"] / interval
        operations = self.ready.updates["adversarial"].cost_analysis()["flops"]
        return {
            "train_images_per_second": round(batch / training * 1e3, 2),
            "sample_images_per_second": round(batch / spent["sample"] * 1e3, 2),
            "teraflop_per_second": round(operations / spent["adversarial"] / 1e9, 2),
            "milliseconds": {name: round(value, 3) for name, value in spent.items()},
            "seconds_to_compile": round(self.ready.seconds, 1),
            "memory_gib": round(memory_gib(self.ready.programs.placement.devices[0]), 2),
        }


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
            "medians; operations of the adversarial update by XLA",
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


def time_all(report: Report, made: list[Plan], until: float, seconds: float) -> None:
    """Time the plans in order, while the next ones compile; profile the first."""
    pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 2) // 2), "compile")
    on_cpu = jax.default_backend() == "cpu"  # where compilation would disturb what is timed
    ahead = {} if on_cpu else {plan: pool.submit(prepare, plan) for plan in made}
    for number, plan in enumerate(made):
        try:
            trial = Trial(plan, in_time(ahead.get(plan) or pool.submit(prepare, plan), until))
            report.add("timed", {"case": plan.words()} | trial.measure(seconds))
            if number == 0:
                for row in gpu_profile.kernels(functools.partial(trial.update, "adversarial")):
                    report.add("kernels", row)
        except (Late, TimeoutError):
            report.add("left_out", f"{plan.words()}: no time left")
        except Exception as error:  # such as out of memory, of which jax has several kinds
            report.add("left_out", f"{plan.words()}: {one_line(error)}")
        trial = None  # its memory is needed by the next
    pool.shutdown(wait=False, cancel_futures=True)


def in_time(ready: Future[Ready], until: float) -> Ready:
    return ready.result(timeout=max(0.0, until - time.monotonic()))


def time_published(report: Report, checkout: pathlib.Path, made: list[Plan], until: float) -> None:
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
    until = began + options.minutes * 60
    report = Report(options.out)
    for row in gpu_checks.all_checks():
        report.add("checks", row)
    own = until - PUBLISHED_SECONDS if options.published else until
    time_all(report, made, own - PROFILE_SECONDS, options.seconds)
    if options.published:
        time_published(report, options.published, made, until)
    print(f"wrote {options.out / 'gpu.md'} after {time.monotonic() - began:.0f} s", flush=True)
    failed = [row["form"] for row in report.found["checks"] if not row["passed"]]
    if failed:
        print(f"error: wrong on this device: {', '.join(failed)}", file=sys.stderr, flush=True)
    os._exit(bool(failed))  # programs that still compile are not waited for


if __name__ == "__main__":
    main()
