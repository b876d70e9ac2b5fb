"""Training of an experiment of any kind."""

from __future__ import annotations

import pathlib
from typing import Any

from ganformer_jax.config import Config
from ganformer_jax.config_ganformer2 import GANformer2Config
from ganformer_jax.config_prior import PriorConfig
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.ganformer2 import train_ganformer2
from ganformer_jax.experiment.prior import train_prior
from ganformer_jax.experiment.run import train_experiment
from ganformer_jax.experiment.translation import train_translation


def train_kind(
    config: Any, run: pathlib.Path, *, init_from: str | None = None, wandb: str | None = None
) -> bool:
    """Train, or resume, a run, as the function of its kind does.

    Args:
        config: The experiment, of a kind in `KINDS`.
        run: Folder of the run.
        init_from: What a new run of a GAN starts from.
        wandb: Project of Weights and Biases to log to as well.

    Raises:
        UserError: If the kind has no `init_from`; see the functions.
    """
    if isinstance(config, Config):
        return train_experiment(config, run, init_from=init_from, wandb=wandb)
    if init_from is not None:
        raise UserError("--init-from is for GANs: leave it out")
    if isinstance(config, PriorConfig):
        return train_prior(config, run, wandb=wandb)
    if isinstance(config, GANformer2Config):
        return train_ganformer2(config, run, wandb=wandb)
    return train_translation(config, run, wandb=wandb)
