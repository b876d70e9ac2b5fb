"""Rule that keeps what layers compute when their learning rate multiplier is another one.

Such layers store their parameters divided by the multiplier (StyleGAN, arXiv 1812.04948, appendix
C, which has it 0.01 for the mapping network).
"""

from __future__ import annotations

import re

import numpy as np

from ganformer_jax.config import DiscriminatorConfig, GeneratorConfig
from ganformer_jax.train.transfer.leaves import Leaves

_DENSE = r"(input|output|layer_\d+(\.dense_\d)?)\.(kernel|bias)"
_MAPPING = rf"mapping\.(global|components|shared)\.{_DENSE}"
_LABEL_MAPPING = rf"label_mapping\.{_DENSE}"
_TEXT = r"text\.(.*\.kernel|(?!.*norm\.).*\.bias|words|places|segments)"


def fit_generator_multipliers(
    leaves: Leaves, there: GeneratorConfig, here: GeneratorConfig
) -> None:
    """Fit the mapping network and the encoder of captions of a generator."""
    multipliers = [config.mapping.learning_rate_multiplier for config in (there, here)]
    _rescale(leaves, _MAPPING, *multipliers)
    _rescale(leaves, _TEXT, *(c.text.learning_rate_multiplier for c in (there, here)))


def fit_discriminator_multipliers(
    leaves: Leaves, there: DiscriminatorConfig, here: DiscriminatorConfig
) -> None:
    """Fit the network of labels and the encoder of captions of a discriminator."""
    multipliers = [config.label_mapping.learning_rate_multiplier for config in (there, here)]
    _rescale(leaves, _LABEL_MAPPING, *multipliers)
    _rescale(leaves, _TEXT, *(c.text.learning_rate_multiplier for c in (there, here)))


def _rescale(leaves: Leaves, pattern: str, given: float, wanted: float) -> None:
    if given == wanted:
        return
    note = f"stored for a learning rate multiplier of {wanted:g}, not {given:g}"
    for path, leaf in leaves.items():
        if re.fullmatch(pattern, path):
            value = leaf.value * np.asarray(given / wanted, leaf.value.dtype)
            leaves[path] = leaf.adapted(value, note)
