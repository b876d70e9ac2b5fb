"""Images from trained generators: by seed, or from latents that were saved or edited.

Needs jax, flax and what they bring.
"""

from ganformer_jax.sampling.edits import (
    interpolate,
    layer_thirds,
    slerp,
    swap_components,
    swap_layers,
)
from ganformer_jax.sampling.labels import ImageLabels, check_labels, label_vectors
from ganformer_jax.sampling.latent_files import read_latents, save_latents
from ganformer_jax.sampling.latents import ImageLatents
from ganformer_jax.sampling.sampler import ALL_LAYERS, Sampler, Samples
from ganformer_jax.sampling.synthesizer import Synthesized, Synthesizer

__all__ = [
    "ALL_LAYERS",
    "ImageLabels",
    "ImageLatents",
    "Sampler",
    "Samples",
    "Synthesized",
    "Synthesizer",
    "check_labels",
    "interpolate",
    "label_vectors",
    "layer_thirds",
    "read_latents",
    "save_latents",
    "slerp",
    "swap_components",
    "swap_layers",
]
