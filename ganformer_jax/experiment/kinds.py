"""The kinds of training: what each brings to `train_experiment`."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ganformer_jax.config import Config
from ganformer_jax.config_files import load_experiment
from ganformer_jax.config_ganformer2 import GANformer2Config
from ganformer_jax.config_prior import PriorConfig
from ganformer_jax.config_translation import TranslationConfig
from ganformer_jax.data.batches import DatasetSource
from ganformer_jax.experiment.data import ExperimentData
from ganformer_jax.experiment.gan import LatestGenerator
from ganformer_jax.experiment.ganformer2 import LatestScenes
from ganformer_jax.experiment.ganformer2_data import GANformer2Data
from ganformer_jax.experiment.latest import LatestNetworks, TrainingData
from ganformer_jax.experiment.prior import LatestPrior
from ganformer_jax.experiment.prior_data import prior_data
from ganformer_jax.experiment.translation import LatestTranslators
from ganformer_jax.experiment.translation_data import TranslationData
from ganformer_jax.train.devices import Placement
from ganformer_jax.train.ganformer2 import ganformer2_trainable
from ganformer_jax.train.prior import prior_trainable
from ganformer_jax.train.trainable import Trainable
from ganformer_jax.train.translation import translation_trainable
from ganformer_jax.train.updates import gan_trainable

Sample = Callable[[Any, Sequence[int]], np.ndarray]


class Training(NamedTuple):
    """One kind of training, as functions of its config."""

    data: Callable[[Any], TrainingData]
    """Raises `UserError` if the config can have no data; opens none unless it has to."""
    latest: Callable[[Any, Placement], LatestNetworks]
    trainable: Callable[[Any, Placement, Sample], Trainable]


TRAININGS: Mapping[type[Any], Training] = {
    Config: Training(ExperimentData, LatestGenerator, gan_trainable),
    TranslationConfig: Training(TranslationData, LatestTranslators, translation_trainable),
    PriorConfig: Training(prior_data, LatestPrior, prior_trainable),
    GANformer2Config: Training(GANformer2Data, LatestScenes, ganformer2_trainable),
}
"""Kinds of training by the class of their config."""


def open_run(run: pathlib.Path, split: str) -> DatasetSource:
    """Open a split of the dataset of a run; of a translation, that of the target."""
    config = load_experiment(run / "config.json")
    return TRAININGS[type(config)].data(config).image_sets()[-1].open(split)
