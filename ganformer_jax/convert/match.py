"""Matching of foreign parameter names to leaves of our variables, accounting for both sides."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax.errors import UserError
from ganformer_jax.models import Discriminator, Generator

Layout = Callable[[np.ndarray], np.ndarray]
Leaves = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Rule:
    r"""A foreign name and where its value goes.

    Attributes:
        pattern: Regular expression of the whole foreign name.
        path: Our path, `collection/module/.../leaf`, with groups of the pattern as `\1`.
        layout: Rearranges the value into our layout.
    """

    pattern: str
    path: str
    layout: Layout


class ConversionError(UserError):
    """Names or shapes that do not match; the message lists both sides."""


def keep(value: np.ndarray) -> np.ndarray:
    """The value as it is."""
    return value


def transpose(value: np.ndarray) -> np.ndarray:
    """Dense weights [out, in] to [in, out]; vectors stay."""
    return value.T


def oihw_to_hwio(value: np.ndarray) -> np.ndarray:
    """Convolution weights from [out, in, height, width]."""
    return value.transpose(2, 3, 1, 0)


def chw_to_hwc(value: np.ndarray) -> np.ndarray:
    """An image from [channels, height, width], leading axes of size 1 dropped."""
    return value.reshape(value.shape[-3:]).transpose(1, 2, 0)


def _grid(size: int) -> tuple[int, int, int]:
    """Channels, height and width of a flattened 4x4 grid."""
    return size // 16, 4, 4


def rows_chw_to_hwc(value: np.ndarray) -> np.ndarray:
    """Dense weights [in, out] whose inputs are a flattened 4x4 grid: channels become last."""
    grid = value.reshape(*_grid(value.shape[0]), -1)
    return grid.transpose(1, 2, 0, 3).reshape(value.shape)


def columns_chw_to_hwc(value: np.ndarray) -> np.ndarray:
    """Dense weights [in, out], or biases [out], whose outputs are a flattened 4x4 grid."""
    return rows_chw_to_hwc(value.reshape(-1, value.shape[-1]).T).T.reshape(value.shape)


def match(
    foreign: Mapping[str, Any],
    rules: Iterable[Rule],
    unused: Iterable[str],
    template: Mapping[str, Any],
    defaults: Leaves,
) -> dict[str, Any]:
    """Fill the leaves of `template` with foreign values.

    Args:
        foreign: Values by foreign name.
        rules: Where names go; every matching rule whose path exists in the template applies.
        unused: Patterns of names that the original network holds but never reads.
        template: Our variables as shapes.
        defaults: Leaves that may be absent, by path.

    Returns:
        Variables as nested dicts of float32 arrays.

    Raises:
        ConversionError: Names left over on either side, or shapes that differ.
    """
    rules, idle = list(rules), [re.compile(pattern) for pattern in unused]
    shapes = {path: leaf.shape for path, leaf in flatten(template).items()}
    filled, unknown, misfits = {}, [], []
    for name, value in foreign.items():
        paths = _paths(name, rules, shapes)
        if not paths and not any(pattern.fullmatch(name) for pattern in idle):
            unknown.append(name)
        for path, layout in paths:
            leaf = np.asarray(layout(np.asarray(value, np.float32)))
            if leaf.shape == shapes[path]:
                filled[path] = leaf
            else:
                misfits.append(f"{name} {leaf.shape} for {path} {shapes[path]}")
    _refuse("shapes that do not fit", misfits, "", [])
    missing = [path for path in shapes if path not in filled and path not in defaults]
    _refuse(
        "names that no part of the network takes", unknown, "parts left without a value", missing
    )
    leaves = {path: filled.get(path, defaults.get(path)) for path in shapes}
    return unflatten({path: jnp.asarray(leaf, jnp.float32) for path, leaf in leaves.items()})


def _paths(name: str, rules: list[Rule], shapes: Mapping[str, Any]) -> list[tuple[str, Layout]]:
    found = []
    for rule in rules:
        matched = re.fullmatch(rule.pattern, name)
        path = matched.expand(rule.path) if matched else ""
        if path in shapes:
            found.append((path, rule.layout))
    return found


def _refuse(left: str, lefts: list[str], right: str, rights: list[str]) -> None:
    if not lefts and not rights:
        return
    parts = [f"{left}: {', '.join(sorted(lefts))}"] if lefts else []
    parts += [f"{right}: {', '.join(sorted(rights))}"] if rights else []
    raise ConversionError(f"weights do not fit the network; {'; '.join(parts)}")


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts to `a/b/c` paths."""
    return flax.traverse_util.flatten_dict(tree, sep="/")


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """`a/b/c` paths to nested dicts."""
    return flax.traverse_util.unflatten_dict(dict(leaves), sep="/")


def shapes_of(initialize: Callable[..., Any], *inputs: tuple[int, ...]) -> Any:
    """Shapes and types of what `initialize` returns for inputs of these shapes, uncomputed."""
    return jax.eval_shape(initialize, *(jax.ShapeDtypeStruct(s, jnp.float32) for s in inputs))


def generator_template(generator: Generator) -> Any:
    """Variables of a generator, as shapes and types."""
    config = generator.config

    def initialize(z_BxKxD: jax.Array, labels: jax.Array) -> Any:
        return generator.init({"params": jax.random.key(0)}, z_BxKxD, labels, noise="const")

    return shapes_of(initialize, (1, config.num_latents, config.z_size), (1, config.label_size))


def discriminator_template(
    discriminator: Discriminator, size: int, colors: int, classes: int
) -> Any:
    """Variables of a discriminator for such images, as shapes and types."""

    def initialize(images: jax.Array, labels: jax.Array) -> Any:
        return discriminator.init(jax.random.key(0), images, labels)

    return shapes_of(initialize, (1, size, size, colors), (1, classes))


class Arguments:
    """Constructor arguments of a published network, each to be read or known.

    An argument that nothing reads is one whose effect would be lost, so `finish` refuses it.
    """

    def __init__(self, values: Mapping[str, Any], network: str) -> None:
        self.values, self.network, self.read = dict(values), network, set()

    def get(self, default: Any, *names: str) -> Any:
        """The value under the first name that is given (names differ between versions)."""
        self.read.update(names)
        return next((self.values[name] for name in names if name in self.values), default)

    def required(self, *names: str) -> Any:
        """The value under the first name that is given.

        Raises:
            ConversionError: It is not given at all.
        """
        value = self.get(None, *names)
        if value is None:
            raise ConversionError(f"{self.network} argument {names[0]} is missing")
        return value

    def ignore(self, *names: str) -> None:
        """Accept arguments that matter only elsewhere."""
        self.read.update(names)

    def require(self, expected: Any, *names: str) -> None:
        """Accept only one value of an argument.

        Raises:
            ConversionError: Another value, whose effect this package lacks.
        """
        value = self.get(expected, *names)
        if value != expected:
            raise ConversionError(
                f"{self.network} argument {names[0]}={value!r} is not supported, only {expected!r}"
            )

    def finish(self) -> None:
        """Refuse arguments that were not read.

        Raises:
            ConversionError: With their names.
        """
        unread = sorted(set(self.values) - self.read)
        if unread:
            raise ConversionError(f"{self.network} has unknown arguments: {', '.join(unread)}")
