"""Files of the feature cache: complete or absent, and a clear error if one is damaged."""

from __future__ import annotations

import pathlib
import zipfile
from collections.abc import Mapping

import numpy as np

from ganformer_jax.errors import UserError
from ganformer_jax.files import atomic_path


def load_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Read arrays by name.

    Raises:
        UserError: If the file is damaged.
    """
    try:
        with path.open("rb") as file:  # NumPy leaves a damaged file open
            return dict(np.load(file, allow_pickle=False))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged: delete it and try again") from error


def store_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name.

    Raises:
        UserError: If the file cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
