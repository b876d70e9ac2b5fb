"""The config of a GAN: its networks, data, losses and training."""

from __future__ import annotations

import dataclasses

from ganformer_jax.config.discriminator import DiscriminatorConfig
from ganformer_jax.config.generator import GeneratorConfig
from ganformer_jax.config.training import (
    AugmentConfig,
    DataConfig,
    LossConfig,
    OptimizerConfig,
    TrainConfig,
)


@dataclasses.dataclass(frozen=True)
class Config:
    """One experiment."""

    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    data: DataConfig = DataConfig()
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
