"""What can be had again, and is kept for next time: compiled programs, weights, features."""

from __future__ import annotations

import os
import pathlib


def caches() -> pathlib.Path:
    """The folder for all of it: in XDG_CACHE_HOME, or in the user's `.cache`."""
    folder = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(folder) / "ganformer_jax"


def keep_compiled_programs() -> None:
    """Caches compiled programs: for the user, or in JAX_COMPILATION_CACHE_DIR."""
    import jax

    if not getattr(jax.config, "jax_compilation_cache_dir", None):  # the variable sets it too
        jax.config.update("jax_compilation_cache_dir", str(caches() / "xla"))
