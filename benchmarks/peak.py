"""Measure the peak speed of this machine and its memory, and print one line of JSON.

Command:  python benchmarks/peak.py

Matrix products and 3x3 convolutions of large shapes, in GFLOP/s, and additions to an array larger
than any cache, in GB/s read and written, on one jax device with all cores (of accelerators: the
first). The fastest of many calls counts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

SECONDS = 2.0
COPIED = 2**28
"""Bytes of the array that is copied."""


def fastest(function: Callable[[], jax.Array], seconds: float = SECONDS) -> float:
    """Return the seconds of the fastest call, without the first one."""
    function().block_until_ready()
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds:
        started = time.perf_counter()
        function().block_until_ready()
        best = min(best, time.perf_counter() - started)
    return best


def matrix_product(size: int, dtype: str) -> float:
    a_NxN = jnp.ones((size, size), dtype)
    product = jax.jit(lambda a, b: a @ b)
    return 2 * size**3 / fastest(lambda: product(a_NxN, a_NxN)) / 1e9


def convolution(batch: int, size: int, channels: int, dtype: str) -> float:
    x = jnp.ones((batch, size, size, channels), dtype)
    kernel = jnp.ones((3, 3, channels, channels), dtype)
    convolve = jax.jit(
        lambda x, k: jax.lax.conv_general_dilated(
            x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    )
    operations = 2 * 9 * batch * size**2 * channels**2
    return operations / fastest(lambda: convolve(x, kernel)) / 1e9


def memory() -> float:
    add = jax.jit(lambda x: x + 1, donate_argnums=0)  # in place: new pages would have to be cleared
    held = [jnp.ones(COPIED // 4, jnp.float32)]

    def step() -> jax.Array:
        held[0] = add(held[0])
        return held[0]

    return 2 * COPIED / fastest(step) / 1e9


def main() -> None:
    cpu = jax.default_backend() == "cpu"
    size, batch = (2048, 8) if cpu else (8192, 64)
    report: dict[str, object] = {"device": jax.devices()[0].device_kind}
    for dtype in ("float32", "bfloat16"):
        report[dtype] = {
            "matrix_product_gflops": round(matrix_product(size, dtype), 1),
            "convolution_gflops": round(convolution(batch, 32, 128, dtype), 1),
        }
    report["memory_gbytes"] = round(memory(), 1)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
