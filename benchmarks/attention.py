"""Measure time and memory of one attention layer against pixels and components.

Command:  python benchmarks/attention.py

A layer is timed forward, and forward with all its gradients. The exponent is the slope of a
straight line through the logarithms: 1 is linear. All sizes take turns, so that the machine's state
affects them alike.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

import cases
import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax.cli.heap import keep_freed_memory
from ganformer_jax.nn.attention import BipartiteAttention, KMeans
from ganformer_jax.train.devices import runs_on_cpu

RESOLUTIONS, COMPONENTS = (32, 64, 128, 256), (4, 8, 16, 32, 64)
BATCH, CHANNELS, WIDTH = 4, 64, 32


def programs(kind: str, resolution: int, components: int) -> dict[str, tuple[Any, tuple]]:
    """Compile "forward" and "gradients" of a layer; return each with its arguments."""
    elements = resolution**2
    attention = BipartiteAttention(
        integration="mul", norm="layer", kmeans=KMeans() if kind == "duplex" else None
    )
    keys = jax.random.split(jax.random.key(0), 5)
    shapes = [(BATCH, elements, CHANNELS), (BATCH, components, WIDTH)]
    shapes += [(elements, WIDTH), (components, WIDTH)]
    x, y, *positions = (jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=False))
    params = jax.jit(lambda: attention.init({"params": keys[4]}, x, y, *positions))()

    def forward(params, x, y, *positions):
        return attention.apply(params, x, y, *positions)[0]

    def loss(*inputs):
        return jnp.sum(jnp.square(forward(*inputs)))

    inputs = (params, x, y, *positions)
    found = {"forward": forward, "gradients": jax.grad(loss, (0, 1, 2))}
    return {
        name: (jax.jit(function).lower(*inputs).compile(), inputs)
        for name, function in found.items()
    }


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def runner(program: tuple[Any, tuple]) -> Callable[[], object]:
    compiled, inputs = program
    return lambda: jax.block_until_ready(compiled(*inputs))


def sweep(kind: str, seconds: float, axis: str) -> dict[str, Any]:
    """Time one kind of attention against pixels or components and print a table."""
    at = [(r, 8) for r in RESOLUTIONS] if axis == "pixels" else [(32, k) for k in COMPONENTS]
    made = {(*size, what): p for size in at for what, p in programs(kind, *size).items()}
    phases = {str(name): runner(program) for name, program in made.items()}
    spent = cases.median_milliseconds(phases, {}, seconds)
    sizes = [r * r if axis == "pixels" else k for r, k in at]
    report: dict[str, Any] = {"kind": kind, "axis": axis, "sizes": sizes}
    for what in ("forward", "gradients"):
        chosen = [made[(*size, what)][0] for size in at]
        report[f"{what}_milliseconds"] = [spent[str((*size, what))] for size in at]
        report[f"{what}_gflop"] = [c.cost_analysis()["flops"] / 1e9 for c in chosen]
        memory = [c.memory_analysis() for c in chosen]
        report[f"{what}_mebibytes"] = [
            (m.temp_size_in_bytes + m.output_size_in_bytes + m.argument_size_in_bytes) / 2**20
            for m in memory
        ]
        for unit in ("milliseconds", "gflop", "mebibytes"):
            values = report[f"{what}_{unit}"]
            report[f"{what}_{unit}_exponent"] = exponent(sizes, values)
            cells = [f"{value:.3g}" for value in values]
            slope = f"{report[f'{what}_{unit}_exponent']:.2f}"
            print(f"| {kind} | {what} {unit} | {' | '.join(cells)} | {slope} |", flush=True)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds of timing per table")
    parser.add_argument("--out", default="attention.json")
    options = parser.parse_args()
    if runs_on_cpu(None):
        keep_freed_memory()
    records = []
    for axis in ("pixels", "components"):
        sizes = [f"{r}x{r}" for r in RESOLUTIONS] if axis == "pixels" else COMPONENTS
        print(f"\n| kind | {axis} | {' | '.join(map(str, sizes))} | exponent |")
        print("|" + " --- |" * (len(sizes) + 3))
        records += [sweep(kind, options.seconds, axis) for kind in ("simplex", "duplex")]
    with open(options.out, "w") as file:
        json.dump(records, file, indent=1)


if __name__ == "__main__":
    main()
