"""Images of datasets prepared by TensorFlow Datasets, read without TensorFlow."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ganformer_jax.data.find import (
    RAW,
    condition_names,
    find_version,
    no_split,
    open_builder,
    tokenizer_text,
)
from ganformer_jax.data.fit import MODES
from ganformer_jax.data.sources.conditions import Conditions
from ganformer_jax.data.sources.frames import FramedRecords, index_frames
from ganformer_jax.data.sources.source import (
    MAX_BYTES,
    Labels,
    Source,
    Unreadable,
    checksum,
    file_facts,
    labels_from,
    listed,
    numbered,
    raise_if_interrupted,
)
from ganformer_jax.errors import UserError, one_line


class TfdsSource(Source):
    """The `image` feature of one split, stored as ArrayRecord or TFRecord.

    Args:
        dataset: A folder with dataset_info.json; or the name of a dataset, optionally with its
            configuration, such as mnist or imagenet_resized/32x32. If TFDS knows the name but has
            not prepared the dataset, it is prepared, if that works without TensorFlow.
        data_dir: Folder of prepared datasets; by default TFDS's own.
        split: Split in TFDS's notation, slices such as train[:90%] included.

    Raises:
        UserError: If the dataset or split is absent or empty, or has no images.
    """

    options = frozenset({"split", "tfds_dir"})

    def __init__(
        self,
        dataset: str | os.PathLike[str],
        data_dir: str | os.PathLike[str] | None = None,
        split: str = "train",
    ):
        if Path(dataset).is_dir():  # and not a name, which is looked for in `data_dir`
            self.options = self.options - {"tfds_dir"}
        builder = _find_builder(os.fspath(dataset), data_dir)
        self._name = f"{builder.name} ({split})"
        self._features = _image_features(self._name, builder.info.features)
        self._condition_names = condition_names(builder)
        self._tokenizer = tokenizer_text(builder)
        try:
            instructions = list(builder.info.splits[split].file_instructions)
        except Exception as error:  # of several kinds, by what is wrong with the name
            raise no_split(builder, split) from error
        self._files = sorted({instruction.filename for instruction in instructions})
        self._identity = (builder.info.full_name, split)
        try:
            self._records, self.skipped = _open_records(builder, split, instructions)
        except (OSError, ValueError, NotImplementedError, RuntimeError) as error:
            if not isinstance(error, FileNotFoundError):
                raise_if_interrupted(builder.data_path, error)
            raise UserError(
                f"{self._name} cannot be read, prepare it again: {one_line(error)}"
            ) from error
        shape = self._features["image"].shape
        is_array = type(self._features["image"]) is tfds.features.Tensor and len(shape) == 3
        self.channels = shape[-1] if is_array and shape[-1] not in MODES else None
        self.names = numbered(len(self._records))
        if not self.names:
            raise UserError(f"{self._name} is empty; choose another split or prepare it again")
        self.description = f"TFDS dataset {self._name}"
        self.paths = (Path(builder.data_path),)

    def read(self, index: int) -> bytes | np.ndarray:
        """Read the encoded image, or pixels if `image` is a Tensor; raise Unreadable if damaged."""
        stored = self._decode("image", index)
        image = stored if isinstance(stored, bytes) else np.asarray(stored)
        if (len(image) if isinstance(image, bytes) else image.nbytes) > MAX_BYTES:
            raise Unreadable("too large")
        return image

    @functools.cached_property
    def labels(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> Labels | Conditions | None:
        """Conditions, or classes of the feature `label`; read on first use.

        Damaged entries have no label.
        """
        if self._condition_names:
            vectors = np.stack([self._condition(index) for index in range(len(self))])
            names, origin = self._condition_names, "the condition feature"
            return Conditions(names, vectors, origin, tokenizer=self._tokenizer)
        if not isinstance(self._features.get("label"), tfds.features.ClassLabel):
            return None
        classes = np.array([self._class(index) for index in range(len(self))], np.int64)
        names = self._features["label"].names or None
        return labels_from(classes, len(self), "the label feature", names)

    def fingerprint(self) -> str:
        """Return a checksum of the dataset's name and version, the split, and its files."""
        facts = [(Path(path).name, file_facts(path)) for path in self._files]
        return checksum(["tfds", *self._identity, len(self), *facts])

    def _class(self, index: int) -> int:
        try:
            return int(self._decode("label", index))
        except Unreadable:
            return -1

    def _condition(self, index: int) -> np.ndarray:
        try:
            return np.asarray(self._decode("condition", index), np.float32)
        except Unreadable:
            return np.full(len(self._condition_names), np.nan, np.float32)

    def _decode(self, name: str, index: int) -> Any:
        """Parse one feature of an example; images stay encoded."""
        feature = self._features[name]
        is_image = isinstance(feature, tfds.features.Image)
        skip = {name: tfds.decode.SkipDecoding()} if is_image else None
        try:
            record = self._records[index]
            example: Any = _only(name, feature).deserialize_example_np(record, decoders=skip)
            return example[name]
        except (Unreadable, UserError):
            raise
        except Exception as error:  # of many types, of TFDS and protobuf
            raise_if_interrupted(self.paths[0], error)
            raise Unreadable(f"damaged: {one_line(error)}") from error


