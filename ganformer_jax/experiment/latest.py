"""The interface of a kind of training to `train_experiment`: its data and the latest networks."""

from __future__ import annotations

import abc
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from ganformer_jax import hosts
from ganformer_jax.evaluate.training_metrics import TrainingMetrics
from ganformer_jax.experiment.data import ExperimentData
from ganformer_jax.train.devices import Placement, place_on
from ganformer_jax.train.observing import Moment

Figures = Mapping[str, np.ndarray]
"""uint8 images [H, W] or [H, W, C] by name."""
Metrics = Callable[[], Sequence[TrainingMetrics]]
"""Makes the metrics of `train.metrics`, one for each set of real images; reads data."""
Lower = Callable[[], jax.stages.Lowered]


class TrainingData(Protocol):
    """The data of an experiment; it is opened, and scenes are rendered, on first use."""

    def check(self) -> None:
        """Raise `UserError` if it cannot be trained on, without rendering scenes."""
        ...

    def image_sets(self) -> Sequence[ExperimentData]:
        """Return the sets of real images; generated ones are compared with the last."""
        ...

    def save_label_names(self, run: pathlib.Path) -> None:
        """Write the meaning of labels, if there are any, to the folder of a run."""
        ...

    def batches(self, images_seen: int) -> Iterator[dict[str, np.ndarray]]:
        """Yield this process's share of the training batches after `images_seen` images."""
        ...

    def identity(self) -> Mapping[str, str]:
        """Return the checksums of datasets that `prepare` made, by the options that name them."""
        ...


class LatestNetworks(abc.ABC):
    """The networks of the latest state in training, replicated on every device of this process.

    Every process samples by itself, so that images need not be gathered from other hosts.

    Args:
        training: The devices that train, of all processes.
        read: Function of a state that returns the tree of arrays that images are made from.
        image_shape: Height, width and channels of the images.
        at_once: Number of images to make at once.

    Attributes:
        placement: The devices of this process that train.
        image_shape: Height, width and channels of the images.
        batch_size: Images made at once, a multiple of these devices.
        main_figure: Name of the figure whose file is named after the step alone.
    """

    main_figure = "samples"

    def __init__(
        self,
        training: Placement,
        read: Callable[[Any], Any],
        image_shape: tuple[int, int, int],
        at_once: int,
    ):
        self.placement, self.image_shape = place_on(training.own), image_shape
        self.batch_size = self.placement.rounded(at_once)
        self._read = read
        self._replicate = jax.jit(lambda tree: tree, out_shardings=training.replicated)
        self._step, self._weights = None, None

    def weights(self, state: Any) -> Any:
        """Return the arrays that images are made from; all processes must call this together."""
        hosts.check_together()
        if state.step is not self._step:
            replicated = self._replicate(self._read(state))
            own = jax.tree.map(lambda leaf: leaf.addressable_data(0), replicated)
            self._weights = jax.device_put(own, self.placement.replicated)
            self._step = state.step
        return self._weights

    def programs(self, state: Any) -> Mapping[str, Lower]:
        """Return functions that trace the sampling programs, by name, given a state of shapes."""
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=self.placement.replicated
            ),
            self._read(state),
        )
        return self._lower(shapes)

    @abc.abstractmethod
    def _lower(self, weights: Any) -> Mapping[str, Lower]: ...

    @abc.abstractmethod
    def images(self, data: Any, state: Any, indices: Sequence[int]) -> np.ndarray:
        """Return uint8 images [M, H, W, C], see `Trainable.sample`; all processes call it."""

    def most_images(self, data: Any) -> int | None:
        """Return the number of different images that can be measured; None if unlimited."""
        return None

    @abc.abstractmethod
    def figures(self, data: Any, now: Moment) -> Callable[[], Figures]:
        """Do the work of all processes; return a function that draws, for one process to call."""

    def measures(
        self, data: Any, metrics: Metrics | None, count: int
    ) -> Sequence[Callable[[Moment], Mapping[str, float]]]:
        """Return what to measure in training, as functions that return numbers by name.

        Args:
            data: The data of the experiment.
            metrics: The metrics of `train.metrics`, one for each set of real images, of which
                `Trainable.sample` is compared with the last; None if there are none.
            count: Held-out images to measure on.
        """
        if metrics is None:
            return []
        return [lambda now: metrics()[-1](checked(now))]


def checked(now: Moment) -> Callable[[Sequence[int]], np.ndarray]:
    """Return a function that samples, but first ends the measurement if training is to stop."""

    def sample(indices: Sequence[int]) -> np.ndarray:
        now.check()
        return now.sample(indices)

    return sample
