"""Conversion of published weights to our modules, and export of generators."""

from ganformer_jax.convert.export import save_generator
from ganformer_jax.convert.nvidia import load_nvidia_discriminator, load_nvidia_generator
from ganformer_jax.convert.program_file import check_programs, save_programs
from ganformer_jax.convert.pytorch import load_discriminator, load_generator
from ganformer_jax.convert.tensorflow import load_tf_discriminator, load_tf_generator

__all__ = [
    "check_programs",
    "load_discriminator",
    "load_generator",
    "load_nvidia_discriminator",
    "load_nvidia_generator",
    "load_tf_discriminator",
    "load_tf_generator",
    "save_generator",
    "save_programs",
]
