"""A direction in w, and latents moved along it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

GLOBAL, COMPONENTS, ALL = "global", "components", "all"
"""Latents that a direction changes: the global latent; every component, or a chosen one; or all
latents together. A direction of a single component has a `component_name` instead."""


def component_name(component: int) -> str:
    """Return the name of a component, counted from 0, as users count it: "component 1"."""
    return f"component {component + 1}"


@dataclasses.dataclass(frozen=True)
class Direction:
    """A direction in w.

    Attributes:
        name: Name by which users select it.
        latent: `GLOBAL`, `COMPONENTS`, `ALL` or a `component_name`.
        vector_KxD: The direction, float32 of length 1: of one latent, K = 1, or of all.
        scale: Length of the change of w per unit, one standard deviation of w. For factorization it
            is that of w projected on the vector, sqrt(v^T covariance v). For regression it is the
            length of a step of Mahalanobis length 1, 1 / sqrt(v^T covariance^-1 v), which is never
            longer.
        method: Method that found it.
        layers: First and last layer whose latents change; None for all layers.
        facts: Further facts about it, as JSON values.
    """

    name: str
    latent: str
    vector_KxD: Float[np.ndarray, "k d"]
    scale: float
    method: str
    layers: tuple[int, int] | None = None
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def step_KxD(self) -> Float[np.ndarray, "k d"]:
        """The change of w per unit."""
        return np.float32(self.scale) * self.vector_KxD

    def moved(
        self,
        w_BxKxLxD: Float[np.ndarray, "b k l d"],
        amounts_B: Float[np.ndarray, " b"],
        component: int | None = None,
        words: int = 0,
    ) -> Float[np.ndarray, "b k l d"]:
        """Return latents moved along the direction.

        Args:
            w_BxKxLxD: Latents; a single one is moved by each of several amounts.
            amounts_B: How far to move each, in standard deviations; 0 changes no bit.
            component: Which component a direction of `COMPONENTS` moves, from 0; by default all.
            words: Number of words of a caption in w, before the global latent, which stay.

        Raises:
            ValueError: If there is no such component.
        """
        count, *rest = w_BxKxLxD.shape[1:]
        components = count - 1 - words
        if component is not None and not 0 <= component < components:
            raise ValueError(f"component {component} is not one of 0 to {components - 1}")
        change_KxLxD = np.zeros((count - words, *rest), np.float32)
        first, last = self.layers or (0, w_BxKxLxD.shape[2] - 1)
        places = self._places(component)
        change_KxLxD[places, first : last + 1] = self.step_KxD[:, None]
        if words:
            change_KxLxD = np.insert(change_KxLxD, [count - words - 1] * words, 0.0, 0)
        amounts = np.atleast_1d(np.asarray(amounts_B, np.float32))[:, None, None, None]
        return w_BxKxLxD + amounts * change_KxLxD

    def _places(self, component: int | None) -> slice:
        """Return which latents of w move."""
        if self.latent == ALL:
            return slice(None)
        if self.latent == GLOBAL:
            return slice(-1, None)
        if self.latent == COMPONENTS and component is None:
            return slice(0, -1)
        if self.latent != COMPONENTS:
            component = int(self.latent.split()[1]) - 1
        assert component is not None, "a single component"
        return slice(component, component + 1)
