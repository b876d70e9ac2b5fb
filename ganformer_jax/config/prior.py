"""The configuration of an autoregressive prior over the codes of images (VQGAN).

Esser et al. 2021 (arXiv 2012.09841): an autoencoder with a codebook, and a causal transformer over
its codes. Defaults are for images of 32x32 pixels.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from ganformer_jax.config.generator import MAX_IMAGE_CHANNELS
from ganformer_jax.config.patches import PatchConfig
from ganformer_jax.config.ranges import Range, at_least
from ganformer_jax.config.training import DataConfig, ScheduleConfig, TrainConfig


@dataclasses.dataclass(frozen=True)
class AutoencoderConfig:
    """Encoder from images to vectors, and decoder from codes to images (section 3.1)."""

    image_size: tuple[int, int] = (32, 32)
    """Height and width of the images, multiples of the pixels of a code along
    either axis."""
    image_channels: Annotated[int, Range(1, MAX_IMAGE_CHANNELS)] = 3
    """Channels of the images."""
    width: Annotated[int, at_least(1)] = 32
    """Channels at full resolution."""
    multipliers: tuple[int, ...] = (1, 2, 2)
    """Channels of each level, as multiples of `width`. Every level but the first
    halves the resolution: three levels make a code of 4x4 pixels."""
    blocks: Annotated[int, at_least(1)] = 1
    """Residual blocks of a level."""
    attention: bool = True
    """Self-attention at the resolution of the codes."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of activations; parameters, codes and images stay float32."""

    @property
    def stride(self) -> int:
        """Pixels of a code along either axis."""
        return 2 ** (len(self.multipliers) - 1)

    @property
    def code_size(self) -> tuple[int, int]:
        """Height and width of the codes of an image."""
        return self.image_size[0] // self.stride, self.image_size[1] // self.stride

    @property
    def code_count(self) -> int:
        """Codes of an image."""
        return self.code_size[0] * self.code_size[1]


@dataclasses.dataclass(frozen=True)
class CodebookConfig:
    """Vectors that stand for those of the encoder (VQ-VAE, arXiv 1711.00937)."""

    entries: Annotated[int, at_least(2)] = 256
    """Entries of the codebook."""
    width: Annotated[int, at_least(1)] = 16
    """Numbers of an entry."""
    decay: Annotated[float, Range(0, 1, below=True)] = 0.99
    """Decay of an entry's average of the vectors that it stands for, per step."""
    restart_below: Annotated[float, Range(0, 1, below=True)] = 0.1
    """Entries that are used less often than this share of the mean restart from
    vectors of the batch; 0 for no restarts."""


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """A causal transformer (GPT-2), here over codes.

    The smallest published GPT-2 has 12 layers of 768 numbers in 12 heads.
    """

    layers: Annotated[int, at_least(1)] = 4
    """Transformer layers."""
    width: Annotated[int, at_least(1)] = 128
    """Numbers of a token, a multiple of `heads`."""
    heads: Annotated[int, at_least(1)] = 4
    """Attention heads."""
    hidden_width: Annotated[int, at_least(1)] = 512
    """Width of the hidden layer of each feed-forward network: four times `width`
    as published."""
    epsilon: Annotated[float, Range(0, above=True)] = 1e-5
    """Added to variances by layer normalization."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of activations; parameters, normalization and logits stay float32."""


@dataclasses.dataclass(frozen=True)
class PriorStageConfig:
    """What is trained when, and what images are generated of."""

    autoencoder_kimg: Annotated[float, Range(0, above=True)] = 60.0
    """Thousands of images that train the autoencoder; those that follow train the
    transformer, and leave the autoencoder as it is."""
    adversarial_kimg: Annotated[float, at_least(0)] = 30.0
    """Thousands of images after which the discriminator and the adversarial loss
    start."""
    label_size: Annotated[int, at_least(0)] = 0
    """Number of classes of the dataset, or tokens of its longest caption; 0 for
    unconditional images."""
    vocabulary: Annotated[int, at_least(0)] = 0
    """Number of different tokens of captions; 0 for labels that are classes."""


@dataclasses.dataclass(frozen=True)
class PriorLossConfig:
    """Weights of the losses of the autoencoder."""

    pixel: Annotated[float, at_least(0)] = 1.0
    """Weight of the L1 distance between an image and its reconstruction."""
    pyramid: Annotated[float, at_least(0)] = 1.0
    """Weight of their distance in a Laplacian pyramid, which stands in for the
    perceptual loss."""
    commitment: Annotated[float, at_least(0)] = 0.25
    """Weight of the squared distance of the encoder's vectors to their entries of
    the codebook, which they stay near to."""
    adversarial: Annotated[float, at_least(0)] = 0.5
    """Weight of the adversarial loss, as a multiple of the one that balances its
    gradient with that of the reconstruction (equation 7); 0 for none."""


@dataclasses.dataclass(frozen=True)
class PriorOptimizerConfig:
    """Adam of one stage, with decoupled weight decay (AdamW, arXiv 1711.05101)."""

    learning_rate: Annotated[float, at_least(0)] = 5e-4
    """Learning rate."""
    learning_rate_schedule: ScheduleConfig = ScheduleConfig()
    """Change of the learning rate; images count from the start of the stage."""
    beta1: Annotated[float, Range(0, 1, below=True)] = 0.9
    """Adam's decay of the first moment."""
    beta2: Annotated[float, Range(0, 1, below=True)] = 0.99
    """Adam's decay of the second moment."""
    epsilon: Annotated[float, Range(0, above=True)] = 1e-8
    """Adam's epsilon."""
    weight_decay: Annotated[float, at_least(0)] = 0.0
    """Share of the learning rate by which matrices shrink in a step."""
    gradient_clip: Annotated[float | None, Range(0, above=True)] = 1.0
    """Largest norm of a gradient in an update. None for no limit."""


@dataclasses.dataclass(frozen=True)
class PriorConfig:
    """One experiment of an autoencoder and a prior over its codes."""

    kind: Literal["prior"] = "prior"
    """The kind of training, by which a run's config is read."""
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    codebook: CodebookConfig = CodebookConfig()
    transformer: TransformerConfig = TransformerConfig()
    discriminator: PatchConfig = PatchConfig(width=32, layers=2)
    data: DataConfig = DataConfig()
    prior: PriorStageConfig = PriorStageConfig()
    loss: PriorLossConfig = PriorLossConfig()
    autoencoder_optimizer: PriorOptimizerConfig = PriorOptimizerConfig(beta1=0.5)
    transformer_optimizer: PriorOptimizerConfig = PriorOptimizerConfig(weight_decay=0.01)
    train: TrainConfig = TrainConfig(batch_size=32, total_kimg=200.0)

    @property
    def prefix_length(self) -> int:
        """Tokens before the codes: those of a caption, one for a class or for any image."""
        return self.prior.label_size if self.prior.vocabulary else 1

    @property
    def vocabulary(self) -> int:
        """Different tokens of the transformer: the codes, then those of the prefix."""
        before = self.prior.vocabulary or max(self.prior.label_size, 1)
        return self.codebook.entries + before

    @property
    def longest(self) -> int:
        """Tokens that the transformer reads: the prefix and all codes but the last."""
        return self.prefix_length + self.autoencoder.code_count - 1
