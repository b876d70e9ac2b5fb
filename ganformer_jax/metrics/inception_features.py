"""Features of the Inception network, a batch at a time, on one or many devices."""

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
    weights: Mapping[str, Any], images_BxHxWx3: UInt8[np.ndarray, "b h w 3"]
) -> dict[str, Float[np.ndarray, "b d"]]:
    """Return all features of FID's Inception.

    Args:
        weights: Arrays by the names of the PyTorch conversion (`weight_shapes`), or the result of
            `random_weights`.
        images_BxHxWx3: Images of one size, in 0..255.

    Returns:
        Float32 [B, D] under "64", "192", "768", "2048", "logits_unbiased" and "logits".

    Raises:
        ValueError: If the weights are not those of this network, or the images are not uint8 with
            three channels.
    """
    images = check_images(images_BxHxWx3)
    return FeatureExtractor(weights, batch_size=min(32, len(images)))(images)


class FeatureExtractor:
    """Inception with its weights on the devices, for many batches.

    Args:
        weights: As in `inception_features`.
        names: Features to compute; layers above the last of them are not run.
        batch_size: Images per batch; the last batch is padded, so that there is one program.
        sharding: Sharding of a batch over devices; by default there is one device.

    Raises:
        ValueError: If the weights are not those of this network, or there is no such feature.
    """

    def __init__(
        self,
        weights: Mapping[str, Any],
        names: Iterable[str] = tuple(WIDTHS),
        batch_size: int = 32,
        sharding: jax.sharding.NamedSharding | None = None,
    ):
        self.names = tuple(names)
        if not self.names or not set(self.names) <= set(WIDTHS):
            raise ValueError(f"features are {', '.join(WIDTHS)}; got {', '.join(self.names)}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}")
        self.batch_size, self._sharding = batch_size, sharding
        replicated = None
        if sharding is not None:
            replicated = jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())
        self._variables = jax.device_put(inception_variables(weights), replicated)

    def __call__(
        self, images_MxHxWx3: UInt8[np.ndarray, "m h w 3"]
    ) -> dict[str, Float[np.ndarray, "m d"]]:
        """Return features of any number of images; raises as `inception_features` does."""
        images = check_images(images_MxHxWx3)
        starts = range(0, len(images), self.batch_size)
        batches = [self._batch(images[start : start + self.batch_size]) for start in starts]
        return {name: np.concatenate([batch[name] for batch in batches]) for name in self.names}

    def _batch(self, images: np.ndarray) -> dict[str, np.ndarray]:
        padded = images[np.arange(self.batch_size) % len(images)]
        resized = _prepare(jax.device_put(padded, self._sharding))
        features = jax.device_get(_features(self.names, self._variables, resized))
        return {name: values[: len(images)] for name, values in features.items()}


def check_images(images_BxHxWx3: np.ndarray) -> np.ndarray:
    """Return images unchanged if they can be features' input.

    Raises:
        ValueError: If they are not uint8 [B, H, W, 3] with B > 0.
    """
    images = np.asarray(images_BxHxWx3)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or not images.size:
        raise ValueError(
            "images must be uint8 [batch, height, width, 3] in 0..255, got "
            f"{images.dtype} {list(images.shape)}"
        )
    return images


_prepare = jax.jit(prepare)  # separate, so that the network is compiled once for all sizes


@functools.partial(jax.jit, static_argnums=0)
def _features(
    names: tuple[str, ...], variables: Any, x_Bx299x299x3: jax.Array
) -> dict[str, jax.Array]:
    features = Inception().apply(variables, x_Bx299x299x3)
    assert isinstance(features, dict)
    return {name: features[name] for name in names}
