"""Conversion of the entries of a source to the examples of a dataset."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from ganformer_jax.data.fit import MODES
from ganformer_jax.data.fit_entry import fit_entry
from ganformer_jax.data.png import encode_compressed, encode_stored
from ganformer_jax.data.segments import SegmentFolder
from ganformer_jax.data.sources.conditions import Conditions
from ganformer_jax.data.sources.source import Labels, Source, Unreadable
from ganformer_jax.data.spec import DatasetSpec


class Example(NamedTuple):
    """A serialized tf.train.Example, and facts about its image for the report."""

    serialized: bytes
    size: str  # "<width>x<height>" of the source image
    kind: str  # format and mode of the source image
    notes: Sequence[str]  # changes made to it
    deep_range: tuple[int, int] | None  # smallest and largest value, if stored in 16 bits


@dataclasses.dataclass(frozen=True)
class ExampleEncoder:
    """Encodes the examples of a dataset; safe to share between threads."""

    source: Source
    labels: Labels | Conditions | None
    spec: DatasetSpec
    segments: SegmentFolder | None = None

    @functools.cached_property
    def features(self) -> tfds.features.FeaturesDict:
        """TFDS features of an example."""
        geometry = self.spec.geometry
        shape = geometry.height, geometry.width, geometry.channels
        if geometry.channels in MODES:
            image: Any = tfds.features.Image(shape=shape, encoding_format="png")
        else:
            encoding = "bytes" if self.spec.storage == "raw" else "zlib"
            image = tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding=encoding)
        features: dict[str, Any] = {
            "image": image,
            "name": tfds.features.Text(doc="where the image was in its source"),
        }
        if self.segments is not None:
            shape = geometry.height, geometry.width, 1
            features["mask"] = tfds.features.Image(shape=shape, encoding_format="png")
        if isinstance(self.labels, Labels):
            features["label"] = tfds.features.ClassLabel(names=self.labels.names)
        elif self.labels is not None:
            shape = (len(self.labels.names),)
            features["condition"] = tfds.features.Tensor(shape=shape, dtype=np.float32)
        return tfds.features.FeaturesDict(features)

    def encode(self, index: int, stored: bytes | np.ndarray | None = None) -> Example:
        """Encode an entry.

        Args:
            index: Index of the entry.
            stored: What `source.read(index)` returned, if it was called already.

        Raises:
            Unreadable: If the entry is damaged or has no label.
        """
        label = self._label(index)
        stored = self.source.read(index) if stored is None else stored
        fitted = fit_entry(stored, self.spec.geometry, self.spec.value_range)
        name = self.source.names[index].encode("utf-8", "replace").decode()
        example = {"image": self._stored_image(fitted.pixels_HxWxC), "name": name, **label}
        if self.segments is not None:
            name = self.source.names[index]
            labels = self.segments.labels(name, fitted.size, self.spec.geometry)
            example["mask"] = encode_compressed(labels)
        width, height = fitted.size
        size = f"{width}x{height}"
        return Example(self._serialize(example), size, fitted.kind, fitted.notes, fitted.deep_range)

    def _label(self, index: int) -> dict[str, Any]:
        """Return the label features of an entry; raise Unreadable if it has no label."""
        if self.labels is None:
            return {}
        if isinstance(self.labels, Conditions):
            condition = self.labels.at(index)
            if condition is None:
                raise Unreadable(f"no condition in {self.labels.origin}")
            return {"condition": condition}
        number = int(self.labels.classes[index])
        if number == -1:
            raise Unreadable(f"no class in {self.labels.origin}")
        return {"label": number}

    def _stored_image(self, pixels_HxWxC: np.ndarray) -> bytes | np.ndarray:
        """Encode as PNG if PNG supports the number of channels; TFDS compresses other arrays."""
        if self.spec.geometry.channels not in MODES:
            return pixels_HxWxC
        encode = encode_stored if self.spec.storage == "raw" else encode_compressed
        return encode(pixels_HxWxC)

    def _serialize(self, example: dict[str, Any]) -> bytes:
        serialized = self.features.serialize_example(example)
        # Without `deterministic` the order of the features varies between processes.
        message: Any = tf_example_pb2  # pyright does not see its classes, created at import
        return message.Example.FromString(serialized).SerializeToString(deterministic=True)
