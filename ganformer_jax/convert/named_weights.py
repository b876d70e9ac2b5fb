"""Arrays of a foreign file, taken one by one by name and shape, so that none is left out."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np

from ganformer_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class NamedWeights:
    """Arrays by name; those that are taken are removed.

    Attributes:
        path: The file, for messages.
        network: Name of the network that it should contain, for messages.
        arrays: The arrays that are left.
    """

    path: pathlib.Path
    network: str
    arrays: dict[str, np.ndarray]

    def take(self, name: str, *shape: int | None) -> np.ndarray:
        """Return an array in float32.

        Args:
            name: Its name in the file.
            shape: Length of each of its axes; None for any length.

        Raises:
            UserError: If the file lacks the array, or its shape or type is another one.
        """
        if name not in self.arrays:
            raise UserError(f"{self._no_network()}: it has no {name}")
        array = self.arrays.pop(name)
        if not jnp.issubdtype(array.dtype, np.floating) or array.ndim != len(shape):
            raise UserError(
                f"{self.path}: {name} is {array.dtype} {list(array.shape)}, not weights"
            )
        sides = zip(array.shape, shape, strict=True)
        wanted = [found if side is None else side for found, side in sides]
        if wanted != list(array.shape):
            raise UserError(
                f"{self._no_network()}: {name} is {list(array.shape)}, and by the other arrays it "
                f"should be {wanted}"
            )
        return array.astype(np.float32)

    def norm(self, name: str, width: int) -> dict[str, np.ndarray]:
        """Return the parameters of a layer normalization."""
        names = {"scale": "weight", "bias": "bias"}
        return {here: self.take(f"{name}.{there}", width) for here, there in names.items()}

    def count_layers(self, prefix: str) -> int:
        """Return the number of layers, whose arrays begin with this prefix and their number."""
        starts = (name.removeprefix(prefix) for name in self.arrays if name.startswith(prefix))
        return len({start.split(".")[0] for start in starts})

    def refuse(self, names: Iterable[str]) -> None:
        """Raise `UserError` if there is one of these names, which the network does not have."""
        if name := min(names, default=None):
            raise UserError(f"{self._no_network()}: it has an array {name}")

    def _no_network(self) -> str:
        return f"{self.path} does not contain a {self.network}"
