"""Fills our variables with published values, accounting for every name on both sides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax.convert.arguments import ConversionError
from ganformer_jax.convert.rules import Layout, Rule
from ganformer_jax.models import Discriminator, Generator

Leaves = dict[str, np.ndarray]


def fill(
    published: Mapping[str, Any],
    rules: Iterable[Rule],
    framework: str,
    unused: Iterable[str],
    template: Mapping[str, Any],
    defaults: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Return variables like `template` with published values.

    Args:
        published: Values by published name.
        rules: Where names go; every matching rule whose path exists in the template applies.
        framework: Use the rules of this framework.
        unused: Patterns of names that the published network stores but never reads.
        template: Our variables as shapes.
        defaults: Values of leaves that may be absent, by path.

    Returns:
        Variables as nested dicts of float32 arrays.

    Raises:
        ConversionError: If names are left over on either side, or shapes differ.
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
            leaf = np.asarray(layout(np.asarray(value, np.float32)))
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


def generator_template(generator: Generator) -> Any:
    """Return the variables of a generator as shapes and dtypes."""
    config = generator.config

    def initialize(z_BxKxD: jax.Array, labels_BxY: jax.Array) -> Any:
        return generator.init({"params": jax.random.key(0)}, z_BxKxD, labels_BxY, noise="const")

    return _shapes(initialize, (1, config.num_latents, config.z_size), (1, config.label_size))


def discriminator_template(
    discriminator: Discriminator, size: int, channels: int, classes: int
) -> Any:
    """Return the variables of a discriminator of square images as shapes and dtypes."""

    def initialize(images_BxHxWxC: jax.Array, labels_BxY: jax.Array) -> Any:
        return discriminator.init(jax.random.key(0), images_BxHxWxC, labels_BxY)

    return _shapes(initialize, (1, size, size, channels), (1, classes))


def _shapes(initialize: Any, *inputs: tuple[int, ...]) -> Any:
    return jax.eval_shape(initialize, *(jax.ShapeDtypeStruct(s, jnp.float32) for s in inputs))
