"""Frozen dataclasses of attention, and of merging several images."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from ganformer_jax.config.ranges import Range, at_least

LOCAL_ATTENTION_HEADS = 4
"""Heads of local attention, as published."""


@dataclasses.dataclass(frozen=True)
class PositionConfig:
    """Positional encoding of the image grid, which attention reads."""

    kind: Literal["sinus", "linear", "trainable", "trainable2d"] = "sinus"
    """Fixed sinusoids; a line per direction with trained slopes; a trained
    vector per row and per column; or a trained vector per cell."""
    directions: Annotated[int, at_least(1)] = 2
    """Directions of the sinusoidal and linear encodings, spread evenly over pi."""
    init: Literal["uniform", "normal"] = "uniform"
    """Initial distribution of trained encodings: U[0, 1) or N(0, 1)."""
    size: Annotated[int | None, at_least(1)] = None
    """Width of the encoding; by default that of a component or aggregator."""


@dataclasses.dataclass(frozen=True)
class AttentionConfig:
    """Bipartite attention between latent components and the image (arXiv 2103.01209, 3.1).

    With `kmeans_iterations` 0 attention is simplex, with 1 or more it is duplex.
    """

    heads: Annotated[int, at_least(1)] = 1
    """Attention heads."""
    integration: Literal["add", "mul", "both"] = "mul"
    """How attended information changes the image: as a bias, as a gain, or as both."""
    norm: Literal["layer", "instance"] | None = "layer"
    """Normalization of image features before integration."""
    dropout: Annotated[float, Range(0, 1, below=True)] = 0.12
    """Attention dropout rate: half of it drops single attention weights, half whole
    components."""
    kmeans_iterations: Annotated[int, at_least(0)] = 1
    """K-means iterations per layer; 0 compares queries with keys, not with centroids."""
    kmeans_carried: bool = False
    """Start each layer from the upsampled assignments of the previous one,
    instead of learned centroids."""
    kmeans_weight_per_iteration: bool = True
    """Separate score weights for every k-means iteration, instead of shared ones."""
    gate_latents: bool = False
    """Sigmoid gate on what each component sends."""
    gate_image: bool = False
    """Sigmoid gate on what each image position receives."""
    places: bool = False
    """Components have places, made from their latents: an ellipse where pixels
    attend to the component, at every resolution, whatever their features are.
    Elsewhere pixels attend to nothing."""
    places_learning_rate_multiplier: Annotated[float, Range(0, above=True)] = 1.0
    """Learning rate of places relative to other layers. Below 1, places stay near
    where they are spread at first while the networks learn to draw."""


@dataclasses.dataclass(frozen=True)
class MergeConfig:
    """Several images, each of a latent of its own, merged into one (k-GAN, arXiv 1810.10340).

    The images have the same weights, except for a first grid of each. Such a generator has no
    global latent and no components that attend.
    """

    images: Annotated[int, at_least(0)] = 0
    """Images that are merged; 0 for an ordinary generator."""
    kind: Literal["sum", "softmax", "max", "leaves", "leaves_of_batch"] = "softmax"
    """Weight of each image at each position, from a predicted score: sum, 1 for
    all; softmax; max, the highest score only; leaves, each image composited
    over those before it (dead leaves model). leaves_of_batch is the published
    code's variant, which depends on the rest of the batch."""
    resolution: Annotated[int | None, at_least(2)] = None
    """Resolution after whose layers images are merged; by default the last,
    before colors."""
    uniform: bool = False
    """One share of each image for all positions."""


@dataclasses.dataclass(frozen=True)
class AggregatorConfig:
    """Attention in the discriminator, as the published code has it.

    Aggregators are trained vectors that attend to the image at every resolution in range. Each
    yields one score, an input of the output layer.
    """

    count: Annotated[int, at_least(0)] = 0
    """Number of aggregators; 0 for none."""
    width: Annotated[int, at_least(1)] = 512
    """Width of an aggregator, and of queries where image positions attend to
    each other."""
    resolutions: Annotated[tuple[int, int], at_least(1)] = (8, 128)
    """Smallest and largest resolution at which aggregators gather."""
    image_attends: bool = False
    """The image attends to the aggregators too (top-down)."""
    attend_each_other: bool = False
    """Aggregators attend to each other after the image."""
    positions: bool = True
    """Trained position vectors of the aggregators."""
    heads: Annotated[int, at_least(1)] = 1
    """Attention heads, also where image positions attend to each other."""
    dropout: Annotated[float, Range(0, 1, below=True)] = 0.12
    """Attention dropout rate in training: half of it drops single attention
    weights, half whole elements."""
    gate: bool = False
    """Sigmoid gates on what each aggregator sends and receives."""
    gate_image: bool = False
    """Sigmoid gates on what each image position sends and receives."""
