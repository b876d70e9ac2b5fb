"""The networks that benchmarks time: size, width and kind, as command-line options."""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ganformer_jax.config import Config

KINDS = ("duplex", "simplex", "unattended", "stylegan2")


@dataclasses.dataclass(frozen=True)
class Case:
    """One network and batch; float32, R1 every 16 steps, no path lengths, no mixing."""

    resolution: int
    channel_base: int
    channel_max: int
    batch: int
    components: int
    component_width: int = 32
    kind: str = "duplex"

    def flags(self) -> list[str]:
        """Return the options that `parse` reads as this case."""
        fields = dataclasses.asdict(self).items()
        return [word for name, value in fields for word in (f"--{dashed(name)}", str(value))]

    def __str__(self) -> str:
        """Return the name for tables."""
        attends = self.kind in ("simplex", "duplex")
        components = f", k={self.components}" if attends else ""
        return f"{self.resolution}x{self.resolution} {self.kind}{components}, batch {self.batch}"


PUBLISHED = {
    32: Case(32, 2048, 64, 32, 8),
    64: Case(64, 4096, 128, 8, 8),
    128: Case(128, 8192, 256, 4, 16),
}
"""Cases that are timed against the published code."""

PIXELS = tuple(Case(size, 1024, 32, 4, 8) for size in (32, 64, 128, 256))
EVERY = {"r1": 4, "sample": 2}
"""Turns between two measurements of slow phases with a small weight."""
COMPONENTS = tuple(Case(32, 2048, 64, 16, k) for k in (4, 8, 16, 32, 64))


def dashed(name: str) -> str:
    return name.replace("_", "-")


def add_flags(parser: argparse.ArgumentParser) -> None:
    for field in dataclasses.fields(Case):
        if field.name == "kind":
            parser.add_argument("--kind", choices=KINDS, default="duplex")
        else:
            default = getattr(PUBLISHED[64], field.name)
            parser.add_argument(f"--{dashed(field.name)}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=15.0, help="seconds of timing")


def parse(arguments: argparse.Namespace) -> Case:
    return Case(
        **{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Case)}
    )


def median_milliseconds(
    phases: Mapping[str, Callable[[], object]], every: Mapping[str, int], seconds: float
) -> dict[str, float]:
    """Run the phases in turn for `seconds`, four turns at least, and take medians.

    Args:
        phases: Functions by name; each returns when its work is done.
        every: Turns between two runs of a phase, by name; 1 for the others.
        seconds: Duration, after a first turn of all phases that is not counted.
    """
    spent: dict[str, list[float]] = {name: [] for name in phases}
    for phase in phases.values():
        phase()
    began, turn = time.perf_counter(), 0
    while time.perf_counter() - began < seconds or turn < 4:
        for name, phase in phases.items():
            if turn % every.get(name, 1) == 0:
                started = time.perf_counter()
                phase()
                spent[name].append((time.perf_counter() - started) * 1e3)
        turn += 1
    return {name: statistics.median(values) for name, values in spent.items()}


def config_of(case: Case, dtype: Literal["float32", "bfloat16"] = "float32") -> Config:
    """Return the config of a case.

    Without attention there is one latent, as wide as all components together: "stylegan2" is the
    baseline of the published code, "unattended" has the networks of "duplex" without attention.
    """
    from ganformer_jax.config import (  # absent where published.py runs
        AttentionConfig,
        Config,
        DiscriminatorConfig,
        GeneratorConfig,
        LossConfig,
        MappingConfig,
        SynthesisConfig,
        TrainConfig,
    )

    styled, attends = case.kind == "stylegan2", case.kind in ("simplex", "duplex")
    generator = GeneratorConfig(
        resolution=case.resolution,
        components=case.components if attends else 0,
        latent_size=case.components * case.component_width,
        attention_resolutions=(4, case.resolution),
        attention=AttentionConfig(kmeans_iterations=int(case.kind == "duplex")),
        mapping=MappingConfig(num_layers=8, residual=False, self_attention=False)
        if styled
        else MappingConfig(self_attention=attends),
        synthesis=SynthesisConfig(
            channel_base=case.channel_base,
            channel_max=case.channel_max,
            architecture="skip" if styled else "resnet",
            last_convolution=not styled,
        ),
        dtype=dtype,
    )
    return Config(
        generator=generator,
        discriminator=DiscriminatorConfig(
            channel_base=case.channel_base, channel_max=case.channel_max, dtype=dtype
        ),
        loss=LossConfig(r1_gamma=1.0, style_mixing=0.0),
        train=TrainConfig(batch_size=case.batch),
    )
