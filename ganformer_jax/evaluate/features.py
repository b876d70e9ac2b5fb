"""Features of a set of images: over devices and hosts, with progress, and kept between calls."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import pathlib
from collections.abc import Mapping

import jax
import numpy as np
from tqdm import tqdm

from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.image_sets import ImageSet
from ganformer_jax.evaluate.remembered import load_arrays, store_arrays
from ganformer_jax.metrics.inception_features import FeatureExtractor

VERSION = 1
"""Of what decides features besides the images and the weights: resizing and precision."""
RESIZING = "bilinear to 299x299 as in TensorFlow 1"
PRECISION = "float32"


@dataclasses.dataclass(frozen=True)
class FeatureReader:
    """Takes sets of images to features, and remembers those of sets that do not change.

    Attributes:
        extractor: The network.
        weights_digest: Checksum of its weights.
        cache: Folder to remember in, where there is one host; None for nowhere.
    """

    extractor: FeatureExtractor
    weights_digest: str
    cache: pathlib.Path | None = None

    def __call__(self, images: ImageSet, count: int) -> Mapping[str, np.ndarray]:
        """Features of the first so many images, float32 [count, dim] by name.

        Raises:
            UserError: If there are fewer images, or the cache cannot be written.
        """
        if images.count is not None and count > images.count:
            raise UserError(f"{images.name} has {images.count} images; {count} were asked for")
        path = self._remembered(images, count)
        if path is not None and path.is_file():
            return load_arrays(path)
        features = self._compute(images, count)
        if path is not None:
            store_arrays(path, features)
        return features

    def _compute(self, images: ImageSet, count: int) -> dict[str, np.ndarray]:
        """Every host computes an equal share of the rows, and all receive all."""
        hosts, host, batch = jax.process_count(), jax.process_index(), self.extractor.batch_size
        share = math.ceil(count / hosts)
        rows = np.minimum(np.arange(host * share, (host + 1) * share), count - 1)
        parts = []
        with tqdm(total=share, unit=" images", desc=images.name, disable=host > 0) as bar:
            for start in range(0, share, batch):
                taken = rows[start : start + batch]
                parts.append(self.extractor(images.read([int(row) for row in taken])))
                bar.update(len(taken))
        mine = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if hosts == 1:
            return mine
        from jax.experimental import multihost_utils

        gathered = multihost_utils.process_allgather(mine, tiled=True)
        return {name: np.asarray(values)[:count] for name, values in gathered.items()}

    def _remembered(self, images: ImageSet, count: int) -> pathlib.Path | None:
        if self.cache is None or jax.process_count() > 1:  # hosts must agree on who computes
            return None
        content = images.digest(count)
        if content is None:
            return None
        about = [VERSION, RESIZING, PRECISION, self.weights_digest, *self.extractor.names, content]
        key = hashlib.sha256(json.dumps([*about, count]).encode()).hexdigest()
        return self.cache / f"{key[:32]}.npz"
