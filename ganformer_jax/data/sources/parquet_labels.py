"""Classes of images in Parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ganformer_jax.data.sources.parquet_file import ParquetFile, feature_kind
from ganformer_jax.data.sources.source import (
    Labels,
    labels_from,
    labels_of_words,
    raise_if_interrupted,
)
from ganformer_jax.errors import one_line

MAX_LABEL_BYTES = 1 << 28  # in the column of classes of one file
_LABEL_NAMES = ("label", "labels", "fine_label", "class", "target", "y")


class _NoClasses(Exception):
    """A column cannot be used as classes; the message says why."""


def find_labels(
    files: Sequence[ParquetFile], features: Mapping[str, Any]
) -> tuple[Labels | None, str | None]:
    """Return the classes, if any, and why columns that look like classes cannot be used.

    The column is one with a usual name, preferably a ClassLabel; if it does not hold classes, the
    only ClassLabel.
    """
    columns, named = files[0].parquet.schema_arrow.names, class_columns(files, features)
    usual = [name for among in (named, columns) for name in _LABEL_NAMES if name in among]
    columns = usual[:1] + [name for name in named if len(named) == 1 and name not in usual[:1]]
    reason = None
    for column in columns:
        try:
            return _labels_in(files, features, column), None
        except _NoClasses as error:
            reason = reason or str(error)
    return None, reason


def class_columns(files: Sequence[ParquetFile], features: Mapping[str, Any]) -> list[str]:
    """Return the columns that the metadata declares as ClassLabel."""
    columns = files[0].parquet.schema_arrow.names
    return [name for name in columns if feature_kind(features, name) == "ClassLabel"]


def _labels_in(files: Sequence[ParquetFile], features: Mapping[str, Any], column: str) -> Labels:
    values = [_label_values(file, column) for file in files]
    words = {array.dtype.kind for array in values} - set("if")
    joined = np.concatenate(values)
    if words:
        return _from_words(joined, column)
    is_class = feature_kind(features, column) == "ClassLabel"
    names = features[column].get("names") if is_class else None
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    labels = labels_from(joined, len(joined), f"column {column}", names if is_list else None)
    if labels is None:
        raise _NoClasses(f"column {column} holds numbers that are not classes")
    return labels


def _label_values(file: ParquetFile, column: str) -> np.ndarray:
    """Read a column of numbers or strings; missing values are -1 or ""."""
    import pyarrow

    schema, metadata = file.parquet.schema_arrow, file.parquet.metadata
    declared = schema.field(column).type if column in schema.names else None
    kind = _kind_of(declared)
    if kind is None:
        raise _NoClasses(
            f"column {column} of {file.path} is {declared}, not a class for every image"
        )
    size = sum(
        chunk.total_uncompressed_size
        for group in range(metadata.num_row_groups)
        for chunk in map(metadata.row_group(group).column, range(metadata.num_columns))
        if chunk.path_in_schema == column
    )
    if size > MAX_LABEL_BYTES:
        raise _NoClasses(f"column {column} of {file.path} is too large for classes")
    try:
        values = file.parquet.read(columns=[column], use_threads=False).column(0)
        if kind == pyarrow.string():
            return np.array([value or "" for value in values.to_pylist()], dtype=object)
        return values.cast(kind).fill_null(-1).to_numpy()
    except Exception as error:  # of many types, of pyarrow
        raise_if_interrupted(file.path, error)
        raise _NoClasses(
            f"column {column} of {file.path} cannot be read: {one_line(error, 100)}"
        ) from error


def _kind_of(declared: Any) -> Any:
    """Return the type to read a column of classes as; None if it cannot hold classes."""
    import pyarrow

    types = pyarrow.types
    if declared is not None and types.is_dictionary(declared):  # a categorical of pandas
        declared = declared.value_type
    if declared is None:
        return None
    if types.is_string(declared) or types.is_large_string(declared):
        return pyarrow.string()
    if types.is_floating(declared):
        return pyarrow.float64()
    is_whole = types.is_integer(declared) or types.is_boolean(declared)
    return pyarrow.int64() if is_whole else None


def _from_words(values: np.ndarray, column: str) -> Labels:
    if not all(isinstance(value, str) for value in values):
        raise _NoClasses(f"column {column} holds numbers in some files and words in others")
    labels = labels_of_words(values.tolist(), f"column {column}")
    if labels is None or len(labels.names) > len(values) // 2 + 1:
        raise _NoClasses(f"column {column} holds a word for every image rather than classes")
    return labels
