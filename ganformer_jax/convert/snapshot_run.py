"""What a run needs of a published training snapshot: weights, a config, and a description."""

from __future__ import annotations

import dataclasses
from typing import Any

from ganformer_jax.config import Config, DataConfig
from ganformer_jax.convert.snapshot import Snapshot
from ganformer_jax.errors import UserError


def run_weights(snapshot: Snapshot) -> tuple[dict[str, Any], Config]:
    """Return the weights of a checkpoint and the config that they fit.

    Raises:
        UserError: If names, shapes or arguments have no counterpart, or the two generators have
            different settings.
    """
    average, average_variables = snapshot.generator("average")
    trained, trained_variables = snapshot.generator("generator")
    if trained.config != average.config:
        raise UserError("the trained and the averaged generator have different settings")
    discriminator, discriminator_variables = snapshot.discriminator()
    weights = {
        "generator": trained_variables["params"],
        "ema": average_variables["params"],
        "constants": average_variables.get("constants", {}),
        "w_average": average_variables["moments"]["w_average"],
        "discriminator": discriminator_variables["params"],
    }
    mirror = bool(snapshot.dataset.get("mirror_augment", False))
    data = dataclasses.replace(DataConfig(), mirror=mirror)
    return weights, Config(average.config, discriminator.config, data)


def describe(snapshot: Snapshot) -> list[str]:
    """Return lines of text: networks, numbers of parameters and settings."""
    lines = [f"a training snapshot of the published {snapshot.framework} code"]
    for role, network in snapshot.networks.items():
        count = sum(array.size for array in network.arrays.values())
        lines.append(f"{role}: {len(network.arrays)} arrays, {count:,} numbers")
        if role != "average" or network.arguments != snapshot.networks["generator"].arguments:
            lines += _settings(network.arguments)
    if snapshot.dataset:
        lines += ["dataset:", *_settings(snapshot.dataset)]
    return lines


def _settings(values: dict[str, Any]) -> list[str]:
    return [f"  {name} = {value!a}" for name, value in values.items()]
