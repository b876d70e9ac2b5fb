"""Construction of our networks from configs of untrusted files, and of their variables."""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Iterable, Mapping
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax.config import MAX_IMAGE_CHANNELS, DiscriminatorConfig, GeneratorConfig
from ganformer_jax.config.dicts import from_dict, to_dict
from ganformer_jax.config.ranges import Range, check_range
from ganformer_jax.convert.arguments import ConversionError
from ganformer_jax.convert.rules import Layout, Rule
from ganformer_jax.errors import UserError
from ganformer_jax.models import Discriminator, Generator

Leaves = dict[str, np.ndarray]

MAX_POSITIONS = 1 << 28  # elements in the largest grid of positions
GENERATOR_RANGES = {
    "base_grid": Range(2, 16),
    "components": Range(0, 4096),
    "latent_size": Range(1, 1 << 20),
    "intermediate_size": Range(1, 1 << 20),
    "attention_resolutions": Range(0, 1 << 40),
    "attention.heads": Range(1, 256),
    "attention.kmeans_iterations": Range(0, 64),
    "positions.directions": Range(1, 64),
    "positions.size": Range(1, 1 << 16),
    "mapping.num_layers": Range(0, 128),
    "mapping.width": Range(1, 1 << 20),
    "mapping.last_hidden_width": Range(1, 1 << 20),
    "mapping.shared_width": Range(0, 1 << 20),
    "mapping.label_width": Range(1, 1 << 20),
    "mapping.inner_width": Range(1, 1 << 20),
    "merge.images": Range(0, 4096),
    "image_attention_resolution": Range(2, 256),
    "local_attention_below": Range(2, 256),
    "synthesis.clamp": Range(0, above=True),
    "text.layers": Range(0, 256),
    "text.width": Range(1, 1 << 16),
    "text.heads": Range(1, 256),
    "text.hidden_width": Range(1, 1 << 20),
    "text.vocabulary": Range(0, 1 << 24),
    "text.longest": Range(1, 1 << 16),
    "text.segments": Range(1, 256),
    "text.learning_rate_multiplier": Range(0, above=True),
}
DISCRIMINATOR_RANGES = {
    "minibatch_stddev_channels": Range(0, 64),
    "clamp": Range(0, above=True),
    "aggregators.count": Range(0, 4096),
    "aggregators.width": Range(1, 1 << 20),
    "aggregators.resolutions": Range(0, 1 << 40),
    "aggregators.heads": Range(1, 256),
    "positions.directions": Range(1, 64),
    "positions.size": Range(1, 1 << 16),
    "image_attention_resolution": Range(2, 256),
    "local_attention_below": Range(2, 256),
    "label_mapping.num_layers": Range(0, 128),
    "label_mapping.width": Range(1, 1 << 20),
    "label_mapping.hidden_width": Range(1, 1 << 20),
    "label_mapping.embedding_width": Range(1, 1 << 20),
}


def build_generator(config: GeneratorConfig) -> tuple[Generator, Any]:
    """Return the generator of a config, and its variables as shapes.

    Raises:
        UserError: If a value does not have its field's type, or a size is too large.
    """
    config = from_dict(GeneratorConfig, to_dict(config))
    _check_ranges("generator", config, GENERATOR_RANGES)
    longer = max(config.base_grid)
    _check_images(config.resolution, config.image_channels, config.label_size, longer)
    _check_filter("generator.synthesis.resample_filter", config.synthesis.resample_filter)
    side = min(config.resolution, config.attention_resolutions[1])
    if config.components and side**2 * (config.positions.size or config.w_size) > MAX_POSITIONS:
        raise UserError(f"positions of a {side}x{side} grid would be too large")
    generator = Generator(config)

    def initialize(z_BxKxD: jax.Array, labels_BxY: jax.Array) -> Any:
        return generator.init({"params": jax.random.key(0)}, z_BxKxD, labels_BxY, noise="const")

    latents, labels = (1, config.num_latents, config.z_size), (1, config.label_size)
    return generator, _shapes(initialize, latents, labels)


def build_discriminator(
    config: DiscriminatorConfig, size: int, channels: int, classes: int
) -> tuple[Discriminator, Any]:
    """Return the discriminator of square images, and its variables as shapes.

    Raises:
        UserError: If a value does not have its field's type, or a size is too large.
    """
    _check_images(size, channels, classes)
    config = from_dict(DiscriminatorConfig, to_dict(config))
    _check_ranges("discriminator", config, DISCRIMINATOR_RANGES)
    _check_filter("discriminator.resample_filter", config.resample_filter)
    discriminator = Discriminator(config)

    def initialize(images_BxHxWxC: jax.Array, labels_BxY: jax.Array) -> Any:
        return discriminator.init(jax.random.key(0), images_BxHxWxC, labels_BxY)

    return discriminator, _shapes(initialize, (1, size, size, channels), (1, classes))


