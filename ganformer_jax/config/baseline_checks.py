"""Checks of the configs of DCGAN and SAGAN, which read few options."""

from __future__ import annotations

import operator
from typing import Any

from ganformer_jax.config.dicts import differences
from ganformer_jax.config.discriminator import DiscriminatorConfig
from ganformer_jax.config.gan import Config
from ganformer_jax.config.generator import GeneratorConfig
from ganformer_jax.errors import UserError

READ_BY_GENERATOR = {"network", "resolution", "base_grid", "image_channels", "latent_size"}
READ_BY_GENERATOR |= {"label_size", "dtype", "synthesis.channel_base", "synthesis.channel_max"}
READ_BY_DISCRIMINATOR = {"network", "channel_base", "channel_max", "dtype"}
ATTENTION = "image_attention_resolution"
GENERATOR_HAS = {"components": 0, "synthesis.noise": False, "synthesis.style": False}
DISCRIMINATOR_HAS = {"minibatch_stddev_channels": 0}


def check_baseline(name: str, config: GeneratorConfig | DiscriminatorConfig, labeled: bool) -> None:
    """Refuse options that a DCGAN or SAGAN does not read, and values that it does not have.

    Args:
        name: "generator" or "discriminator".
        config: Of the network.
        labeled: Whether images have labels.
    """
    network, generates = config.network, isinstance(config, GeneratorConfig)
    read = READ_BY_GENERATOR if generates else READ_BY_DISCRIMINATOR
    has: dict[str, Any] = dict(GENERATOR_HAS if generates else DISCRIMINATOR_HAS)
    if labeled and not generates:
        has["label_logit"] = "projection"
    for option, value in has.items():
        given = operator.attrgetter(option)(config)
        if given != value:
            raise UserError(
                f"{name}.{option} is {given}, but {name}.network {network} needs {value}: set it "
                f"to {value}"
            )
    attends = {ATTENTION} if network == "sagan" else set()
    for option, (given, default) in differences(config, type(config)()).items():
        if option not in read | has.keys() | attends:
            raise UserError(
                f"{name}.{option} is {given}, which {name}.network {network} does not read; set "
                f"it to {default}"
            )


def check_baseline_training(config: Config) -> None:
    """Refuse options of training that batch normalization or other layers do not go with."""
    generator, discriminator = config.generator.network, config.discriminator.network
    if config.train.freeze_discriminator and discriminator != "stylegan2":
        raise UserError(
            f"train.freeze_discriminator is {config.train.freeze_discriminator}, but "
            f"freezing is not implemented for discriminator.network {discriminator}; set it to 0"
        )
    normalizes = generator != "ganformer" or discriminator == "dcgan"
    if config.train.accumulate > 1 and normalizes:
        raise UserError(
            f"train.accumulate is {config.train.accumulate}, but batch normalization needs the "
            "full batch; set it to 1"
        )
