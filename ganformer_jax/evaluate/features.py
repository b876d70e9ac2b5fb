"""Inception features of image sets, on one or more devices and hosts, with a cache."""

import dataclasses
import hashlib
import json
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from ganformer_jax import hosts
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.image_sets import ImageSet
from ganformer_jax.evaluate.requests import RANDOM, TRAINED
from ganformer_jax.files import atomic_path
from ganformer_jax.metrics.inception_features import FeatureExtractor, random_weights

VERSION = 1  # of the computation of features from images and weights, for the cache
RESIZING = "bilinear to 299x299 as in TensorFlow 1"
PRECISION = "float32"
NAMES = {RANDOM: ("2048",), TRAINED: ("2048", "logits_unbiased")}
"""Features of each network that metrics need."""


@dataclasses.dataclass(frozen=True)
class NetworkSettings:
    """Settings of the networks behind metrics.

    Attributes:
        load_weights: Function from "inception", "vgg16" or "lpips" to its arrays and their
            checksum, such as `weights.load_weights`.
        batch_size: Images per batch.
        sharding: Sharding of a batch over devices; by default there is one device.
        cache: Folder of cached features; None for no cache.
    """

    load_weights: Callable[[str], tuple[Mapping[str, Any], str]]
    batch_size: int = 32
    sharding: jax.sharding.NamedSharding | None = None
    cache: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class FeatureReader:
    """A feature network, with a cache of the features of stored images.

    Attributes:
        extractor: The network.
        weights_digest: Checksum of its weights.
        cache: Folder of cached features, used with a single host; None for no cache.
    """

    extractor: FeatureExtractor
    weights_digest: str
    cache: pathlib.Path | None = None

    def __call__(self, images: ImageSet, count: int) -> Mapping[str, Float[np.ndarray, "m d"]]:
        """Return float32 features of the first `count` images, by name.

        Raises:
            UserError: If there are fewer images.
        """
        if images.count is not None and count > images.count:
            raise UserError(f"{images.name} has {images.count} images; {count} were requested")
        return cached_arrays(self._cached(images, count), lambda: self._compute(images, count))

    def _compute(self, images: ImageSet, count: int) -> dict[str, np.ndarray]:
        """Compute an equal share of the rows on every host, and gather them on all."""
        rows, batch, batches = hosts.own_rows(count), self.extractor.batch_size, []
        with tqdm(
            total=len(rows), unit=" images", desc=images.name, disable=not hosts.is_first()
        ) as bar:
            for start in range(0, len(rows), batch):
                indices = rows[start : start + batch]
                batches.append(self.extractor(images.read(indices)))
                bar.update(len(indices))
        own = {name: np.concatenate([one[name] for one in batches]) for name in batches[0]}
        return hosts.gather_rows(own, count)

    def _cached(self, images: ImageSet, count: int) -> pathlib.Path | None:
        """Return the path of the cache entry, or None if there is no cache for these images."""
        if self.cache is None or hosts.count() > 1:  # hosts would have to agree on a hit
            return None
        if (content := images.digest(count)) is None:
            return None
        about = [VERSION, RESIZING, PRECISION, self.weights_digest, *self.extractor.names, content]
        key = hashlib.sha256(json.dumps([*about, count]).encode()).hexdigest()
        return self.cache / f"{key[:32]}.npz"


class RememberingReader:
    """A feature reader that keeps the features of one image set in memory.

    Args:
        reader: Reader of all other features.
        images: The image set, whose features take 8 kB per image.
    """

    def __init__(self, reader: FeatureReader, images: ImageSet):
        self._reader, self._images = reader, images
        self._kept: tuple[int, Mapping[str, np.ndarray]] | None = None

    def __call__(self, images: ImageSet, count: int) -> Mapping[str, Float[np.ndarray, "m d"]]:
        """Return features like `FeatureReader`."""
        if images is not self._images:
            return self._reader(images, count)
        if self._kept is None or self._kept[0] != count:
            self._kept = count, self._reader(images, count)
        return self._kept[1]


def feature_reader(network: str, settings: NetworkSettings) -> FeatureReader:
    """Load the network `RANDOM` or `TRAINED`; raise UserError if its weights do not fit."""
    if network == RANDOM:
        weights, digest = random_weights(), "random, seed 0"
    else:
        weights, digest = settings.load_weights(network)
    try:
        extractor = FeatureExtractor(
            weights, NAMES[network], batch_size=settings.batch_size, sharding=settings.sharding
        )
        return FeatureReader(extractor, digest, settings.cache)
    except ValueError as error:
        raise UserError(str(error)) from error


def cached_arrays(
    path: pathlib.Path | None, compute: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Read arrays from a cached file or, if there is none, compute and store them.

    If the file is damaged or cannot be written, there is a warning and the arrays are computed.

    Args:
        path: The file; None for no cache.
        compute: Computes the arrays.
    """
    if path is None:
        return compute()
    if path.is_file():
        try:
            with path.open("rb") as file:  # NumPy leaves a damaged file open
                return dict(np.load(file, allow_pickle=False))
        except Exception:  # of many types, as files can be damaged in many ways
            _warn(f"{path} is damaged: it will be replaced")
    arrays = compute()
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    except UserError as error:  # whose message contains the path
        _warn(f"{error}; the result is not cached for later evaluations")
    return arrays


def _warn(text: str) -> None:
    tqdm.write(f"warning: {text}", file=sys.stderr)
