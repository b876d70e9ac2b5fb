"""The configuration of unpaired translation between two sets of images (CycleGAN).

Zhu et al. 2017 (arXiv 1703.10593). Defaults are those of its published code at 256x256, without
its schedule of the learning rate and its mirrored and enlarged images: the config `translate` has
them.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from ganformer_jax.config.attention import AttentionConfig, PositionConfig
from ganformer_jax.config.generator import MAX_IMAGE_CHANNELS
from ganformer_jax.config.patches import PatchConfig
from ganformer_jax.config.ranges import Range, at_least
from ganformer_jax.config.training import DataConfig, ScheduleConfig, TrainConfig


@dataclasses.dataclass(frozen=True)
class TranslatorConfig:
    """Generator of a translation: a network from images to images, one for each direction."""

    image_size: tuple[int, int] = (256, 256)
    """Height and width of both sets of images, multiples of 4."""
    image_channels: Annotated[int, Range(1, MAX_IMAGE_CHANNELS)] = 3
    """Channels of both sets of images."""
    width: Annotated[int, at_least(1)] = 64
    """Channels at full resolution; a quarter of it has four times as many."""
    blocks: Annotated[int, at_least(0)] = 9
    """Residual blocks at a quarter of the resolution: 9 as published for 256
    pixels and more, 6 for 128."""
    components: Annotated[int, at_least(0)] = 0
    """Latent components that gather from the image, and that the image attends
    to, before every residual block; 0 for the published network."""
    component_width: Annotated[int, at_least(1)] = 32
    """Width of a component."""
    attention: AttentionConfig = AttentionConfig(dropout=0.0)
    positions: PositionConfig = PositionConfig()
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of activations; parameters and images stay float32."""


@dataclasses.dataclass(frozen=True)
class TranslationDataConfig(DataConfig):
    """Two sets of images: `name` to translate from, and `target` to translate to."""

    target: str = "scenes_drawn"
    """The other set of images: as `name`."""
    paired: bool = False
    """Read images of the same number together, for `loss.paired`; otherwise each
    set has an order of its own."""
    enlarge: Annotated[float, at_least(0)] = 0.0
    """Share by which images are enlarged in training, to be cropped at random to
    their old size: 0.117 as published, 256 to 286 pixels."""


@dataclasses.dataclass(frozen=True)
class TranslationLossConfig:
    """Weights of the losses beside the adversarial ones, which are least squares."""

    cycle: Annotated[float, at_least(0)] = 10.0
    """Weight of the L1 distance between an image and its translation there and
    back."""
    identity: Annotated[float, at_least(0)] = 0.5
    """Weight, as a multiple of `cycle`, of the L1 distance between an image of
    the other set and its translation into that set."""
    paired: Annotated[float, at_least(0)] = 0.0
    """Weight of the L1 distance to the true translation, for pairs
    (`data.paired`): what is possible with them."""
    pool: Annotated[int, at_least(0)] = 50
    """Past translations of either direction that the discriminators see half of
    the time in place of new ones; 0 for new ones only."""


@dataclasses.dataclass(frozen=True)
class TranslationOptimizerConfig:
    """Adam of generators and discriminators."""

    learning_rate: Annotated[float, at_least(0)] = 2e-4
    """Learning rate."""
    learning_rate_schedule: ScheduleConfig = ScheduleConfig()
    """Change of the learning rate in training."""
    gradient_clip: Annotated[float | None, Range(0, above=True)] = None
    """Largest norm of the gradient of both generators, and of both
    discriminators, in an update. None for no limit."""
    beta1: Annotated[float, Range(0, 1, below=True)] = 0.5
    """Adam's decay of the first moment."""
    beta2: Annotated[float, Range(0, 1, below=True)] = 0.999
    """Adam's decay of the second moment."""
    epsilon: Annotated[float, Range(0, above=True)] = 1e-8
    """Adam's epsilon."""


@dataclasses.dataclass(frozen=True)
class TranslationConfig:
    """One experiment of translation."""

    kind: Literal["translation"] = "translation"
    """The kind of training, by which a run's config is read."""
    generator: TranslatorConfig = TranslatorConfig()
    discriminator: PatchConfig = PatchConfig()
    data: TranslationDataConfig = TranslationDataConfig()
    loss: TranslationLossConfig = TranslationLossConfig()
    optimizer: TranslationOptimizerConfig = TranslationOptimizerConfig()
    train: TrainConfig = TrainConfig(batch_size=1, total_kimg=200.0)
