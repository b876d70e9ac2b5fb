"""GANformer, generative adversarial transformers, in JAX and Flax.

The functional API: networks and their configs, losses, augmentation, updates of a training step,
`load` for trained generators, and `convert`, through which published weights come in. It needs jax,
flax and what these two bring.
Data, metrics, figures and the command line are imported by name.
"""

from ganformer_jax import augment, convert
from ganformer_jax.config import (
    AggregatorConfig,
    AttentionConfig,
    AugmentConfig,
    Config,
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LabelMappingConfig,
    LossConfig,
    MappingConfig,
    MergeConfig,
    OptimizerConfig,
    PositionConfig,
    ScheduleConfig,
    SynthesisConfig,
    TextEncoderConfig,
    TrainConfig,
)
from ganformer_jax.config.checks import validate
from ganformer_jax.errors import UserError
from ganformer_jax.load import load
from ganformer_jax.losses import (
    DISCRIMINATOR_LOSSES,
    GENERATOR_LOSSES,
    PAIRED_GENERATOR_LOSSES,
    gradient_penalty,
    path_length,
    r1_penalty,
)
from ganformer_jax.models import (
    Discriminator,
    Generator,
    broadcast_layers,
    make_discriminator,
    mix_components,
    mix_layers,
    num_layers,
    stack_attention,
    truncate,
    validate_networks,
)
from ganformer_jax.nn.attention import BipartiteAttention, KMeans
from ganformer_jax.nn.component_update import ComponentUpdate
from ganformer_jax.train.data_parallel import DataParallel
from ganformer_jax.train.pmap import pmap_updates
from ganformer_jax.train.state import Optimizers, TrainState, create_state, make_optimizers
from ganformer_jax.train.trainable import Update, due_updates, train_step
from ganformer_jax.train.updates import gan_updates

__version__ = "0.2.0"

__all__ = [
    "AggregatorConfig",
    "DISCRIMINATOR_LOSSES",
    "GENERATOR_LOSSES",
    "PAIRED_GENERATOR_LOSSES",
    "AttentionConfig",
    "AugmentConfig",
    "BipartiteAttention",
    "ComponentUpdate",
    "Config",
    "DataConfig",
    "DataParallel",
    "Discriminator",
    "DiscriminatorConfig",
    "Generator",
    "GeneratorConfig",
    "KMeans",
    "LabelMappingConfig",
    "LossConfig",
    "MappingConfig",
    "MergeConfig",
    "OptimizerConfig",
    "Optimizers",
    "PositionConfig",
    "ScheduleConfig",
    "SynthesisConfig",
    "TextEncoderConfig",
    "TrainConfig",
    "TrainState",
    "Update",
    "UserError",
    "augment",
    "broadcast_layers",
    "convert",
    "create_state",
    "due_updates",
    "gan_updates",
    "gradient_penalty",
    "load",
    "make_discriminator",
    "make_optimizers",
    "mix_components",
    "mix_layers",
    "num_layers",
    "path_length",
    "pmap_updates",
    "r1_penalty",
    "stack_attention",
    "train_step",
    "truncate",
    "validate",
    "validate_networks",
]
