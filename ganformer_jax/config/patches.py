"""The configuration of a discriminator of patches (PatchGAN, arXiv 1611.07004, 3.2.2)."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from ganformer_jax.config.ranges import at_least


@dataclasses.dataclass(frozen=True)
class PatchConfig:
    """Discriminator with a logit for each of many overlapping patches."""

    width: Annotated[int, at_least(1)] = 64
    """Channels of the first layer; each next one has twice as many, up to eight
    times."""
    layers: Annotated[int, at_least(1)] = 3
    """Convolutions that halve the resolution: 3 see patches of 70x70 pixels, 2 of
    34x34, 1 of 16x16."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of activations; parameters and logits stay float32."""
