"""Pure functions on latents: interpolation, and swaps of components or layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

    Latents = Float[np.ndarray, "*b k l d"]

_THIRDS = ("coarse", "middle", "fine")


def interpolate(
    a: Float[np.ndarray, "*shape"],
    b: Float[np.ndarray, "*shape"],
    t: float | Float[np.ndarray, "*t"],
) -> Float[np.ndarray, "*shape"]:
    """Interpolate linearly, as is usual in w.

    Args:
        a: Latents at t = 0, of any shape, to the bit.
        b: Latents at t = 1, to the bit.
        t: Position between them, of a shape that broadcasts to theirs.

    Returns:
        Latents, float32.
    """
    t = np.asarray(t, np.float64)
    return ((1 - t) * a + t * b).astype(np.float32)


def slerp(
    a: Float[np.ndarray, "*shape d"],
    b: Float[np.ndarray, "*shape d"],
    t: float | Float[np.ndarray, "*t"],
) -> Float[np.ndarray, "*shape d"]:
    """Interpolate along the arc between two vectors, as is usual in z.

    Each vector of the last axis turns in the plane of both, at an even rate (Shoemake 1985,
    "Animating rotation with quaternion curves", section 3.3), and vectors of normal distribution
    stay about as long as such vectors are. Vectors on one line, which have no plane, are
    interpolated linearly.

    Args:
        a: Latents at t = 0, to the bit.
        b: Latents at t = 1, to the bit.
        t: Position between them, of a shape that broadcasts to `[*shape, 1]`.

    Returns:
        Latents, float32.
    """
    a, b, t = np.asarray(a, np.float64), np.asarray(b, np.float64), np.asarray(t, np.float64)
    lengths = np.linalg.norm(a, axis=-1, keepdims=True) * np.linalg.norm(b, axis=-1, keepdims=True)
    cosine = (a * b).sum(-1, keepdims=True) / np.maximum(lengths, np.finfo(np.float64).tiny)
    angle = np.arccos(np.clip(cosine, -1, 1))
    sine = np.sin(angle)
    flat = (sine < 1e-6) | (lengths == 0)
    safe = np.where(flat, 1, sine)
    of_a = np.where(flat, 1 - t, np.sin((1 - t) * angle) / safe)
    of_b = np.where(flat, t, np.sin(t * angle) / safe)
    return (of_a * a + of_b * b).astype(np.float32)


def swap_components(w: Latents, other: Latents, components: Sequence[int]) -> Latents:
    """Return w with the latents of these components, counted from 0, of another image.

    -1 is the global latent.
    """
    mixed = np.array(np.broadcast_to(w, np.broadcast_shapes(w.shape, other.shape)))
    mixed[..., list(components), :, :] = other[..., list(components), :, :]
    return mixed


def swap_layers(w: Latents, other: Latents, layers: Sequence[int]) -> Latents:
    """Return w with the latents of these layers, counted from the first, of another image."""
    mixed = np.array(np.broadcast_to(w, np.broadcast_shapes(w.shape, other.shape)))
    mixed[..., list(layers), :] = other[..., list(layers), :]
    return mixed


def layer_thirds(layers: int) -> dict[str, list[int]]:
    """Return layers from 0 as "coarse", "middle" and "fine"; of fewer than three, some are none."""
    thirds = np.array_split(np.arange(layers), 3)
    return {name: third.tolist() for name, third in zip(_THIRDS, thirds, strict=True)}
