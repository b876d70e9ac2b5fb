"""Configs of the generator: mapping network, synthesis network, and what joins them.

docs/reference/configs.md has the sizes of z, w and labels that follow from them.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from ganformer_jax.config.attention import AttentionConfig, MergeConfig, PositionConfig
from ganformer_jax.config.ranges import Range, at_least
from ganformer_jax.config.text import TextEncoderConfig

MAX_IMAGE_CHANNELS = 32


@dataclasses.dataclass(frozen=True)
class MappingConfig:
    """Mapping network from z to w: one branch for the components, one for the global latent."""

    num_layers: Annotated[int, at_least(0)] = 4
    """Hidden layers, the output layer not counted; a residual layer holds two dense ones."""
    residual: bool = True
    """Residual layers instead of plain dense ones."""
    width: Annotated[int | None, at_least(1)] = None
    """Width of the hidden layers; by default that of one latent component.
    Residual layers need that width."""
    last_hidden_width: Annotated[int | None, at_least(1)] = None
    """Width of the last hidden layer; by default that of w.
    Residual layers need that width."""
    shared_width: Annotated[int, at_least(0)] = 0
    """Width of layers that map all components together, concatenated; 0 for none."""
    inner_width: Annotated[int | None, at_least(1)] = None
    """Inner width of the mapping network: a dense layer shared by all latents maps
    z to it, another maps it to w; by default there are none."""
    label_width: Annotated[int | None, at_least(1)] = None
    """Width of the label embedding; by default that of one latent component's z."""
    self_attention: bool = True
    """Self-attention among the components before every hidden layer."""
    normalize: Literal["joint", "component"] = "joint"
    """Scale z to unit mean square over all components, or for each component."""
    normalize_global: bool = True
    """Scale the global z to unit mean square too."""
    learning_rate_multiplier: Annotated[float, Range(0, above=True)] = 0.01
    """Learning rate of the dense layers relative to the rest of the generator."""


