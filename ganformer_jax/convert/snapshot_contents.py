"""Contents of a published training snapshot: as lines of text, and as weights of a checkpoint."""

from __future__ import annotations

from typing import Any

from ganformer_jax.config import Config, DataConfig
from ganformer_jax.convert.build import new_discriminator
from ganformer_jax.convert.snapshot import Snapshot
from ganformer_jax.errors import UserError

VERSION_NAMES = {"stylegan2-ada": "stylegan2-ada-pytorch", "stylegan3": "stylegan3 (StyleGAN2)"}


def run_weights(snapshot: Snapshot) -> tuple[dict[str, Any], Config]:
    """Return the weights that a snapshot contributes to a checkpoint, and a config that fits them.

    If the file has no trained generator, the averaged one replaces it. If it has no discriminator,
    its weights are left out, and the config describes one that fits the generator.
    """
    average, average_variables = snapshot.generator("average")
    trained, trained_variables = average, average_variables
    if "generator" in snapshot.networks:
        trained, trained_variables = snapshot.generator("generator")
    if trained.config != average.config:
        raise UserError("the trained and the averaged generator have different settings")
    weights = {
        "generator": trained_variables["params"],
        "ema": average_variables["params"],
        "constants": average_variables.get("constants", {}),
        "w_average": average_variables["moments"]["w_average"],
    }
    if "discriminator" in snapshot.networks:
        discriminator, discriminator_variables = snapshot.discriminator()
        config = discriminator.config
        weights["discriminator"] = discriminator_variables["params"]
    else:
        config = new_discriminator(average.config, bool(snapshot.networks["average"].version))
    mirrored = any(snapshot.dataset.get(name) for name in ("mirror_augment", "xflip"))
    return weights, Config(average.config, config, DataConfig(mirror=mirrored))


def describe(snapshot: Snapshot) -> list[str]:
    """Return lines of text: networks, numbers of parameters and settings."""
    version = snapshot.networks["average"].version
    code = VERSION_NAMES[version] if version else f"the published {snapshot.framework} code"
    lines = [f"a training snapshot of {code}"]
    for role, network in snapshot.networks.items():
        count = sum(array.size for array in network.arrays.values())
        lines.append(f"{role}: {len(network.arrays)} arrays, {count:,} numbers")
        trained = snapshot.networks.get("generator")
        if role != "average" or trained is None or network.arguments != trained.arguments:
            lines += _settings(network.arguments)
    if "discriminator" not in snapshot.networks:
        lines.append("no discriminator: a run starts with a new one")
    if snapshot.dataset:
        lines += ["dataset:", *_settings(snapshot.dataset)]
    if snapshot.ignored:
        lines.append(f"ignored: {', '.join(snapshot.ignored)}")
    return lines


def _settings(values: dict[str, Any]) -> list[str]:
    return [f"  {name} = {value!a}" for name, value in values.items()]
