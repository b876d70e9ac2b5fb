"""The configuration of GANformer2: layouts are planned segment by segment, then executed.

Arad Hudson and Zitnick 2021 (arXiv 2111.08960). Choices of this package are listed
in docs/ganformer2.md.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from ganformer_jax.config.attention import AttentionConfig
from ganformer_jax.config.discriminator import DiscriminatorConfig
from ganformer_jax.config.generator import (
    MAX_IMAGE_CHANNELS,
    GeneratorConfig,
    MappingConfig,
    SynthesisConfig,
)
from ganformer_jax.config.ranges import Range, at_least
from ganformer_jax.config.training import DataConfig, ScheduleConfig, TrainConfig

Dtype = Literal["float32", "bfloat16"]


@dataclasses.dataclass(frozen=True)
class PlanningConfig:
    """Planning: a recurrent generator of layouts, which adds segments step by step."""

    steps: Annotated[int, at_least(1)] = 3
    """Steps, each of which adds segments to the background."""
    step_segments: Annotated[int, at_least(1)] = 2
    """Largest number of segments that a step adds; the number is drawn from 1 up."""
    latent_size: Annotated[int, at_least(1)] = 32
    """Width of the structure latent of a segment."""
    channel_base: Annotated[int, at_least(1)] = 256
    """Channels at a resolution are channel_base / resolution, at most channel_max."""
    channel_max: Annotated[int, at_least(1)] = 32
    """Largest number of channels."""
    attention_largest: Annotated[int, at_least(4)] = 8
    """Largest resolution at which a segment attends to the latents so far."""
    places: bool = True
    """Add to the logits of a shape a score that falls with the distance from a place,
    made from the latent: segments are compact from the start."""
    dtype: Dtype = "float32"
    """Type of activations; parameters and layouts stay float32."""

    @property
    def segments(self) -> int:
        """Segments of a layout: the background, and those of all steps."""
        return 1 + self.steps * self.step_segments

    def channels_at(self, resolution: int) -> int:
        """Return the number of channels at a resolution."""
        return min(self.channel_base // resolution, self.channel_max)


@dataclasses.dataclass(frozen=True)
class ExecutionConfig:
    """Execution: a GANformer whose attention is the layout, from styles of segments to an image."""

    resolution: Annotated[int, at_least(8)] = 32
    """Height and width of images and layouts: a power of two."""
    image_channels: Annotated[int, Range(1, MAX_IMAGE_CHANNELS)] = 3
    """Image channels."""
    style_size: Annotated[int, at_least(1)] = 32
    """Width of the style latent of a segment."""
    channel_base: Annotated[int, at_least(1)] = 1024
    """Channels at a resolution are channel_base / resolution, at most channel_max."""
    channel_max: Annotated[int, at_least(1)] = 64
    """Largest number of channels."""
    gate: bool = True
    """Gate what each pixel takes of its segment, so that the image can deviate from
    the layout."""
    global_style: bool = False
    """Modulate convolutions with a latent of the whole image."""
    dtype: Dtype = "float32"
    """Type of activations; parameters and images stay float32."""

    def generator(self, segments: int) -> GeneratorConfig:
        """Return the config of the synthesis network, with a component for every segment."""
        return GeneratorConfig(
            resolution=self.resolution,
            image_channels=self.image_channels,
            components=segments,
            latent_size=segments * self.style_size,
            latent_positions=False,
            attention_resolutions=(4, self.resolution),
            attention=AttentionConfig(
                integration="both", kmeans_iterations=0, dropout=0.0, gate_image=self.gate
            ),
            mapping=MappingConfig(self_attention=False),
            synthesis=SynthesisConfig(
                channel_base=self.channel_base,
                channel_max=self.channel_max,
                style=self.global_style,
            ),
            dtype=self.dtype,
        )


@dataclasses.dataclass(frozen=True)
class CriticConfig:
    """Discriminator of layouts, or of images and their segments."""

    channel_base: Annotated[int, at_least(1)] = 1024
    """Channels at a resolution are channel_base / resolution, at most channel_max."""
    channel_max: Annotated[int, at_least(1)] = 64
    """Largest number of channels."""
    minibatch_stddev_group: Annotated[int, at_least(1)] = 4
    """Images per group of the minibatch standard deviation."""
    dtype: Dtype = "float32"
    """Type of activations; parameters and logits stay float32."""

    @property
    def network(self) -> DiscriminatorConfig:
        """Config of the convolutional network."""
        return DiscriminatorConfig(
            channel_base=self.channel_base,
            channel_max=self.channel_max,
            minibatch_stddev_group=self.minibatch_stddev_group,
            dtype=self.dtype,
        )


@dataclasses.dataclass(frozen=True)
class GANformer2LossConfig:
    """Losses of both stages; adversarial ones are relativistic (R3GAN, arXiv 2501.05441)."""

    layout_noise: Annotated[float, at_least(0)] = 0.2
    """Standard deviation of the noise that the discriminator of layouts sees added to
    them at each of several resolutions, so that it cannot tell real ones by being
    discrete."""
    layout_gamma: Annotated[float, at_least(0)] = 0.3
    """Weight of R1 and R2 of the discriminator of layouts; half of it multiplies each."""
    image_gamma: Annotated[float, at_least(0)] = 0.3
    """Weight of R1 and R2 of the discriminator of images; half of it multiplies each."""
    penalty_interval: Annotated[int, at_least(0)] = 16
    """Steps between updates with R1 and R2, which are multiplied by this number; 0
    turns them off."""
    matching: Annotated[float, at_least(0)] = 1.0
    """Weight of the semantic matching loss: a network that reads layouts from real
    images should read the given layout from a generated one."""
    fidelity: Annotated[float, at_least(0)] = 0.5
    """Weight of the segment fidelity loss: the discriminator of images has a logit
    for every segment too."""
    together_kimg: Annotated[float | None, at_least(0)] = None
    """Thousands of images after which both stages are trained together: images are
    then made from planned layouts too, whose gradients reach planning. None for
    never: planning and execution are trained apart, execution from real layouts."""
    planned_share: Annotated[float, Range(0, 1)] = 0.5
    """Probability that an image is made from a planned layout once both stages are
    trained together."""


@dataclasses.dataclass(frozen=True)
class GANformer2OptimizerConfig:
    """Adam of both stages and of their discriminators, and the moving average."""

    learning_rate: Annotated[float, at_least(0)] = 2.5e-3
    """Learning rate."""
    learning_rate_schedule: ScheduleConfig = ScheduleConfig()
    """Change of the learning rate in training."""
    gradient_clip: Annotated[float | None, Range(0, above=True)] = None
    """Largest norm of the gradient of both stages, and of all discriminators, in an
    update. None for no limit."""
    beta1: Annotated[float, Range(0, 1, below=True)] = 0.0
    """Adam's decay of the first moment."""
    beta2: Annotated[float, Range(0, 1, below=True)] = 0.99
    """Adam's decay of the second moment."""
    epsilon: Annotated[float, Range(0, above=True)] = 1e-8
    """Adam's epsilon."""
    ema_kimg: Annotated[float, at_least(0)] = 5.0
    """Half-life of the averaged generators (EMA), in thousands of images; at most 5%
    of the images seen."""


CHANNELED = "planning", "execution", "layout_discriminator", "image_discriminator"
"""Fields of a config whose networks have channels by resolution."""


@dataclasses.dataclass(frozen=True)
class GANformer2Config:
    """One experiment of GANformer2."""

    kind: Literal["ganformer2"] = "ganformer2"
    """The kind of training, by which a run's config is read."""
    planning: PlanningConfig = PlanningConfig()
    execution: ExecutionConfig = ExecutionConfig()
    layout_discriminator: CriticConfig = CriticConfig(channel_base=512, channel_max=48)
    image_discriminator: CriticConfig = CriticConfig()
    data: DataConfig = DataConfig()
    loss: GANformer2LossConfig = GANformer2LossConfig()
    optimizer: GANformer2OptimizerConfig = GANformer2OptimizerConfig()
    train: TrainConfig = TrainConfig(batch_size=16)
