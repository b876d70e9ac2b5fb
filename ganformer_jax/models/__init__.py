"""Networks: generator and discriminator, built from their configs."""

from ganformer_jax.config.checks import validate_networks
from ganformer_jax.models.captions import without_words
from ganformer_jax.models.discriminator import Discriminator, make_discriminator
from ganformer_jax.models.generator import Generator, component_maps, stack_attention
from ganformer_jax.models.latents import (
    broadcast_layers,
    mix_components,
    mix_layers,
    truncate,
    truncate_w,
)
from ganformer_jax.models.synthesis import num_layers

__all__ = [
    "Discriminator",
    "Generator",
    "broadcast_layers",
    "component_maps",
    "make_discriminator",
    "mix_components",
    "mix_layers",
    "num_layers",
    "stack_attention",
    "truncate",
    "truncate_w",
    "validate_networks",
    "without_words",
]
