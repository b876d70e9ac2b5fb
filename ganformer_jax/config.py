"""Frozen dataclasses that describe an experiment.

Every field has a type and a line of help, which `run.py train --help` prints. Nothing here
computes: networks, losses and the training loop each read the part that is theirs.
"""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class PositionConfig:
    """Positional encoding of the image grid, as seen by attention."""

    kind: Literal["sinus", "linear", "trainable", "trainable2d"] = "sinus"
    """Fixed sinusoids; a line per direction with trained slopes; a trained vector per row and
    column; or a trained vector per grid cell."""
    directions: int = 2
    """Directions that the sinusoidal and linear encodings measure, spread evenly over pi."""
    init: Literal["uniform", "normal"] = "uniform"
    """Initial distribution of trained encodings: U[0, 1) or N(0, 1)."""
    size: int | None = None
    """Width of the encoding; by default that of one latent component."""


@dataclasses.dataclass(frozen=True)
class AttentionConfig:
    """Bipartite attention between latent components and the image (arXiv 2103.01209, 3.1).

    `kmeans_iterations=0` is simplex attention; 1 or more is duplex attention.
    """

    heads: int = 1
    """Attention heads."""
    integration: Literal["add", "mul", "both"] = "mul"
    """How attended information changes the image: as a bias, as a gain, or as both."""
    norm: Literal["layer", "instance"] | None = "layer"
    """Normalization of image features before integration."""
    dropout: float = 0.12
    """Attention dropout; half is spent on single cells and half on whole components."""
    kmeans_iterations: int = 1
    """K-means iterations a layer; 0 compares queries with keys instead of centroids."""
    kmeans_carried: bool = False
    """Start each layer from the assignments of the previous one, upsampled, rather than from
    learned centroids."""
    kmeans_weight_per_iteration: bool = True
    """Whether every k-means iteration has score weights of its own or all share one set."""
    gate_latents: bool = False
    """Let each component close a sigmoid gate on what it sends."""
    gate_image: bool = False
    """Let each image position close a sigmoid gate on what it receives."""


@dataclasses.dataclass(frozen=True)
class MappingConfig:
    """Mapping network from z to w: one branch for the components, one for the global latent."""

    num_layers: int = 4
    """Hidden layers before the output layer; a residual layer holds two dense ones."""
    residual: bool = True
    """Residual layers rather than plain dense ones."""
    width: int | None = None
    """Width of the hidden layers; by default that of one latent component."""
    shared_width: int = 0
    """Above 0, map all components together, concatenated, through layers of this width."""
    label_width: int | None = None
    """Width of the label embedding; by default that of one latent component's z."""
    self_attention: bool = True
    """Let the components attend to each other before every hidden layer."""
    normalize: Literal["joint", "component"] = "joint"
    """Scale the components' z to unit mean square over all of them, or one by one."""
    normalize_global: bool = True
    """Scale the global z to unit mean square too."""
    learning_rate_multiplier: float = 0.01
    """Learning rate of the dense layers relative to the rest of the generator."""


@dataclasses.dataclass(frozen=True)
class SynthesisConfig:
    """Synthesis network from w to an image."""

    architecture: Literal["resnet", "skip", "orig"] = "resnet"
    """Residual blocks, a sum of upsampled RGB images, or plain convolutions."""
    channel_base: int = 32768
    """Channels at a resolution are channel_base / resolution, up to channel_max."""
    channel_max: int = 512
    """Largest number of channels."""
    style: bool = True
    """Modulate convolutions with the global latent (StyleGAN2)."""
    stem: Literal["constant", "latent", "latent_dense"] = "constant"
    """First grid: learned, or mapped from the global latent as in a plain GAN (with noise and a
    bias per channel, or as one dense layer)."""
    noise: bool = True
    """Add noise of learned strength after every layer."""
    last_convolution: bool = True
    """One more modulated 3x3 convolution before the image is made."""
    resample_filter: tuple[int, ...] = (1, 3, 3, 1)
    """Low-pass filter of up- and downsampling."""