@functools.lru_cache(maxsize=64)
def _only(name: str, feature: Any) -> tfds.features.FeaturesDict:
    return tfds.features.FeaturesDict({name: feature})


def _open_records(
    builder: Any, split: str, instructions: Sequence[Any]
) -> tuple[Any, list[tuple[str, str]]]:
    """Return the serialized examples by index, and (name, reason) of those that are missing."""
    stored_as = builder.info.file_format
    if stored_as == tfds.core.FileFormat.ARRAY_RECORD:
        return builder.as_data_source(split, deserialize_method=RAW), []
    if stored_as != tfds.core.FileFormat.TFRECORD:
        name = stored_as.value if stored_as else "an unknown format"
        raise UserError(
            f"{builder.name} is stored as {name}; prepare it as array_record or tfrecord"
        )
    ranges, skipped = [], []
    indexed = functools.cache(index_frames)
    for instruction in instructions:
        frames = indexed(instruction.filename)
        wanted = instruction.skip + instruction.take
        stop = max(instruction.skip, min(wanted, len(frames)))
        ranges.append((frames, instruction.skip, stop))
        if stop < wanted:
            lost = f"{wanted - stop} records are lost: {frames.damage or 'the file is too short'}"
            skipped.append((f"{frames.path.name}@{stop:08d}", lost))
    return FramedRecords(ranges), skipped


def _find_builder(dataset: str, data_dir: str | os.PathLike[str] | None) -> Any:
    if Path(dataset).is_dir():
        return open_builder(find_version(Path(dataset)))
    place = None if data_dir is None else os.fspath(data_dir)
    try:
        builder = tfds.builder(dataset, data_dir=place)
    except Exception as error:  # an unknown name, or one whose code does not import here
        raise UserError(
            f"there is no dataset {dataset!r} in {place or 'the folder of TFDS'}, and TFDS cannot "
            f"make it here: {one_line(error)}"
        ) from error
    if builder.is_prepared():
        return builder
    try:
        builder.download_and_prepare(file_format="array_record")
    except (Exception, SystemExit) as error:  # no network, no TensorFlow, no space, ...
        raise UserError(
            f"TFDS cannot prepare {dataset!r} here ({one_line(error)}); run 'tfds build {dataset}' "
            f"where TensorFlow and a network are, and copy the result to {builder.data_dir}"
        ) from error
    return builder


def _image_features(name: str, features: Any) -> Any:
    is_dict = isinstance(features, tfds.features.FeaturesDict)
    known: dict[str, Any] = dict(features) if is_dict else {}
    if "image" not in known:
        names = listed(list(known)) or "one without name"
        raise UserError(f"{name} has no feature 'image', it has: {names}")
    image, shape = known["image"], known["image"].shape
    if isinstance(image, tfds.features.Image) and image.np_dtype in (np.uint8, np.uint16):
        return known
    if type(image) is tfds.features.Tensor and len(shape) in (2, 3):
        return known
    kind = f"{type(image).__name__} {getattr(image, 'np_dtype', '')}"
    raise UserError(f"the feature 'image' of {name} does not hold plain images, it is: {kind}")
