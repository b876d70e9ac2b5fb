"""Loads published weights: names, shapes and arguments of the original code become our modules."""

from ganformer_jax.convert.nvidia import load_nvidia_discriminator, load_nvidia_generator
from ganformer_jax.convert.pytorch import load_discriminator, load_generator
from ganformer_jax.convert.tensorflow import load_tf_discriminator, load_tf_generator

__all__ = [
    "load_discriminator",
    "load_generator",
    "load_nvidia_discriminator",
    "load_nvidia_generator",
    "load_tf_discriminator",
    "load_tf_generator",
]
