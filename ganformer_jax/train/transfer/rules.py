"""Rules that fit the weights of one network to another of other classes, channels or size.

Each rule changes leaves by dotted path, as the network there has them, to what the one here has.
Where it can, the function stays the same. What still has another shape afterwards is not taken.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np

from ganformer_jax.config import Config, GeneratorConfig
from ganformer_jax.train.transfer.labels import (
    fit_first_of_dcgan,
    fit_logits,
    fit_mapping,
    fit_rows_of_classes,
)
from ganformer_jax.train.transfer.leaves import Leaves, Shape
from ganformer_jax.train.transfer.multipliers import (
    fit_discriminator_multipliers,
    fit_generator_multipliers,
)


def fit_generator(
    leaves: Leaves, shapes: Mapping[str, Shape], there: GeneratorConfig, here: GeneratorConfig
) -> Leaves:
    """Return the parameters of a generator for another one, whose shapes these are."""
    leaves = dict(leaves)
    if {there.network, here.network} != {"ganformer"}:
        fit_rows_of_classes(leaves, there.label_size, here.label_size)
        fit_first_of_dcgan(leaves, there, here)
        return leaves
    fit_generator_multipliers(leaves, there, here)
    _fit_output_channels(leaves, there.image_channels, here.image_channels)
    _move_last_layers(leaves, shapes, there.resolution, here.resolution)
    if (there.image_channels, here.image_channels) in CHANNELS and here.image_channels == 4:
        _add_opacity(leaves, shapes)
    fit_mapping(leaves, there, here)
    _fit_components(leaves, there, here)
    return leaves


def fit_discriminator(leaves: Leaves, there: Config, here: Config) -> Leaves:
    """Return the parameters of a discriminator for another one."""
    leaves = dict(leaves)
    if {there.discriminator.network, here.discriminator.network} != {"stylegan2"}:
        fit_rows_of_classes(leaves, there.generator.label_size, here.generator.label_size)
        return leaves
    fit_discriminator_multipliers(leaves, there.discriminator, here.discriminator)
    _fit_input_channels(leaves, there.generator.image_channels, here.generator.image_channels)
    fit_logits(leaves, there, here)
    return leaves


# Image channels

OPAQUE = 1.0
CHANNELS = {
    (3, 1): np.full((3, 1), 1 / 3),
    (1, 3): np.ones((1, 3)),
    (3, 4): np.eye(3, 4),
    (4, 3): np.eye(4, 3),
}
CHANNELS |= {(1, 4): CHANNELS[1, 3] @ CHANNELS[3, 4], (4, 1): CHANNELS[4, 3] @ CHANNELS[3, 1]}


def _channels(given: int, wanted: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return what turns the channels of a pixel into others, a matrix and what it then adds.

    Gray is the mean of the colors, colors are gray repeated, and opacity is opaque.
    """
    if (given, wanted) not in CHANNELS:
        return None
    return CHANNELS[given, wanted], OPAQUE * (np.arange(wanted) == 3)


def _fit_output_channels(leaves: Leaves, given: int, wanted: int) -> None:
    """Make layers return the channels wanted: the image of the generator there, converted."""
    conversion = _channels(given, wanted)
    if conversion is None:
        return
    note = f"image channels {given} to {wanted}"
    for path, leaf in leaves.items():
        if path.endswith(("to_image.convolution.kernel", "to_image.bias")):
            leaves[path] = leaf.adapted(leaf.value @ conversion[0], note)


def _add_opacity(leaves: Leaves, shapes: Mapping[str, Shape]) -> None:
    """Make images opaque: in the last layer, since those of several layers are added."""
    paths = [path for path in leaves if path.endswith("to_image.bias") and path in shapes]
    if paths:
        last = max(paths, key=lambda path: int(path.split("block_")[1].split(".")[0]))
        value = leaves[last].value + OPAQUE * (np.arange(4) == 3)
        leaves[last] = leaves[last].adapted(value, "opaque at first")


def _fit_input_channels(leaves: Leaves, given: int, wanted: int) -> None:
    """Make layers take the channels wanted: what they see is the image, converted back."""
    conversion = _channels(wanted, given)
    if conversion is None:
        return
    (matrix, added), note = conversion, f"image channels {given} to {wanted}"
    for path, kernel in list(leaves.items()):
        if not re.fullmatch(r"from_image_\d+\.kernel", path):
            continue
        value = np.einsum("io,xyoc->xyic", matrix, kernel.value) * math.sqrt(wanted / given)
        leaves[path] = kernel.adapted(value, note)
        if added.any():  # opacity, which the layer here no longer sees
            name, constant = path.replace("kernel", "bias"), added @ kernel.value[0, 0]
            bias = leaves[name]
            value = bias.value + constant / math.sqrt(given)
            leaves[name] = bias.adapted(value, f"{note}, with the weights of opacity", kernel)


# Resolution


def _move_last_layers(leaves: Leaves, shapes: Mapping[str, Shape], there: int, here: int) -> None:
    """Use the layers that only the last block has for the last block here, if they fit."""
    old, new = f"synthesis.block_{there}.", f"synthesis.block_{here}."
    for layer in ("last_convolution.", "to_image."):
        moved = {path: new + path[len(old) :] for path in leaves if path.startswith(old + layer)}
        kept = any(path.startswith(old + layer) for path in shapes)
        fits = all(
            target not in leaves and shapes.get(target) == leaves[path].value.shape
            for path, target in moved.items()
        )
        if not kept and fits:
            for path, target in moved.items():
                leaf = leaves.pop(path)
                leaves[target] = leaf.adapted(leaf.value, f"from resolution {there}")


# Components

COMPONENT_AXES = {
    r"latent_positions": 0,
    r".*\.top_down\.centroids": 2,
    r"mapping\.join\.kernel": 0,
    r"mapping\.split\.kernel": 1,
    r"mapping\.split\.bias": 0,
}


def _fit_components(leaves: Leaves, there: GeneratorConfig, here: GeneratorConfig) -> None:
    """Take the first components of arrays that have values for each."""
    given, wanted = there.components, here.components
    if given == wanted or not given or not wanted:
        return
    same_width = (there.z_size, there.w_size) == (here.z_size, here.w_size)
    count = min(given, wanted)
    note = f"the first {wanted} of {given} components"
    if wanted > given:
        note = f"{given} components; {wanted - given} more are new"
    for path, leaf in list(leaves.items()):
        axis = next((a for name, a in COMPONENT_AXES.items() if re.fullmatch(name, path)), None)
        if axis is None:
            continue
        if not same_width and not path.endswith("centroids"):  # whose width is that of the image
            del leaves[path]
            continue
        value = np.take(leaf.value, range(leaf.value.shape[axis] // given * count), axis)
        if path == "mapping.join.kernel":
            value = value * math.sqrt(wanted / given)
        leaves[path] = leaf.adapted(value, note, leading=wanted > given)
