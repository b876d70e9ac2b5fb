"""The kinds of training, and the networks of each for `train_experiment`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ganformer_jax.config import Config
from ganformer_jax.config.ganformer2 import GANformer2Config
from ganformer_jax.config.prior import PriorConfig
from ganformer_jax.config.translation import TranslationConfig
from ganformer_jax.experiment.gan import LatestGenerator
from ganformer_jax.experiment.ganformer2.training import LatestScenes
from ganformer_jax.experiment.latest import LatestNetworks
from ganformer_jax.experiment.prior.training import LatestPrior
from ganformer_jax.experiment.translation.training import LatestTranslators
from ganformer_jax.train.devices import Placement
from ganformer_jax.train.kinds.ganformer2 import ganformer2_trainable
from ganformer_jax.train.kinds.prior import prior_trainable
from ganformer_jax.train.kinds.translation import translation_trainable
from ganformer_jax.train.trainable import Trainable
from ganformer_jax.train.updates import gan_trainable

Sample = Callable[[Any, Sequence[int]], np.ndarray]


class TrainingKind(NamedTuple):
    """One kind of training, as functions of its config and devices; its data is in `DATA`."""

    latest: Callable[[Any, Placement], LatestNetworks]
    trainable: Callable[[Any, Placement, Sample], Trainable]


TRAININGS: Mapping[type[Any], TrainingKind] = {
    Config: TrainingKind(LatestGenerator, gan_trainable),
    TranslationConfig: TrainingKind(LatestTranslators, translation_trainable),
    PriorConfig: TrainingKind(LatestPrior, prior_trainable),
    GANformer2Config: TrainingKind(LatestScenes, ganformer2_trainable),
}
"""Kinds of training by the class of their config."""
