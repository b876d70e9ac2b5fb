"""Modules of configs by the names that they had in version 0.1, such as `config_prior`."""

from __future__ import annotations

import importlib
import sys

FORMER = ("attention", "checks", "dicts", "discriminator", "files", "ganformer2", "kinds")
FORMER += ("patches", "prior", "ranges", "text", "training", "translation")


def alias_former_modules() -> None:
    """Let `import ganformer_jax.config_prior` find `ganformer_jax.config.prior`.

    Config files of version 0.1 contain such imports.
    """
    for name in FORMER:
        module = importlib.import_module(f"ganformer_jax.config.{name}")
        sys.modules.setdefault(f"ganformer_jax.config_{name}", module)
