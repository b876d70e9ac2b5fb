"""Parquet files, and the types of columns in Hugging Face's metadata."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ganformer_jax.data.sources.source import import_format, raise_if_interrupted
from ganformer_jax.errors import UserError, one_line

MAX_METADATA = 1 << 24
_METADATA_KEY = b"huggingface"


@dataclasses.dataclass
class ParquetFile:
    """An open file and the first rows of its row groups."""

    path: Path
    parquet: Any
    starts: np.ndarray  # int64 [row groups + 1]

    def __len__(self) -> int:
        return int(self.starts[-1])


def open_parquet(path: Path) -> ParquetFile:
    """Open a file; raise UserError if it is damaged."""
    parquet = import_format("pyarrow.parquet", f"reading {path.name}")
    try:
        opened = parquet.ParquetFile(path, memory_map=True, pre_buffer=False)
        metadata = opened.metadata
        counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    except Exception as error:  # of many types, of pyarrow
        raise_if_interrupted(path, error)
        raise UserError(
            f"{path} cannot be read, it is damaged or not a Parquet file: {one_line(error, 100)}"
        ) from error
    if min(counts, default=0) < 0 or sum(counts) > path.stat().st_size:
        opened.close()
        raise UserError(f"{path} is damaged: it claims more rows than it has bytes")
    return ParquetFile(path, opened, np.cumsum([0, *counts]))


def stored_features(schema: Any) -> Mapping[str, Any]:
    """Return the features of the columns in Hugging Face's metadata; empty without metadata."""
    stored = (schema.metadata or {}).get(_METADATA_KEY, b"")
    try:
        features = json.loads(stored[:MAX_METADATA])["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def feature_kind(features: Mapping[str, Any], name: str) -> str:
    """Return the type of a column in the metadata, such as "Image"; "" if it has none."""
    feature = features.get(name)
    return str(feature.get("_type", "")) if isinstance(feature, dict) else ""
