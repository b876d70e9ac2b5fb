"""The images of any source, decoded for metrics; all must have one size."""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import pathlib
import weakref
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from ganformer_jax.data.decode import decode, no_warnings, stored_size
from ganformer_jax.data.depth import joined_range, narrow_range_warning
from ganformer_jax.data.fit import Geometry, with_channels
from ganformer_jax.data.fit_entry import fit_entry
from ganformer_jax.data.sources.folder import FolderSource
from ganformer_jax.data.sources.nested_tars import NO_TAR
from ganformer_jax.data.sources.source import (
    REPLACED,
    Source,
    Unreadable,
    is_hidden,
    listed,
    refusal,
)
from ganformer_jax.data.sources.walk import HARMLESS, LINKED_FOLDER
from ganformer_jax.data.sources.webdataset import ANOTHER_IMAGE
from ganformer_jax.errors import UserError
from ganformer_jax.pixels import as_rgb

MOST_SIZES = 10_000  # images whose sizes are read for the error message, if they differ
SAMPLE = 16  # images whose values are read for a warning about their range
HEADER_BYTES = 1 << 18  # from the start of an encoded image, which contain its size
_HARMLESS = (*HARMLESS, REPLACED, ANOTHER_IMAGE, NO_TAR)  # reasons by which no image is lost


class SourceImages:
    """Images of a source, in its order, in color.

    Entries are selected and decoded as by `prepare` (sources/ and decode.py): hidden files are left
    out, the EXIF orientation is applied, and transparency is composited on white.

    Args:
        source: The source; it is closed when this object is garbage-collected.
        value_range: Numbers that become 0 and 255, as in `decode`.

    Raises:
        UserError: If there are no images, or one of them cannot be used.

    Attributes:
        name: Path of the folder; for other sources, their kind and path.
        names: Names of the images in the source.
    """

    def __init__(self, source: Source, value_range: tuple[float, float] | None = None):
        self._source, self._value_range = source, value_range
        weakref.finalize(self, source.close)
        self.name = str(source.root) if isinstance(source, FolderSource) else source.description
        for name, reason in source.skipped:
            if _should_be_used(name, reason):
                raise UserError(
                    f"{self._place(name)} cannot be used ({reason}): replace or remove it"
                )
        self._indices = [i for i in range(len(source)) if self._is_image(i)]
        self.names = [source.names[i] for i in self._indices]
        if not self.names:
            formats = ": looked for .png, .jpg, .webp and other formats" if source.of_files else ""
            raise UserError(f"no images in {self.name}{formats}")

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.names)

    def read(self, indices: Sequence[int]) -> UInt8[np.ndarray, "m h w 3"]:
        """Decode images; raise UserError if one is damaged, or of another size than the first."""
        images = [self._decode(index) for index in indices]
        if any(image.shape != self._first_shape for image in images):
            raise self._sizes_differ(indices, [image.shape[1::-1] for image in images])
        return np.stack(images)

    @functools.cached_property
    def has_8_bits(self) -> bool:
        """Whether the first image has at most 8 bits per channel."""
        with self._reported(0), no_warnings():
            stored = self._source.read(self._indices[0])
            if isinstance(stored, np.ndarray):
                return stored.dtype in (np.uint8, np.bool_)
            try:
                return decode(stored).deep_range is None
            except Unreadable:  # it needs a range of values
                return False

    def range_warning(self) -> str | None:
        """Return a warning if a range of values is missing or looks wrong.

        It is missing if 16-bit images, in a sample, use few of the possible values, and looks wrong
        if it scales 8-bit images.
        """
        if self._value_range is not None:
            low, high = self._value_range
            if not (self.has_8_bits and high < 255):
                return None
            return f"8-bit images are scaled: {low:g} to black and {high:g} to white"
        step = 1 if self._source.sequential else max(1, self.count // SAMPLE)
        found = None
        for index in range(0, self.count, step)[:SAMPLE]:
            with contextlib.suppress(Unreadable), no_warnings():
                stored = self._source.read(self._indices[index])
                found = joined_range(found, decode(stored).deep_range)
        return narrow_range_warning(found)

    def content(self, index: int) -> bytes:
        """Return bytes that determine an image, for checksums; raise UserError if unreadable."""
        with self._reported(index):
            stored = self._source.read(self._indices[index])
        range_bytes = b"" if self._value_range is None else repr(self._value_range).encode()
        if isinstance(stored, bytes):
            return range_bytes + stored
        return range_bytes + f"{stored.dtype.str}{stored.shape}".encode() + stored.tobytes()

    @functools.cached_property
    def _first_shape(self) -> tuple[int, ...]:
        return self._decode(0).shape

    def _size(self, index: int) -> tuple[int, int]:
        """Return the width and height of an image, upright, from its header if that is enough."""
        with self._reported(index), no_warnings():
            start = self._source.start(self._indices[index], HEADER_BYTES)
            size = stored_size(start)
        return self._decode(index).shape[1::-1] if size is None else size

    def _decode(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        with self._reported(index), no_warnings():
            stored = self._source.read(self._indices[index])
            if self._source.channels is not None and isinstance(stored, np.ndarray):
                geometry = Geometry(*stored.shape[:2], channels=self._source.channels)
                return as_rgb(fit_entry(stored, geometry, self._value_range).pixels_HxWxC[None])[0]
            image = decode(stored, self._value_range).image
        return np.asarray(with_channels(image, 3))

    def _sizes_differ(self, indices: Sequence[int], sizes: Sequence[tuple[int, int]]) -> UserError:
        """Return the error for images of different sizes, with the number of images of each."""
        known = dict(zip(indices, sizes, strict=True))
        for index in range(min(self.count, MOST_SIZES)):
            if index not in known:
                with contextlib.suppress(UserError):
                    known[index] = self._size(index)
        counts = collections.Counter(known.values()).most_common()
        first = {size: index for index, size in sorted(known.items(), reverse=True)}
        found = [
            f"{count} of {width}x{height} such as {self._place(self.names[first[width, height]])}"
            for (width, height), count in counts
        ]
        looked = f" (among {len(known)} images read)" if len(known) < self.count else ""
        return UserError(
            f"images of {self.name} differ in size: {listed(found, 4)}{looked}; resize all to one "
            "size first, or use `prepare`, because metrics depend on the resampling filter"
        )

    def _place(self, name: str) -> str:
        if isinstance(self._source, FolderSource):
            return os.fspath(self._source.root / name)
        return f"{name} in {self.name}"

    @contextlib.contextmanager
    def _reported(self, index: int) -> Iterator[None]:
        try:
            yield
        except Unreadable as error:
            place = self._place(self.names[index])
            raise UserError(f"{place} cannot be used: {error}") from error

    def _is_image(self, index: int) -> bool:
        """Return whether an entry should be an image, by its suffix or, if none, its contents."""
        if not self._source.of_files or pathlib.PurePath(self._source.names[index]).suffix:
            return True
        try:
            decode(self._source.read(index), self._value_range)
        except Unreadable:
            return False
        return True


def _should_be_used(name: str, reason: str) -> bool:
    """Return whether a skipped entry may be, or contain, images that would be missing."""
    if is_hidden(name) or reason in (refusal(name), *_HARMLESS):
        return False
    is_folder = reason.startswith((LINKED_FOLDER, "cannot be listed"))
    return is_folder or bool(pathlib.PurePath(name).suffix)
