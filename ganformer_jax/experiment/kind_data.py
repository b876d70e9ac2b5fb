"""The data of an experiment of any kind, or of a run."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from ganformer_jax.config import Config
from ganformer_jax.config.files import CONFIG_FILE, load_experiment
from ganformer_jax.config.ganformer2 import GANformer2Config
from ganformer_jax.config.prior import PriorConfig
from ganformer_jax.config.translation import TranslationConfig
from ganformer_jax.data.batches import DatasetSource
from ganformer_jax.experiment.data import ExperimentData
from ganformer_jax.experiment.ganformer2.data import GANformer2Data
from ganformer_jax.experiment.prior.data import prior_data
from ganformer_jax.experiment.translation.data import TranslationData

DATA: Mapping[type[Any], Callable[[Any], Any]] = {
    Config: ExperimentData,
    TranslationConfig: TranslationData,
    PriorConfig: prior_data,
    GANformer2Config: GANformer2Data,
}
"""Functions that return the `TrainingData` of a config, by its class."""


def data_of_run(run: pathlib.Path) -> Any:
    """Return the data of a run, according to the config in its folder."""
    config = load_experiment(run / CONFIG_FILE)
    return DATA[type(config)](config)


def open_run(run: pathlib.Path, split: str) -> DatasetSource:
    """Open a split of the real images that a run's images should resemble."""
    return data_of_run(run).image_sets()[-1].open(split)
