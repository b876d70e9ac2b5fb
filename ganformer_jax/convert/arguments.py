"""Constructor arguments of published networks: each is read, explicitly ignored, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ganformer_jax.config import AttentionConfig, PositionConfig, SynthesisConfig
from ganformer_jax.errors import UserError

NORMS: dict[Any, Any] = {"batch": "layer"}
"""Normalizations that the published code does not compute as named."""


class ConversionError(UserError):
    """A name, shape or argument of a published network has no counterpart here."""


class Arguments:
    """Arguments of a network by name; `finish` refuses those that were not read."""

    def __init__(self, values: Mapping[str, Any], network: str) -> None:
        self.values, self.network, self.read = dict(values), network, set()

    def get(self, default: Any, *names: str) -> Any:
        """Return the argument that has one of these names, which differ between versions."""
        self.read.update(names)
        return next((self.values[name] for name in names if name in self.values), default)

    def required(self, name: str) -> Any:
        """Return an argument; raise ConversionError if it is missing."""
        value = self.get(None, name)
        if value is None:
            raise ConversionError(f"{self.network} argument {name} is missing")
        return value

    def ignore(self, *names: str) -> None:
        """Accept arguments that the network's output does not depend on."""
        self.read.update(names)

    def require(self, **expected: Any) -> None:
        """Refuse values other than these, whose effect is not implemented here."""
        for name, only in expected.items():
            value = self.get(only, name)
            if value != only:
                raise ConversionError(
                    f"{self.network} argument {name}={value!r} is not supported, only {only!r}"
                )

    def finish(self) -> None:
        """Raise ConversionError if there are arguments that were not read."""
        unread = sorted(set(self.values) - self.read)
        if unread:
            raise ConversionError(f"{self.network} has unknown arguments: {', '.join(unread)}")


def untracked_mean(generator: Arguments, w_size: int) -> dict[str, np.ndarray]:
    """Return zeros for the mean of w if a PyTorch generator did not track it, else no values."""
    tracked = generator.get({}, "mapping_kwargs").get("w_avg_beta", 0.0) is not None
    return {} if tracked else {"moments/w_average": np.zeros(w_size, np.float32)}


# Arguments with the same names in both frameworks


def position_config(synthesis: Arguments) -> PositionConfig:
    """Read the positional encoding."""
    return PositionConfig(
        kind=synthesis.get("sinus", "pos_type"),
        directions=synthesis.get(2, "pos_directions_num"),
        init=synthesis.get("uniform", "pos_init"),
        size=synthesis.get(None, "pos_dim"),
    )


def attention_config(synthesis: Arguments, weight_per_iteration: bool) -> AttentionConfig:
    """Read the attention between components and image."""
    get = synthesis.get
    kmeans, norm = get(False, "kmeans"), get(None, "norm")
    if not kmeans:  # without k-means, further iterations only scale the scores again
        synthesis.require(kmeans_iters=1)
    return AttentionConfig(
        heads=get(1, "num_heads"),
        integration=get("add", "integration"),
        norm=NORMS.get(norm, norm),
        dropout=get(0.12, "attention_dropout") or 0.0,
        kmeans_iterations=get(1, "kmeans_iters") if kmeans else 0,
        kmeans_weight_per_iteration=weight_per_iteration,
        gate_latents=get(False, "ltnt_gate"),
        gate_image=get(False, "img_gate"),
    )


def synthesis_config(synthesis: Arguments, **others: Any) -> SynthesisConfig:
    """Read the synthesis network; `others` are fields whose names differ between frameworks."""
    return SynthesisConfig(
        architecture=synthesis.get("skip", "architecture"),
        style=synthesis.get(True, "style"),
        noise=synthesis.get(True, "local_noise"),
        **others,
    )
