"""Arrays in files of a cache: whole or absent, and one clear line when damaged."""

from __future__ import annotations

import os
import pathlib
import zipfile
from collections.abc import Mapping

import numpy as np

from ganformer_jax.errors import UserError


def load_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads arrays by name; raises UserError if the file is damaged."""
    try:
        with path.open("rb") as file:  # which NumPy leaves open when it is damaged
            return dict(np.load(file, allow_pickle=False))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged; delete it and try again") from error


def store_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays under another name first, so that what has the name is whole."""
    partial = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(partial, **arrays)  # pyright: ignore[reportArgumentType]
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
