"""The configuration of the discriminator."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from ganformer_jax.config.attention import AggregatorConfig, PositionConfig
from ganformer_jax.config.ranges import Range, at_least
from ganformer_jax.config.text import TextEncoderConfig


@dataclasses.dataclass(frozen=True)
class LabelMappingConfig:
    """Network from a label to the vector that a `label_logit` of "embedding" compares with."""

    num_layers: Annotated[int, at_least(0)] = 8
    """Dense layers from the label embedding to the vector, the output layer
    counted; 0 takes the embedding itself."""
    width: Annotated[int | None, at_least(1)] = None
    """Width of the vector; by default the channels at the base grid."""
    hidden_width: Annotated[int | None, at_least(1)] = None
    """Width of the layers before the last; by default that of the vector."""
    embedding_width: Annotated[int | None, at_least(1)] = None
    """Width of the label embedding; by default that of the vector."""
    learning_rate_multiplier: Annotated[float, Range(0, above=True)] = 0.01
    """Learning rate of these layers relative to the rest of the discriminator."""


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig:
    """Discriminator; images and labels decide its resolution, colors and classes."""

    architecture: Literal["resnet", "skip", "orig"] = "resnet"
    """Residual blocks, an RGB input at every resolution, or plain convolutions."""
    channel_base: Annotated[int, at_least(1)] = 32768
    """Channels at a resolution are channel_base / resolution, at most channel_max."""
    channel_max: Annotated[int, at_least(1)] = 512
    """Largest number of channels."""
    minibatch_stddev_group: Annotated[int, at_least(1)] = 4
    """Images per group of the minibatch standard deviation."""
    minibatch_stddev_channels: Annotated[int, at_least(0)] = 1
    """Channels that the minibatch standard deviation adds; 0 for none."""
    label_logit: Literal["class", "projection", "embedding"] = "class"
    """Logit of a labeled image: that of its class; one without the label plus a
    product of features and label (projection); or the product of features
    and a vector that a network maps the label to (embedding, as in
    StyleGAN2-ADA). Conditions need one of the last two."""
    resample_filter: tuple[int, ...] = (1, 3, 3, 1)
    """Low-pass filter of downsampling."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of activations; parameters and logits stay float32."""
    clamp: Annotated[float | None, Range(0, above=True)] = None
    """Largest magnitude of what a convolution with an activation returns
    (times sqrt(1/2) where a residual path is added); None for no limit.
    With the skip architecture, features of the smallest image have none."""
    image_attention_resolution: Annotated[int | None, at_least(2)] = None
    """Resolution at which image positions attend to each other (SAGAN)."""
    local_attention_below: Annotated[int | None, at_least(2)] = None
    """Resolution below which each image position attends to the 3x3 around it,
    before convolutions that are then 1x1."""
    aggregators: AggregatorConfig = AggregatorConfig()
    positions: PositionConfig = PositionConfig()
    label_mapping: LabelMappingConfig = LabelMappingConfig()
    network: Literal["stylegan2", "dcgan", "sagan"] = "stylegan2"
    """The network that all other options describe; or that of DCGAN or SAGAN as
    published, which has `channel_base`, `channel_max` and `dtype`, SAGAN
    `image_attention_resolution` too, and with labels a projection."""
    text: TextEncoderConfig = TextEncoderConfig()
    """Encoder of captions."""

    def channels_at(self, resolution: int) -> int:
        """Return the number of channels at a resolution."""
        return min(self.channel_base // resolution, self.channel_max)

    def aggregates_at(self, resolution: int) -> bool:
        """Return whether aggregators gather from the image at a resolution."""
        smallest, largest = self.aggregators.resolutions
        return bool(self.aggregators.count) and smallest <= resolution <= largest

    def attends_at(self, resolution: int) -> bool:
        """Return whether a block has attention: of aggregators, or among image positions."""
        return self.aggregates_at(resolution) or resolution == self.image_attention_resolution
