"""Caches of compiled programs, downloaded weights and features."""

from __future__ import annotations

import os
import pathlib


def caches() -> pathlib.Path:
    """Return the folder of all caches: in XDG_CACHE_HOME, or in the user's `.cache`."""
    folder = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(folder) / "ganformer_jax"


def keep_compiled_programs() -> None:
    """Cache compiled programs, in JAX_COMPILATION_CACHE_DIR if it is set."""
    import jax

    if not getattr(jax.config, "jax_compilation_cache_dir", None):  # the variable sets it too
        jax.config.update("jax_compilation_cache_dir", str(caches() / "xla"))
