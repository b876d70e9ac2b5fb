"""The configuration of an encoder of captions."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from ganformer_jax.config.ranges import Range, at_least


@dataclasses.dataclass(frozen=True)
class TextEncoderConfig:
    """A bidirectional transformer that reads tokens (BERT, arXiv 1810.04805, section 3).

    BERT-Base has 12 layers of 768 numbers in 12 heads, and BERT-Large 24 of 1,024 in 16.
    """

    layers: Annotated[int, at_least(0)] = 2
    """Transformer layers."""
    width: Annotated[int, at_least(1)] = 64
    """Numbers of a token, a multiple of `heads`."""
    heads: Annotated[int, at_least(1)] = 4
    """Attention heads."""
    hidden_width: Annotated[int, at_least(1)] = 256
    """Width of the hidden layer of each feed-forward network: four times `width`
    as published."""
    vocabulary: Annotated[int, at_least(0)] = 0
    """Number of different tokens; token 0 is padding, which nothing attends to.
    0 for no encoder: labels are not captions."""
    longest: Annotated[int, at_least(1)] = 32
    """Tokens of the longest text, those for its start and end among them."""
    segments: Annotated[int, at_least(1)] = 2
    """Kinds of segments that published weights tell apart; every token here is of the
    first."""
    epsilon: Annotated[float, Range(0, above=True)] = 1e-12
    """Added to variances by layer normalization."""
    learning_rate_multiplier: Annotated[float, Range(0, above=True)] = 0.1
    """Learning rate of the encoder relative to the rest of its network."""

    @property
    def vector_width(self) -> int:
        """Width of the vector of a text: the pooled one and the mean of its tokens."""
        return 2 * self.width
