"""Experiments as frozen dataclasses: their fields, checks and files.

Every field has a type, its range where it has one, and a line of help, which `train --help` prints.
"""

from ganformer_jax.config.attention import (
    AggregatorConfig,
    AttentionConfig,
    MergeConfig,
    PositionConfig,
)
from ganformer_jax.config.checks import validate
from ganformer_jax.config.discriminator import DiscriminatorConfig, LabelMappingConfig
from ganformer_jax.config.files import load_config, load_experiment
from ganformer_jax.config.former_modules import alias_former_modules
from ganformer_jax.config.gan import Config
from ganformer_jax.config.ganformer2 import GANformer2Config
from ganformer_jax.config.generator import (
    MAX_IMAGE_CHANNELS,
    GeneratorConfig,
    MappingConfig,
    SynthesisConfig,
)
from ganformer_jax.config.prior import PriorConfig
from ganformer_jax.config.text import TextEncoderConfig
from ganformer_jax.config.training import (
    AugmentConfig,
    DataConfig,
    LossConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)
from ganformer_jax.config.translation import TranslationConfig

alias_former_modules()

__all__ = [
    "MAX_IMAGE_CHANNELS",
    "AggregatorConfig",
    "AttentionConfig",
    "AugmentConfig",
    "Config",
    "DataConfig",
    "DiscriminatorConfig",
    "GANformer2Config",
    "GeneratorConfig",
    "LabelMappingConfig",
    "LossConfig",
    "MappingConfig",
    "MergeConfig",
    "OptimizerConfig",
    "PositionConfig",
    "PriorConfig",
    "ScheduleConfig",
    "SynthesisConfig",
    "TextEncoderConfig",
    "TrainConfig",
    "TranslationConfig",
    "load_config",
    "load_experiment",
    "validate",
]