@dataclasses.dataclass(frozen=True)
class SynthesisConfig:
    """Synthesis network from w to an image."""

    architecture: Literal["resnet", "skip", "orig"] = "resnet"
    """Residual blocks, a sum of upsampled RGB images, or plain convolutions."""
    channel_base: Annotated[int, at_least(1)] = 32768
    """Channels at a resolution are channel_base / resolution, at most channel_max."""
    channel_max: Annotated[int, at_least(1)] = 512
    """Largest number of channels."""
    style: bool = True
    """Modulate convolutions with the global latent (StyleGAN2)."""
    stem: Literal["constant", "latent", "latent_dense"] = "constant"
    """First grid: learned, or mapped from the global latent as in a plain
    GAN (with noise and a bias per channel, or as one dense layer)."""
    noise: bool = True
    """Noise of learned strength after every layer."""
    last_convolution: bool = True
    """One more modulated 3x3 convolution before the output image."""
    resample_filter: tuple[int, ...] = (1, 3, 3, 1)
    """Low-pass filter of up- and downsampling."""
    clamp: Annotated[float | None, Range(0, above=True)] = None
    """Largest magnitude of what a layer with an activation returns (times
    sqrt(1/2) where a residual path is added), and of each RGB layer's
    colors; None for no limit."""
    tanh: bool = False
    """Hyperbolic tangent of each RGB layer's colors."""

    def channels_at(self, resolution: int) -> int:
        """Return the number of channels at a resolution."""
        return min(self.channel_base // resolution, self.channel_max)


@dataclasses.dataclass(frozen=True)
class GeneratorConfig:
    """Generator: mapping network, synthesis network and the attention between them."""

    resolution: int = 256
    """Longer side of the image: that of `base_grid`, doubled at least once.
    For square images, a power of two from 8 up."""
    base_grid: Annotated[tuple[int, int], Range(2, 16)] = (4, 4)
    """Height and width of the first grid, each from 2 to 16. Doubled until
    the longer side is `resolution`, it becomes the image: 4, 8 and 64
    give images 32 high and 64 wide. Options that name a resolution mean
    the longer side."""
    image_channels: Annotated[int, Range(1, MAX_IMAGE_CHANNELS)] = 3
    """Image channels: 1 (gray), 3 (color), 4 (color and opacity), or another number
    of an array."""
    components: Annotated[int, at_least(0)] = 16
    """Latent components that attend to the image; 0 for a StyleGAN2 or plain GAN."""
    latent_size: Annotated[int, at_least(1)] = 512
    """Total width of z over the components: each has latent_size / components.
    The global latent has the width of one component in addition."""
    intermediate_size: Annotated[int | None, at_least(1)] = None
    """Total width of w over the components; by default latent_size."""
    label_size: Annotated[int, at_least(0)] = 0
    """Classes of a conditional generator, numbers of its condition, or tokens of the
    longest caption; 0 for none."""
    component_dropout: Annotated[float, Range(0, 1, below=True)] = 0.0
    """Probability that a component is hidden from attention during training."""
    latent_positions: bool = True
    """Trained position vectors of the components in attention."""
    attention_resolutions: tuple[int, int] = (4, 128)
    """Smallest and largest resolution with attention layers."""
    components_attend_image: bool = False
    """After each attention layer, components attend back to the image and
    carry the result to the next layer (bottom-up)."""
    components_attend_components: bool = False
    """After each attention layer, components attend to each other and carry
    the result to the next layer."""
    image_attention_resolution: Annotated[int | None, at_least(2)] = None
    """Resolution at which image positions attend to each other (SAGAN, arXiv
    1805.08318), at a cost quadratic in pixels."""
    local_attention_below: Annotated[int | None, at_least(2)] = None
    """Resolution below which each image position attends to the 3x3 around it,
    instead of a convolution."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of activations; parameters, normalization and attention weights
    stay float32."""
    attention: AttentionConfig = AttentionConfig()
    positions: PositionConfig = PositionConfig()
    mapping: MappingConfig = MappingConfig()
    merge: MergeConfig = MergeConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    network: Literal["ganformer", "dcgan", "sagan"] = "ganformer"
    """Network: `ganformer`, which all options describe; or that of DCGAN (arXiv
    1511.06434) or SAGAN (arXiv 1805.08318) as published, which read only
    `resolution`, `base_grid`, `image_channels`, `latent_size`, `label_size`,
    `dtype` and the channels of `synthesis` (SAGAN also
    `image_attention_resolution`), and need `components` 0."""
    text: TextEncoderConfig = TextEncoderConfig()
    """Encoder of captions."""

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
    def self_attended_resolutions(self) -> list[int]:
        """Resolutions at which image positions attend to each other: one, or none."""
        return [r for r in self.resolutions if r == self.image_attention_resolution]

    @property
    def merge_resolution(self) -> int | None:
        """Resolution after whose layers images are merged; None if there is one image only."""
        return (self.merge.resolution or self.resolution) if self.merge.images else None

    def images_at(self, resolution: int) -> int:
        """Return how many images the layers of a resolution make, before they are merged."""
        last = self.merge_resolution
        return self.merge.images if last is not None and resolution <= last else 1

    @property
    def num_local_latents(self) -> int:
        """Number of latents in z without the global one: components, or images to merge."""
        return self.merge.images or self.components

    @property
    def num_latents(self) -> int:
        """Number of latents in z: components and, last, a global one; or images to merge."""
        return self.merge.images or self.components + 1

    @property
    def words(self) -> int:
        """Words in w, between components and global latent: one for each token of a caption.

        With `attention.places` there are none: pixels attend to the places of components alone.
        """
        return self.label_size if self.text.vocabulary and not self.attention.places else 0

    @property
    def num_w(self) -> int:
        """Number of vectors in w: the latents, and the words of a caption."""
        return self.num_latents + self.words

    @property
    def label_width(self) -> int:
        """Width of what networks read as a label: a label itself, or the vector of a caption."""
        return self.text.vector_width if self.text.vocabulary else self.label_size

    @property
    def reads_latent_positions(self) -> bool:
        """Whether anything reads the components' positions; if not, there are none to train."""
        in_mapping = self.mapping.self_attention and not self.mapping.shared_width
        updated = self.components_attend_image or self.components_attend_components
        with_keys = not self.attention.kmeans_iterations and not self.attention.places
        as_keys = with_keys or self.attention.gate_latents
        attended = self.components and (updated or as_keys)
        return bool(self.latent_positions and self.num_local_latents and (in_mapping or attended))

    @property
    def labeled_branches(self) -> tuple[str, ...]:
        """Branches of the mapping network that read labels.

        Images that are merged have no global latent. Components with places may make the image
        without it, so they get the label too.
        """
        if self.merge.images:
            return ("components",)
        if self.attention.places and self.components:
            return "global", "components"
        return ("global",)

    @property
    def z_size(self) -> int:
        """Width of one latent in z."""
        return self.latent_size // max(self.num_local_latents, 1)

    @property
    def w_size(self) -> int:
        """Width of one latent in w; a DCGAN and a SAGAN have z there, and the label beside it."""
        beside = self.label_size if self.network != "ganformer" else 0
        own = (self.intermediate_size or self.latent_size) // max(self.num_local_latents, 1)
        return own + beside

    @property
    def truncated_w_size(self) -> int | None:
        """Width of the first numbers of w, which truncation changes; None for all.

        The others are the label, in a DCGAN and a SAGAN.
        """
        return None if self.network == "ganformer" else self.z_size
