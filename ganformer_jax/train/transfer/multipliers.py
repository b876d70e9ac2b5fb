"""Rule that keeps what layers compute when their learning rate multiplier is another one.

Such layers store their parameters divided by the multiplier (StyleGAN, arXiv 1812.04948, appendix
C, which has it 0.01 for the mapping network).
"""

from __future__ import annotations

import re

import numpy as np

from ganformer_jax.config import DiscriminatorConfig, GeneratorConfig
from ganformer_jax.config.discriminator import LabelMappingConfig
from ganformer_jax.config.generator import MappingConfig
from ganformer_jax.config.text import TextEncoderConfig
from ganformer_jax.train.transfer.leaves import Leaves

Multiplied = MappingConfig | LabelMappingConfig | TextEncoderConfig
"""Options of layers that have a learning rate multiplier."""

_DENSE = r"(input|output|layer_\d+(\.dense_\d)?)\.(kernel|bias)"
_MAPPING = rf"mapping\.(global|components|shared)\.{_DENSE}"
_LABEL_MAPPING = rf"label_mapping\.{_DENSE}"
_TEXT = r"text\.(.*\.kernel|(?!.*norm\.).*\.bias|words|places|segments)"


def fit_generator_multipliers(
    leaves: Leaves, there: GeneratorConfig, here: GeneratorConfig
) -> None:
    """Fit the mapping network and the encoder of captions of a generator."""
    _rescale(leaves, _MAPPING, there.mapping, here.mapping)
    _rescale(leaves, _TEXT, there.text, here.text)


def fit_discriminator_multipliers(
    leaves: Leaves, there: DiscriminatorConfig, here: DiscriminatorConfig
) -> None:
    """Fit the network of labels and the encoder of captions of a discriminator."""
    _rescale(leaves, _LABEL_MAPPING, there.label_mapping, here.label_mapping)
    _rescale(leaves, _TEXT, there.text, here.text)


def _rescale(leaves: Leaves, pattern: str, there: Multiplied, here: Multiplied) -> None:
    """Rescale the parameters whose paths match a pattern, if the multipliers differ."""
    given, wanted = there.learning_rate_multiplier, here.learning_rate_multiplier
    if given == wanted:
        return
    note = f"stored for a learning rate multiplier of {wanted:g}, not {given:g}"
    for path, leaf in leaves.items():
        if re.fullmatch(pattern, path):
            value = leaf.value * np.asarray(given / wanted, leaf.value.dtype)
            leaves[path] = leaf.adapted(value, note)
