"""Images in LMDB databases, the format of LSUN."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ganformer_jax.data.sources.source import (
    MAX_BYTES,
    Source,
    Unreadable,
    checksum,
    file_facts,
    import_format,
    raise_if_interrupted,
)
from ganformer_jax.errors import UserError, one_line

METADATA_KEYS = (b"__len__", b"__keys__", b"num-samples", b"length")  # not images, but counts


class LmdbSource(Source):
    """Encoded images by key, opened read-only and without a lock file.

    The names are the keys in stored order: as text if they are printable, else in hexadecimal.

    Args:
        path: A folder that contains data.mdb, or the file itself.

    Raises:
        UserError: If lmdb is not installed, or the database is absent, empty or damaged.
    """

    def __init__(self, path: str | os.PathLike[str]):
        place = Path(path)
        self._path = place / "data.mdb" if place.is_dir() else place
        if not self._path.is_file():
            raise UserError(f"there is no LMDB database {self._path}")
        self._lmdb = import_format("lmdb", f"reading {self._path}")
        self._environment = self._open()
        try:
            keys = self._stored_keys()
            self._keys = [key for key in keys if key not in METADATA_KEYS]
            if not self._keys:
                raise UserError(f"the LMDB database {self._path} is empty")
        except BaseException:
            self._environment.close()
            raise
        self.names = _unique_names(self._keys)
        facts = [key.decode() for key in keys if key in METADATA_KEYS]
        self.skipped = [(name, "a fact about the database") for name in facts]
        self.description, self.paths = f"LMDB database {place}", (place,)

    def read(self, index: int) -> bytes:
        """Read an encoded image; raise Unreadable."""
        try:
            with self._environment.begin(buffers=True) as transaction:
                stored = transaction.get(self._keys[index])
                if stored is None:
                    raise Unreadable("gone from the database")
                if len(stored) > MAX_BYTES:
                    raise Unreadable("too large")
                return bytes(stored)
        except self._lmdb.Error as error:
            raise_if_interrupted(self._path, error)
            raise Unreadable(f"damaged: {one_line(error)}") from error

    def fingerprint(self) -> str:
        """Return a checksum of the file's size, its modification time, and the keys."""
        return checksum(["lmdb", file_facts(self._path), *self.names])

    def close(self) -> None:
        """Close the database."""
        self._environment.close()

    def _open(self) -> Any:
        try:
            environment = self._lmdb.open(
                os.fspath(self._path), subdir=False, readonly=True, lock=False, readahead=False
            )
        except (self._lmdb.Error, OSError) as error:
            raise self._damaged(one_line(error)) from error
        # Reading a page beyond the end of the file would kill the process.
        needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        if self._path.stat().st_size < needed:
            environment.close()
            raise self._damaged("it is cut short")
        return environment

    def _stored_keys(self) -> list[bytes]:
        try:
            with self._environment.begin() as transaction, transaction.cursor() as cursor:
                return list(cursor.iternext(keys=True, values=False))
        except self._lmdb.Error as error:
            raise self._damaged(one_line(error)) from error

    def _damaged(self, reason: str) -> UserError:
        return UserError(
            f"the LMDB database {self._path} cannot be read, fetch or copy it again: {reason}"
        )


def _unique_names(keys: Sequence[bytes]) -> tuple[str, ...]:
    taken: dict[str, None] = {}
    for key in keys:
        text = key.decode("utf-8", "surrogateescape")
        name = text if text.isprintable() else key.hex()  # surrogates cannot be printed
        while name in taken:
            name = "hex:" + name
        taken[name] = None
    return tuple(taken)
