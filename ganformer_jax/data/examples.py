"""One entry of a source to one example of a dataset: read, decode, fit, encode, serialize."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from ganformer_jax.data.decode import decode
from ganformer_jax.data.fit import fit
from ganformer_jax.data.png import encode_compressed, encode_stored
from ganformer_jax.data.sources.labels import Labels
from ganformer_jax.data.sources.source import Source, Unreadable
from ganformer_jax.data.spec import DatasetSpec


class Example(NamedTuple):
    """An example, and facts about the image that it was made of."""

    serialized: bytes
    """A tf.train.Example."""
    size: str
    """Width x height as stored in the source."""
    kind: str
    """Format and mode as stored in the source."""
    notes: Sequence[str]
    """Changes that the report mentions."""


@dataclasses.dataclass(frozen=True)
class ExampleEncoder:
    """Makes the examples of a dataset. Threads may use it at once.

    Attributes:
        source: Source of the images.
        labels: Classes of the entries; None for none.
        spec: What the dataset should be.
    """

    source: Source
    labels: Labels | None
    spec: DatasetSpec

    @functools.cached_property
    def features(self) -> tfds.features.FeaturesDict:
        """Features of an example, as TFDS describes them."""
        geometry = self.spec.geometry
        shape = geometry.height, geometry.width, geometry.channels
        features: dict[str, Any] = {
            "image": tfds.features.Image(shape=shape, encoding_format="png"),
            "name": tfds.features.Text(doc="where the image was in its source"),
        }
        if self.labels is not None:
            features["label"] = tfds.features.ClassLabel(names=self.labels.names)
        return tfds.features.FeaturesDict(features)

    def encode(self, index: int, stored: bytes | np.ndarray | None = None) -> Example:
        """Make the example of an entry.

        Args:
            index: Number of the entry.
            stored: What the source stores there, where it was read already.

        Raises:
            Unreadable: If there is no whole image, or no class where there are classes.
        """
        label = None if self.labels is None else int(self.labels.classes[index])
        if self.labels is not None and label == -1:
            raise Unreadable(f"no class in {self.labels.origin}")
        stored = self.source.read(index) if stored is None else stored
        decoded = decode(stored, self.spec.value_range)
        image, geometry, notes = decoded.image, self.spec.geometry, list(decoded.notes)
        if image.mode == "RGBA" and geometry.channels != 4:
            notes.append("transparency laid on white")
        if geometry.enlarges(image.size):
            notes.append("enlarged")
        encode = encode_stored if self.spec.storage == "raw" else encode_compressed
        name = self.source.names[index].encode("utf-8", "replace").decode()
        example: dict[str, Any] = {"image": encode(fit(image, geometry)), "name": name}
        if label is not None:
            example["label"] = label
        size = f"{image.width}x{image.height}"
        return Example(self._serialize(example), size, decoded.kind, notes)

    def _serialize(self, example: dict[str, Any]) -> bytes:
        serialized = self.features.serialize_example(self.features.encode_example(example))
        # The order of features in it changes from process to process unless asked not to.
        message: Any = tf_example_pb2  # its classes are made when it is imported
        return message.Example.FromString(serialized).SerializeToString(deterministic=True)
