"""Axes over which `jax.shard_map` maps, and what gradients written by hand do about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:
    from jaxtyping import Array


def varying(*arrays: Array) -> tuple[str, ...]:
    """Return the mapped axes of `jax.shard_map` over which any of some arrays differs."""
    return tuple(sorted({axis for array in arrays for axis in _varying(array)}))


def zeros(shape: tuple[int, ...], dtype: Any, axes: tuple[str, ...]) -> Array:
    """Return zeros that count as different over some mapped axes."""
    zero = jnp.zeros(shape, dtype)
    return lax.pcast(zero, axes, to="varying") if axes else zero


def summed_for(primal: Array, gradient: Array) -> Array:
    """Return a gradient, summed over the mapped axes over which its primal value is the same."""
    axes = tuple(sorted(_varying(gradient) - _varying(primal)))
    return lax.psum(gradient, axes) if axes else gradient


def _varying(array: Array) -> frozenset[str]:
    kind = jax.typeof(array)
    of_axes = getattr(kind, "manual_axis_type", None)  # as jax calls it from 0.10.2 on
    return frozenset(getattr(kind, "vma", ()) if of_axes is None else of_axes.varying)
