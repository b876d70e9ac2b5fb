"""Images in Parquet files, the format of Hugging Face's datasets."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ganformer_jax.data.sources.parquet_file import (
    ParquetFile,
    feature_kind,
    open_parquet,
    stored_features,
)
from ganformer_jax.data.sources.parquet_labels import class_columns, find_labels
from ganformer_jax.data.sources.source import (
    MAX_BYTES,
    Source,
    Unreadable,
    checksum,
    file_facts,
    import_format,
    listed,
    raise_if_interrupted,
)
from ganformer_jax.data.sources.splits import common_folder
from ganformer_jax.errors import UserError, one_line

ROWS_AT_ONCE = 8  # encoded images in memory
_IMAGE_NAMES = ("image", "img", "images", "jpg", "png")


class ParquetSource(Source):
    """The encoded images of one column: bytes, or a struct with a field `bytes`.

    Files are read in order, a few rows at a time. The column is the one that Hugging Face's
    metadata declares as an image, else one with a usual name, such as image. Classes come from a
    column with a usual name, such as label, else from the only ClassLabel of the metadata.

    Args:
        paths: The files, in order, all with the same columns.
        description: Description of the files, for messages.
        column: Name of the column of images; needed only if several hold images.
        has_splits: Whether the files were chosen by `--split`.

    Raises:
        UserError: If pyarrow is not installed, a file is damaged, or no column holds images.
    """

    sequential = True

    def __init__(
        self,
        paths: Sequence[Path],
        description: str,
        column: str | None = None,
        has_splits: bool = False,
    ):
        root, self._paths = common_folder(paths), list(paths)
        import_format("pyarrow", f"reading {paths[0].name}")
        self._files: list[ParquetFile] = []
        try:
            self._files += map(open_parquet, self._paths)
            schema = self._files[0].parquet.schema_arrow
            features = stored_features(schema)
            self._column = _image_column(schema, features, column, paths[0])
            _check_columns(self._files, self._column)
            self.labels, self.label_error = find_labels(self._files, features)
            if self.labels is None:
                self.label_columns = class_columns(self._files, features)
        except BaseException as error:
            self.close()
            if isinstance(error, UserError) or not isinstance(error, Exception):
                raise
            raise_if_interrupted(paths[0].parent, error)
            # Of many types, as pyarrow reads some of the metadata lazily.
            what = f"{description} is damaged, fetch it again: {one_line(error, 100)}"
            raise UserError(what) from error
        self._starts = np.cumsum([0, *map(len, self._files)])
        inside = [Path(os.path.abspath(path)).relative_to(root).as_posix() for path in paths]
        self.names = tuple(
            f"{name}@{row:08d}"
            for name, file in zip(inside, self._files, strict=True)
            for row in range(len(file))
        )
        self._lock, self._cursor = threading.Lock(), _Cursor()
        self.options = frozenset({"array", "split"} if has_splits else {"array"})
        self.paths = tuple(paths)
        self.description = f"Parquet {description}, column {self._column}"

    def read(self, index: int) -> bytes:
        """Read an encoded image; raise Unreadable if it is missing or damaged."""
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        with self._lock:
            file, row = self._files[number], index - int(self._starts[number])
            value = self._cursor.value(file, self._column, row)
            return _image_bytes(value)

    def fingerprint(self) -> str:
        """Return a checksum of names, sizes and times of the files, and of the column."""
        facts = [(path.name, file_facts(path)) for path in self._paths]
        return checksum(["parquet", self._column, *facts])

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.parquet.close()


class _Cursor:
    """The rows of a row group that are in memory, and the reader of the following ones."""

    def __init__(self) -> None:
        self._at: tuple[Path, int] | None = None  # file and row group
        self._batches: Iterator[Any] = iter(())
        self._batch: Any = None
        self._start = self._stop = 0  # rows of the file that are in memory
        self._damage: dict[tuple[Path, int], tuple[int, str]] = {}  # first row lost, and why

    def value(self, file: ParquetFile, column: str, row: int) -> Any:
        """Return the value of a row as an Arrow scalar; of a struct, only its field `bytes`."""
        group = int(np.searchsorted(file.starts, row, side="right")) - 1
        at = file.path, group
        first_lost, reason = self._damage.get(at, (len(file), ""))
        if row >= first_lost:
            raise Unreadable(reason)
        if at != self._at or row < self._start:
            self._at, self._start = at, int(file.starts[group])
            self._stop = self._start
            field = _stored_field(file.parquet.schema_arrow, column)
            self._batches = file.parquet.iter_batches(
                ROWS_AT_ONCE, row_groups=[group], columns=[field], use_threads=False
            )
        try:
            while row >= self._stop:
                self._batch = next(self._batches).column(0)
                self._start, self._stop = self._stop, self._stop + len(self._batch)
        except StopIteration as error:
            raise self._lost(at, "the file has fewer rows than it claims") from error
        except Exception as error:  # of many types, of pyarrow
            raise_if_interrupted(file.path, error)
            raise self._lost(at, f"damaged: {one_line(error, 100)}") from error
        return self._batch[row - self._start]

    def _lost(self, at: tuple[Path, int], reason: str) -> Unreadable:
        self._damage[at], self._at = (self._stop, reason), None
        return Unreadable(reason)


def _stored_field(schema: Any, column: str) -> str:
    """Return the name of the column to read: for a struct, its field `bytes`."""
    import pyarrow

    is_struct = pyarrow.types.is_struct(schema.field(column).type)
    return f"{column}.bytes" if is_struct else column


def _is_bytes(kind: Any) -> bool:
    import pyarrow

    if pyarrow.types.is_struct(kind):
        return any(field.name == "bytes" and _is_bytes(field.type) for field in kind)
    return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)


def _candidates(schema: Any, features: Mapping[str, Any]) -> list[str]:
    """Return the columns that may hold images: those declared as such, else by their names."""
    stored = [field.name for field in schema if _is_bytes(field.type)]
    called_so = [name for name in stored if feature_kind(features, name) == "Image"]
    return called_so or [name for name in _IMAGE_NAMES if name in stored]


def _image_column(schema: Any, features: Mapping[str, Any], column: str | None, path: Path) -> str:
    columns = [f"{field.name}: {str(field.type)[:40]}" for field in schema]
    if column is not None:
        known = column in schema.names and _is_bytes(schema.field(column).type)
        if known:
            return column
        raise UserError(
            f"{path} has no column {column!r} of encoded images; choose --array NAME of: "
            f"{listed(columns)}"
        )
    found = _candidates(schema, features)
    if not found:
        raise UserError(
            f"no column of {path} is known to hold images: choose --array NAME of: "
            f"{listed(columns)}"
        )
    if len(found) > 1 and "image" not in found:
        raise UserError(
            f"{path} has several columns of images; choose one with --array NAME of: "
            f"{listed(found)}"
        )
    return "image" if "image" in found else found[0]


def _check_columns(files: Sequence[ParquetFile], column: str) -> None:
    for file in files:
        schema = file.parquet.schema_arrow
        if column not in schema.names or not _is_bytes(schema.field(column).type):
            raise UserError(
                f"{file.path} has no column {column!r} of images, unlike {files[0].path}"
            )


def _image_bytes(value: Any) -> bytes:
    """Return the bytes of a scalar; raise Unreadable if there are none."""
    if value.is_valid and hasattr(value, "keys"):  # of a struct
        value = value["bytes"]
    if not value.is_valid:
        raise Unreadable("no image in the row")
    contents = value.as_buffer()
    if contents.size > MAX_BYTES:
        raise Unreadable(f"larger than {MAX_BYTES >> 20} MiB")
    return contents.to_pybytes()
