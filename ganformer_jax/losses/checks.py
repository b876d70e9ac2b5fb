"""Checks of what losses are computed from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Float

    Logits = Float[Any, "b 1"]
    PerImage = Float[Any, " b"]


def require(array: Any, name: str, rank: int) -> None:
    """Raise ValueError for another rank, and TypeError for a dtype that is not floating point."""
    refuse_tuple(array, name)
    if jnp.ndim(array) != rank:
        raise ValueError(f"{name} must have rank {rank}, not shape {jnp.shape(array)}")
    if not jnp.issubdtype(jnp.result_type(array), jnp.floating):
        raise TypeError(f"{name} must be floating point, not {jnp.result_type(array)}")


def refuse_tuple(value: Any, name: str) -> None:
    """Raise TypeError for all that a network returns, in place of the array, and for lists."""
    if isinstance(value, tuple):
        raise TypeError(f"{name} must be an array: networks return (array, dict), take [0]")
    if isinstance(value, list):
        raise TypeError(f"{name} must be an array, not a list")


def require_shape(array: Any, name: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError for another shape, and TypeError for what is not floating point."""
    require(array, name, len(shape))
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, not {array.shape}")


def column_of(logits_Bx1: Logits, name: str = "logits") -> PerImage:
    """Return logits as float32 [B]; raise ValueError or TypeError for what are none."""
    require(logits_Bx1, name, 2)
    if logits_Bx1.shape[1] != 1:
        raise ValueError(f"{name} must have one column, not shape {logits_Bx1.shape}")
    return logits_Bx1[:, 0].astype(jnp.float32)


def pair_of(real_Bx1: Logits, fake_Bx1: Logits) -> tuple[PerImage, PerImage]:
    """Return the logits of real and of generated images, as many of both."""
    real_B, fake_B = column_of(real_Bx1, "real logits"), column_of(fake_Bx1, "fake logits")
    if real_B.shape != fake_B.shape:
        raise ValueError(f"{real_B.shape[0]} real logits but {fake_B.shape[0]} fake ones")
    return real_B, fake_B
