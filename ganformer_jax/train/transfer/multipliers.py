"""Rule that keeps what layers compute when their learning rate multiplier is another one.

Such layers store their parameters divided by the multiplier (StyleGAN, arXiv 1812.04948, appendix
C, which has it 0.01 for the mapping network).
"""

from __future__ import annotations

import re

import numpy as np

from ganformer_jax.config import DiscriminatorConfig, GeneratorConfig
from ganformer_jax.train.transfer.leaves import Leaves

Network = GeneratorConfig | DiscriminatorConfig

_DENSE = r"(input|output|layer_\d+(\.dense_\d)?)\.(kernel|bias)"
_MAPPING = rf"mapping\.(global|components|shared)\.{_DENSE}"
_LABEL_MAPPING = rf"label_mapping\.{_DENSE}"
_PLACES = r"synthesis\.places\.(latents\.(kernel|bias)|means)"
_TEXT = r"text\.(.*\.kernel|(?!.*norm\.).*\.bias|words|places|segments)"


def fit_generator_multipliers(
    leaves: Leaves, there: GeneratorConfig, here: GeneratorConfig
) -> None:
    """Fit the mapping network, the encoder of captions and the places of a generator."""
    given, wanted = there.mapping, here.mapping
    _rescale(leaves, _MAPPING, given.learning_rate_multiplier, wanted.learning_rate_multiplier)
    _rescale_text(leaves, there, here)
    given, wanted = (one.attention.places_learning_rate_multiplier for one in (there, here))
    _rescale(leaves, _PLACES, given, wanted)


def fit_discriminator_multipliers(
    leaves: Leaves, there: DiscriminatorConfig, here: DiscriminatorConfig
) -> None:
    """Fit the network of labels and the encoder of captions of a discriminator."""
    given, wanted = there.label_mapping, here.label_mapping
    _rescale(
        leaves, _LABEL_MAPPING, given.learning_rate_multiplier, wanted.learning_rate_multiplier
    )
    _rescale_text(leaves, there, here)


def _rescale_text(leaves: Leaves, there: Network, here: Network) -> None:
    given, wanted = there.text.learning_rate_multiplier, here.text.learning_rate_multiplier
    _rescale(leaves, _TEXT, given, wanted)


def _rescale(leaves: Leaves, pattern: str, given: float, wanted: float) -> None:
    """Rescale the parameters whose paths match a pattern, if the multipliers differ."""
    if given == wanted:
        return
    note = f"stored for a learning rate multiplier of {wanted:g}, not {given:g}"
    for path, leaf in leaves.items():
        if re.fullmatch(pattern, path):
            value = leaf.value * np.asarray(given / wanted, leaf.value.dtype)
            leaves[path] = leaf.adapted(value, note)
