"""Changes of several properties of a component's region at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ganformer_jax.directions.direction import Direction

if TYPE_CHECKING:
    from jaxtyping import Float


class TargetChange(NamedTuple):
    """The change of w for a target of each image.

    Attributes:
        changes_BxD: Change to add to the component's w.
        lengths_B: Length of the full change, in standard deviations of w.
        shares_B: Share of it that is made; below 1 where the limit shortens it.
    """

    changes_BxD: Float[np.ndarray, "b d"]
    lengths_B: Float[np.ndarray, " b"]
    shares_B: Float[np.ndarray, " b"]


def target_change(
    directions: Mapping[str, Direction],
    names: Sequence[str],
    targets_BxA: Float[np.ndarray, "b a"],
    limit: float = np.inf,
) -> TargetChange:
    """Return the smallest change of a component's w that makes target changes of its region.

    According to the linear model, all other properties stay the same.

    Args:
        directions: Directions of one component, by the property that each changes; their facts have
            `per_unit`, the change of the property per unit, and `products`, their inner products.
        names: Properties to change.
        targets_BxA: Change of each property, for each image.
        limit: Largest change, in standard deviations of w; larger ones are shortened to it.

    Raises:
        KeyError: If a property has no direction.
        ValueError: If there are not as many targets of each image as properties, one or more.
    """
    if not names or np.ndim(targets_BxA) != 2 or np.shape(targets_BxA)[1] != len(names):
        shape = list(np.shape(targets_BxA))
        raise ValueError(f"targets {shape} of {len(names)} properties: give [images, properties]")
    chosen = [directions[name] for name in names]
    units_A = np.array([direction.facts["per_unit"] for direction in chosen])
    amounts_BxA = np.asarray(targets_BxA, np.float64) / units_A
    products = [[direction.facts["products"][name] for name in names] for direction in chosen]
    squares_B = np.einsum("ba,ac,bc->b", amounts_BxA, np.array(products), amounts_BxA)
    lengths_B = np.sqrt(np.maximum(squares_B, 0))
    shares_B = np.minimum(1, limit / np.maximum(lengths_B, np.finfo(float).tiny))
    steps_AxD = np.concatenate([direction.step_KxD for direction in chosen])
    changes_BxD = (shares_B[:, None] * amounts_BxA) @ steps_AxD
    return TargetChange(changes_BxD.astype(np.float32), lengths_B, shares_B)
