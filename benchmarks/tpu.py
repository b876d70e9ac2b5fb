"""Compile the programs of a config for a TPU slice, and report what XLA's compiler expects of them.

Command:   python benchmarks/tpu.py [CONFIG] [--slice v5e:2x2] [--programs adversarial r1 samples]

No TPU is needed, but libtpu: pip install "ganformer-jax[tpu]". Nothing runs: cycles are estimates
of the compiler, not measurements, and they tell forms of a program apart better than its speed. A
loop's body counts once. Compiling a step for 256x256 images takes up to 20 minutes on one core.
Prints Markdown; --json keeps the figures.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from collectives import collectives
from tpu_text import Operation, operations, shares

from ganformer_jax.config import Config
from ganformer_jax.config.checks import validate
from ganformer_jax.config.files import load_config
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.precompile import lowered_programs
from ganformer_jax.train.compile import compile_program, memory_of
from ganformer_jax.train.devices import place_on
from ganformer_jax.train.slices import describe_slice


class Chip(NamedTuple):
    """A kind of TPU.

    Attributes:
        peak: bfloat16 operations a second, by Google's documentation.
        clock: Cycles a second: `peak` over the operations of the matrix units in a cycle.
        memory: Bytes.
    """

    peak: float
    clock: float
    memory: float


# Programs for v6e and v5p have not been compared with anything: their clocks follow from the peaks.
CHIPS = {
    "v5e": Chip(197e12, 1.5e9, 16 * 2**30),
    "v6e": Chip(918e12, 1.75e9, 32 * 2**30),
    "v5p": Chip(459e12, 1.75e9, 95 * 2**30),
}


def measure(
    name: str, lower: Callable[[], Any], chip: Chip
) -> tuple[dict[str, Any], list[Operation]]:
    """Compile a program; return its figures, for one chip, and its operations."""
    began = time.perf_counter()
    lowered = lower()
    traced = time.perf_counter()
    compiled = compile_program(name, lowered)
    ended = time.perf_counter()
    text, costs = compiled.as_text(), compiled.cost_analysis()
    assert text is not None and costs is not None, "the TPU's compiler tells both"
    arguments, temporary = memory_of(compiled)
    found, sent = list(operations(text)), collectives(text)
    cycles, flops = sum(one.cycles for one in found), costs["flops"]
    return {
        "million cycles": cycles / 1e6,
        "operations": flops,
        "share of the peak in bfloat16": flops / chip.peak / (cycles / chip.clock),
        "temporary GiB": temporary / 2**30,
        "arguments GiB": arguments / 2**30,
        "GiB of a chip": chip.memory / 2**30,
        "collectives": dict(collections.Counter(one.kind for one in sent)),
        "bytes sent": sum(one.bytes() for one in sent),
        "seconds to trace": traced - began,
        "seconds to compile": ended - traced,
    }, found


def table(name: str, figures: dict[str, Any], found: list[Operation], layers: bool) -> str:
    """Return the figures of one program as Markdown."""
    total = sum(one.cycles for one in found)
    lines = [f"\n## {name}\n", "| figure, of one chip | |", "| --- | --- |"]
    for key, value in figures.items():
        words = f"{value:.3g}" if isinstance(value, float) else value
        lines.append(f"| {key} | {words} |")
    keys = [("class", Operation.kind)] + ([("layer", Operation.layer)] if layers else [])
    for title, key in keys:
        lines += [f"\n| {title} | million cycles | share |", "| --- | --- | --- |"]
        for label, cycles in shares((key(one), one.cycles) for one in found):
            lines.append(f"| {label} | {cycles / 1e6:.2f} | {cycles / total:.3f} |")
    if layers:
        lines += ["\n| million cycles | instruction | name |", "| --- | --- | --- |"]
        for one in sorted(found, reverse=True)[:20]:
            lines.append(f"| {one.cycles / 1e6:.2f} | `{one.instruction}` | {one.name[-90:]} |")
    return "\n".join(lines)


def config_from(options: argparse.Namespace) -> Config:
    """Return the config with what the command line changes."""
    config = load_config(options.config)
    sizes = given(resolution=options.resolution, dtype=options.dtype)
    config = dataclasses.replace(
        config,
        generator=dataclasses.replace(config.generator, **sizes),
        discriminator=dataclasses.replace(config.discriminator, **given(dtype=options.dtype)),
        train=dataclasses.replace(
            config.train, **given(batch_size=options.batch, fsdp=options.fsdp)
        ),
    )
    validate(config)
    return config


def given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def run(options: argparse.Namespace) -> None:
    chip = CHIPS.get(options.slice.partition(":")[0])
    if chip is None:
        raise UserError(f"no chip of {options.slice}: choose from {', '.join(CHIPS)}")
    config, devices = config_from(options), describe_slice(options.slice)
    programs = lowered_programs(config, place_on(devices, config.train.fsdp))
    for name in options.programs or ():
        if name not in programs:
            raise UserError(f"no program {name}: choose from {', '.join(programs)}")
    generator, discriminator = config.generator, config.discriminator
    sizes = "x".join(map(str, generator.image_size))
    types = " and ".join(dict.fromkeys([generator.dtype, discriminator.dtype]))
    images = config.train.batch_size / len(devices)
    print(f"# {options.config}, {sizes}, {types}, {images:g} images a chip, {options.slice}")
    report = {}
    for name in options.programs or programs:
        report[name], found = measure(name, programs[name], chip)
        print(table(name, report[name], found, options.layers), flush=True)
        if options.json:
            options.json.write_text(json.dumps(report, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", nargs="?", default="ffhq", help="name or path")
    parser.add_argument("--slice", default="v5e:2x2", help="v5e:16x16 is a pod of 256 chips")
    parser.add_argument("--programs", nargs="*", help="by default all")
    parser.add_argument("--batch", type=int, help="images, over all chips")
    parser.add_argument("--fsdp", type=int, help="chips that share one copy of the state")
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"])
    parser.add_argument("--layers", action="store_true", help="cycles by layer, and the dearest")
    parser.add_argument("--json", type=pathlib.Path)
    try:
        run(parser.parse_args())
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
