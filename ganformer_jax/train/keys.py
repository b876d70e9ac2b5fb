"""The random key of every draw of a training step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax

if TYPE_CHECKING:
    from jaxtyping import Array, Int, Key

# A key is the state's, folded with the step and then with a place in this table: a row of STRIDE
# for every update. Only append: in another order every run would draw other values.
UPDATES = ("generator", "path_length", "discriminator")
DRAWS = ("z", "noise", "dropout", "components", "pixels", "style_z", "style_cutoff")
DRAWS += ("component_z", "component_cutoff")
STRIDE = 32
assert len(DRAWS) <= STRIDE


def update_keys(
    key: Key[Array, ""], step: Int[Array, ""], update: str
) -> dict[str, Key[Array, ""]]:
    """Return the keys of one update by the names in `DRAWS`.

    Args:
        key: The state's key, which never changes.
        step: Steps done so far.
        update: One of `UPDATES`.
    """
    key = jax.random.fold_in(key, step)
    start = UPDATES.index(update) * STRIDE
    return {name: jax.random.fold_in(key, start + i) for i, name in enumerate(DRAWS)}