def new_discriminator(generator: GeneratorConfig, is_nvidia: bool = False) -> DiscriminatorConfig:
    """Return the config of a discriminator for a generator that is stored without one.

    It is as wide as the generator, with its filter and its clamp, and otherwise as published.
    """
    synthesis = generator.synthesis
    config = DiscriminatorConfig(
        channel_base=synthesis.channel_base,
        channel_max=synthesis.channel_max,
        label_logit="embedding" if is_nvidia and generator.label_size else "class",
        resample_filter=synthesis.resample_filter,
        clamp=synthesis.clamp,
    )
    if generator.text.vocabulary:
        config = dataclasses.replace(config, text=generator.text, label_logit="projection")
    if generator.network != "ganformer":
        logit = "projection" if generator.label_size else "class"
        config = dataclasses.replace(
            config, network=generator.network, minibatch_stddev_channels=0, label_logit=logit
        )
    return config


def _check_ranges(network: str, config: Any, ranges: Mapping[str, Range]) -> None:
    for name, allowed in ranges.items():
        check_range(f"{network}.{name}", operator.attrgetter(name)(config), allowed)


def _check_images(resolution: int, channels: int, classes: int, longer: int = 4) -> None:
    """Check the properties of images; `longer` is the longer side of the base grid."""
    if not all(type(value) is int for value in (resolution, channels, classes)):
        raise UserError("resolution, channels and classes must be integers")
    check_range("resolution", resolution, Range(longer, 4096))
    doubled = resolution // longer
    if resolution % longer or doubled & (doubled - 1):
        wanted = "a power of two" if longer == 4 else f"{longer} times a power of two"
        raise UserError(f"resolution is {resolution}; it should be {wanted}")
    check_range("image channels", channels, Range(1, MAX_IMAGE_CHANNELS))
    check_range("classes", classes, Range(0, 1 << 20))


def _check_filter(name: str, taps: tuple[int, ...]) -> None:
    if not 1 <= len(taps) <= 32 or not sum(taps):
        raise UserError(f"{name} should be 1 to 32 numbers whose sum is not 0")


def _shapes(initialize: Any, *inputs: tuple[int, ...]) -> Any:
    return jax.eval_shape(initialize, *(jax.ShapeDtypeStruct(s, jnp.float32) for s in inputs))


# Values


def fill(
    published: Mapping[str, Any],
    rules: Iterable[Rule],
    framework: str,
    unused: Iterable[str],
    template: Mapping[str, Any],
    defaults: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Return variables with the structure of `template` and published values, in float32.

    Args:
        published: Values by published name.
        rules: Rules from names to paths; all that match apply if their path is in the template.
        framework: Framework whose rules are used.
        unused: Patterns of names that the published network stores but never reads.
        template: Shapes of our variables.
        defaults: Values, by path, of leaves that may have no published value.

    Raises:
        ConversionError: If a name or a leaf has no counterpart, or shapes differ.
    """
    rules = [rule for rule in rules if rule.framework == framework]
    ignored = [re.compile(pattern) for pattern in unused]
    shapes = {path: leaf.shape for path, leaf in flatten(template).items()}
    filled: Leaves = {}
    unknown, misfits = [], []
    for name, value in published.items():
        paths = _paths(name, rules, shapes)
        if not paths and not any(pattern.fullmatch(name) for pattern in ignored):
            unknown.append(name)
        for path, layout in paths:
            leaf = np.asarray(layout(np.array(value, np.float32)))  # a copy, as files may change
            if leaf.shape == shapes[path]:
                filled[path] = leaf
            else:
                misfits.append(f"{name} {leaf.shape} for {path} {shapes[path]}")
    _refuse({"shapes that do not fit": misfits})
    filled = {**(defaults or {}), **filled}
    missing = [path for path in shapes if path not in filled]
    _refuse({"published names without a place": unknown, "arrays without a value": missing})
    return unflatten({path: jnp.asarray(filled[path], jnp.float32) for path in shapes})


def _paths(name: str, rules: list[Rule], shapes: Mapping[str, Any]) -> list[tuple[str, Layout]]:
    paths = []
    for rule in rules:
        matched = re.fullmatch(rule.pattern, name)
        path = matched.expand(rule.path) if matched else ""
        if path in shapes:
            paths.append((path, rule.layout))
    return paths


def _refuse(complaints: Mapping[str, list[str]]) -> None:
    parts = [f"{what}: {', '.join(sorted(names))}" for what, names in complaints.items() if names]
    if parts:
        raise ConversionError(f"weights do not fit the network; {'; '.join(parts)}")


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves of nested dicts by `a/b/c` path."""
    return flax.traverse_util.flatten_dict(tree, sep="/")


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dicts of leaves by `a/b/c` path."""
    return flax.traverse_util.unflatten_dict(dict(leaves), sep="/")
