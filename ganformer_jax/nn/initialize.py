"""Initial weights from few random draws.

XLA's CPU compiler takes 0.1 s for every random draw of a program, whatever its size, and networks
have a hundred arrays of normal numbers.
"""

from __future__ import annotations

import contextvars
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Key

BLOCK = 2**19
"""Normal numbers in a draw, at least: 2 MiB."""
Initializer = Callable[..., jax.Array]


class _Normals:
    """Normal numbers that initializers take one after the other, drawn in large blocks."""

    def __init__(self, key: Key[Array, ""]):
        self._key, self._blocks = key, 0
        self._block_N, self._taken = jnp.zeros(0), 0

    def take(self, shape: tuple[int, ...]) -> Array:
        size = math.prod(shape)
        if self._taken + size > self._block_N.size:
            key = jax.random.fold_in(self._key, self._blocks)
            drawn = jax.random.normal(key, (max(size, BLOCK),))
            # Without the barrier XLA would draw the numbers again for each of the arrays.
            self._block_N, self._taken = lax.optimization_barrier(drawn), 0
            self._blocks += 1
        start, self._taken = self._taken, self._taken + size
        return lax.slice(self._block_N, (start,), (self._taken,)).reshape(shape)


_NORMALS: contextvars.ContextVar[_Normals | None] = contextvars.ContextVar("normals", default=None)


def normal(stddev: float = 1.0) -> Initializer:
    """Return an initializer of float32 normal numbers; `initialize` draws those of many at once."""

    def of_shape(key: Key[Array, ""], shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        normals = _NORMALS.get()
        drawn = jax.random.normal(key, shape) if normals is None else normals.take(shape)
        return (stddev * drawn).astype(dtype)

    return of_shape


def uniform(limit: float) -> Initializer:
    """Return an initializer of float32 numbers, uniform in [-limit, limit], made of normal ones."""

    def of_shape(key: Key[Array, ""], shape: tuple[int, ...]) -> Array:
        return limit * as_uniform(normal()(key, shape))

    return of_shape


def as_uniform(normal: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Map normally distributed numbers to uniformly distributed ones in [-1, 1]."""
    return lax.erf(normal / math.sqrt(2.0))


def initialize(module: nn.Module, key: Key[Array, ""], *inputs: Any) -> dict[str, Any]:
    """Return `module.init({"params": key}, *inputs)`, but with normal numbers from few draws.

    The numbers are others than those of `init`, of the same distribution. Arrays that the module
    draws in other ways than with the initializer `normal` stay the same.

    Args:
        module: A network.
        key: Decides the weights.
        inputs: Inputs of a call of the module.
    """
    token = _NORMALS.set(_Normals(key))
    try:
        # A block drawn within one rematerialized part could not be used in another one.
        whole = module.clone(rematerialize=False) if hasattr(module, "rematerialize") else module
        return dict(whole.init({"params": key}, *inputs))
    finally:
        _NORMALS.reset(token)