@dataclasses.dataclass(frozen=True)
class GeneratorConfig:
    """Generator: mapping network, synthesis network and the attention between them."""

    resolution: int = 256
    """Longer side of the image: that of `base_grid`, doubled one or more times. A square one is a
    power of two from 8 up."""
    base_grid: tuple[int, int] = (4, 4)
    """Height and width of the first grid, 2 to 16 each. The image is this grid doubled until its
    longer side is `resolution`: 4, 8 and 64 make images 32 high and 64 wide. Whatever is named or
    chosen by a resolution means the longer side of a grid."""
    image_channels: int = 3
    """Color channels."""
    components: int = 16
    """Latent components that attend to the image; 0 makes a StyleGAN2 or plain GAN."""
    latent_size: int = 512
    """Width of z over all components together, so each has latent_size / components."""
    intermediate_size: int | None = None
    """Width of w over all components together; by default latent_size."""
    label_size: int = 0
    """Classes of a conditional generator; 0 for none."""
    component_dropout: float = 0.0
    """Probability that a component is hidden from attention during training."""
    latent_positions: bool = True
    """Give the components trained positions of their own in attention."""
    attention_resolutions: tuple[int, int] = (4, 128)
    """Smallest and largest resolution with attention layers."""
    components_attend_image: bool = False
    """After each attention layer, let components attend back to the image and carry what they
    learn to the next layer (bottom-up)."""
    components_attend_components: bool = False
    """After each attention layer, let components attend to each other and carry the result."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of activations; parameters, normalization and attention weights stay float32."""
    attention: AttentionConfig = AttentionConfig()
    positions: PositionConfig = PositionConfig()
    mapping: MappingConfig = MappingConfig()
    synthesis: SynthesisConfig = SynthesisConfig()

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.grid_at(self.resolution)

    def grid_at(self, resolution: int) -> tuple[int, int]:
        """Height and width of the grid whose longer side is `resolution`."""
        height, width = self.base_grid
        longer = max(height, width)
        return height * resolution // longer, width * resolution // longer

    @property
    def resolutions(self) -> list[int]:
        """Resolutions of the blocks, longer sides of their grids: 4, 8, up to that of the image."""
        first = max(self.base_grid)
        return [first << i for i in range((self.resolution // first).bit_length())]

    @property
    def attended_resolutions(self) -> list[int]:
        """Resolutions with attention layers; none without components."""
        smallest, largest = self.attention_resolutions
        return [r for r in self.resolutions if self.components and smallest <= r <= largest]

    @property
    def num_latents(self) -> int:
        """Latents in z and w: the components and the global one, last."""
        return self.components + 1

    @property
    def reads_latent_positions(self) -> bool:
        """Whether anything reads the components' positions; if not, there are none to train."""
        mapping, attention = self.mapping, self.attention
        among_components = mapping.self_attention and not mapping.shared_width
        updated = self.components_attend_image or self.components_attend_components
        as_keys = not attention.kmeans_iterations or attention.gate_latents
        read = among_components or updated or as_keys
        return bool(self.components and self.latent_positions and read)

    @property
    def z_size(self) -> int:
        """Width of one latent in z."""
        return self.latent_size // max(self.components, 1)

    @property
    def w_size(self) -> int:
        """Width of one latent in w."""
        return (self.intermediate_size or self.latent_size) // max(self.components, 1)


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig:
    """Discriminator; resolution, colors and classes follow the images and labels it is given."""

    architecture: Literal["resnet", "skip", "orig"] = "resnet"
    """Residual blocks, an RGB input at every resolution, or plain convolutions."""
    channel_base: int = 32768
    """Channels at a resolution are channel_base / resolution, up to channel_max."""
    channel_max: int = 512
    """Largest number of channels."""
    minibatch_stddev_group: int = 4
    """Images per group of the minibatch standard deviation."""
    minibatch_stddev_channels: int = 1
    """Channels added by the minibatch standard deviation; 0 for none."""
    resample_filter: tuple[int, ...] = (1, 3, 3, 1)
    """Low-pass filter of downsampling."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of activations; parameters and logits stay float32."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What the networks learn from."""

    name: str = "scenes"
    """`scenes` (built in, made on first use), or the folder, gs:// path or name of a dataset that
    TensorFlow Datasets or `prepare` made."""
    directory: str = "data"
    """Where prepared datasets are kept."""
    train_images: int = 20_000
    """Training scenes to render; other datasets are used whole."""
    held_out_images: int = 2_000
    """Held-out scenes to render, for the quality number."""
    mirror: bool = False
    """Flip images left to right at random."""
    threads: int = 2
    """Threads that read and decode."""


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Adversarial losses and regularization."""

    generator: Literal["non_saturating", "logistic", "hinge", "wgan"] = "non_saturating"
    """Generator loss."""
    discriminator: Literal["logistic", "hinge", "wgan"] = "logistic"
    """Discriminator loss."""
    wgan_epsilon: float = 0.001
    """Pull of the WGAN loss on squared real logits."""
    r1_gamma: float = 10.0
    """Weight of R1: the penalty is gamma / 2 times the squared gradient norm."""
    r1_interval: int = 16
    """Apply R1 every so many steps, that much stronger (lazy regularization)."""
    path_length_weight: float = 0.0
    """Weight of path length regularization; 0 turns it off, StyleGAN2 used 2."""
    path_length_interval: int = 4
    """Apply path length regularization every so many steps."""
    path_length_decay: float = 0.01
    """How fast the running mean of path lengths follows."""
    path_length_batch_shrink: int = 2
    """Use batch / shrink samples for path lengths."""
    style_mixing: float = 0.9
    """Probability of taking later layers' latents from a second z."""
    component_mixing: float = 0.0
    """Probability of taking later components' latents from a second z."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Adam for both networks, and the moving averages."""

    learning_rate: float = 0.002
    """Adam's learning rate before correction for lazy regularization."""
    beta1: float = 0.0
    """Adam's first decay."""
    beta2: float = 0.99
    """Adam's second decay."""
    epsilon: float = 1e-8
    """Adam's epsilon."""
    ema_kimg: float = 10.0
    """Half-life of the averaged generator, in thousands of images."""
    ema_rampup: float | None = 0.05
    """Shorten the half-life to this share of the images seen so far; None for never."""
    w_average_beta: float = 0.995
    """Decay of the running mean of w, a step."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Length, batch and what is written while training."""

    total_kimg: float = 25_000.0
    """Length of training in thousands of real images shown to the discriminator."""
    batch_size: int = 32
    """Images a step over all devices."""
    seed: int = 0
    """Seed of weights, latents and data order."""
    devices: int | None = None
    """Devices to use; by default all, and of a CPU as many as its cores and the batch allow."""
    platform: Literal["cpu", "gpu", "tpu"] | None = None
    """Accelerator to require; by default whatever jax finds."""
    log_kimg: float = 1.0
    """Write losses every so many thousand images."""
    image_kimg: float = 50.0
    """Write sample grids and attention overlays every so many thousand images."""
    metric_kimg: float = 50.0
    """Measure quality every so many thousand images."""
    checkpoint_kimg: float = 50.0
    """Write a checkpoint every so many thousand images."""
    checkpoints_kept: int = 2
    """Latest checkpoints to keep, besides the best one."""
    metrics: str = "swd"
    """Quality numbers, as `evaluate --metrics` names them, of sets of images; the first one, a
    distance, decides which checkpoint is best."""
    metric_images: int = 2_000
    """Images compared for quality numbers that name no number."""


@dataclasses.dataclass(frozen=True)
class Config:
    """One experiment."""

    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    data: DataConfig = DataConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
