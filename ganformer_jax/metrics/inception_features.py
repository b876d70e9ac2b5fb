"""Pictures to features of the Inception network, a batch at a time, on one device or many."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ganformer_jax.metrics.inception import WIDTHS, Inception, prepare
from ganformer_jax.metrics.inception_weights import inception_variables

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8


def inception_features(
    weights: Mapping[str, Any], images_uint8_BxHxWx3: UInt8[np.ndarray, "batch height width 3"]
) -> dict[str, Float[np.ndarray, "batch dim"]]:
    """Takes pictures to all features of FID's Inception.

    Args:
        weights: Arrays by the names of the PyTorch conversion (`weight_shapes`), or what
            `random_weights` gives.
        images_uint8_BxHxWx3: Pictures of any one size, in 0..255.

    Returns:
        Float32 [batch, dim], by the names "64", "192", "768", "2048", "logits_unbiased" and
        "logits".

    Raises:
        ValueError: If the weights are others, or the pictures are not uint8 in three colors.
    """
    images = check_images(images_uint8_BxHxWx3)
    return FeatureExtractor(weights, batch_size=min(32, len(images)))(images)


class FeatureExtractor:
    """Inception with its weights on the devices, for many batches.

    Args:
        weights: As `inception_features` takes them.
        names: Which features to compute; the network ends where the last of them is.
        batch_size: Pictures at once; the last batch is filled up, so that there is one program.
        divided: How to divide a batch over devices; by default there is one device.

    Raises:
        ValueError: If the weights are others, or there is no such feature.
    """

    def __init__(
        self,
        weights: Mapping[str, Any],
        names: Iterable[str] = tuple(WIDTHS),
        batch_size: int = 32,
        divided: jax.sharding.NamedSharding | None = None,
    ):
        self.names = tuple(names)
        if not self.names or not set(self.names) <= set(WIDTHS):
            raise ValueError(f"features are {', '.join(WIDTHS)}; got {', '.join(self.names)}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}")
        self.batch_size, self._divided = batch_size, divided
        everywhere = None
        if divided is not None:
            everywhere = jax.sharding.NamedSharding(divided.mesh, jax.sharding.PartitionSpec())
        self._variables = jax.device_put(inception_variables(weights), everywhere)

    def __call__(
        self, images_BxHxWx3: UInt8[np.ndarray, "batch height width 3"]
    ) -> dict[str, Float[np.ndarray, "batch dim"]]:
        """Takes any number of pictures to features; raises ValueError as `inception_features`."""
        images = check_images(images_BxHxWx3)
        starts = range(0, len(images), self.batch_size)
        parts = [self._batch(images[start : start + self.batch_size]) for start in starts]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.names}

    def _batch(self, images: np.ndarray) -> dict[str, np.ndarray]:
        taken = np.arange(self.batch_size) % len(images)
        placed = jax.device_put(images[taken], self._divided)
        found = jax.device_get(_features(self.names, self._variables, _prepare(placed)))
        return {name: values[: len(images)] for name, values in found.items()}


def check_images(images_BxHxWx3: np.ndarray) -> np.ndarray:
    """Gives pictures as they are.

    Raises:
        ValueError: Unless they are uint8 [batch, height, width, 3] and there is at least one.
    """
    images = np.asarray(images_BxHxWx3)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or not images.size:
        raise ValueError(
            "images must be uint8 [batch, height, width, 3] in 0..255, got "
            f"{images.dtype} {list(images.shape)}"
        )
    return images


_prepare = jax.jit(prepare)  # by itself, so that the network is compiled once for all sizes


@functools.partial(jax.jit, static_argnums=0)
def _features(
    names: tuple[str, ...], variables: Any, x_Bx299x299x3: jax.Array
) -> dict[str, jax.Array]:
    found = Inception().apply(variables, x_Bx299x299x3)
    assert isinstance(found, dict)
    return {name: found[name] for name in names}
