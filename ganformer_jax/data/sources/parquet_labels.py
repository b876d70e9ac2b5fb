"""Classes of images in Parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ganformer_jax.data.sources.parquet_file import ParquetFile, feature_kind
from ganformer_jax.data.sources.source import Labels, labels_from
from ganformer_jax.errors import UserError, one_line

MAX_LABEL_BYTES = 1 << 28  # of the column of classes in one file
_LABEL_NAMES = ("label", "labels", "fine_label", "class", "target", "y")


def find_labels(
    files: Sequence[ParquetFile], features: Mapping[str, Any]
) -> tuple[Labels | None, str | None]:
    """Return classes, and why what looks like them cannot be used."""
    columns = files[0].parquet.schema_arrow.names
    named = [name for name in columns if feature_kind(features, name) == "ClassLabel"]
    column = next((name for name in _LABEL_NAMES if name in (named or columns)), None)
    if column is None and len(named) == 1:
        column = named[0]
    if column is None:
        return None, None
    try:
        values = [_label_values(file, column) for file in files]
    except UserError as error:
        return None, str(error)
    words = {array.dtype.kind for array in values} - set("iu")
    joined = np.concatenate(values)
    if words:
        return _from_words(joined, column)
    names = features[column].get("names") if column in named else None
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    labels = labels_from(joined, len(joined), f"column {column}", names if is_list else None)
    return labels, None if labels else f"column {column} holds numbers that are not classes"


def _label_values(file: ParquetFile, column: str) -> np.ndarray:
    """Read a column of integers, -1 where there is none, or of texts, "" where there is none."""
    import pyarrow

    schema, metadata = file.parquet.schema_arrow, file.parquet.metadata
    kind = schema.field(column).type if column in schema.names else None
    is_text = kind is not None and (
        pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)
    )
    if kind is None or not (pyarrow.types.is_integer(kind) or is_text):
        raise UserError(f"column {column} of {file.path} is {kind}, not a class for every image")
    size = sum(
        chunk.total_uncompressed_size
        for group in range(metadata.num_row_groups)
        for chunk in map(metadata.row_group(group).column, range(metadata.num_columns))
        if chunk.path_in_schema == column
    )
    if size > MAX_LABEL_BYTES:
        raise UserError(f"column {column} of {file.path} is too large for classes")
    try:
        values = file.parquet.read(columns=[column], use_threads=False).column(0)
        if is_text:
            return np.array([value or "" for value in values.to_pylist()], dtype=object)
        return values.cast(pyarrow.int64()).fill_null(-1).to_numpy()
    except Exception as error:  # of many types, of pyarrow
        raise UserError(
            f"column {column} of {file.path} cannot be read: {one_line(error, 100)}"
        ) from error


def _from_words(values: np.ndarray, column: str) -> tuple[Labels | None, str | None]:
    if not all(isinstance(value, str) for value in values):
        return None, f"column {column} holds numbers in some files and words in others"
    names = sorted(set(values) - {""})
    order = {name: number for number, name in enumerate(names)}
    classes = np.array([order.get(value, -1) for value in values], np.int64)
    if not names or len(names) > len(values) // 2 + 1:
        return None, f"column {column} holds a word for every image rather than classes"
    return Labels(tuple(names), classes, f"column {column}"), None
