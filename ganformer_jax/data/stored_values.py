"""How an image file stores its values, which Pillow may rescale or invert on reading."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ganformer_jax.data.sources.source import Unreadable

_BITS, _COMPRESSION, _PHOTOMETRIC, _PLANES, _SAMPLE_FORMAT = 258, 259, 262, 284, 339  # of TIFF


@dataclasses.dataclass(frozen=True)
class Storage:
    """How a file stores the values of an image.

    Attributes:
        largest: Largest possible value of a channel of up to 16 bits; unused for 32 bits.
        read_as: Value that Pillow returns for `largest`; equal to it unless Pillow rescales.
        is_deep_color: Whether there are several 16-bit channels, of which Pillow reads the high
            bytes.
        is_signed: Whether 8-bit values are signed, which Pillow ignores.
        is_unsigned: Whether 32-bit values are unsigned, which Pillow ignores.
        white_is_zero: Whether 0 is white.
        read_inverted: Whether Pillow inverts such values itself.
    """

    largest: int = 255
    read_as: int = 255
    is_deep_color: bool = False
    is_signed: bool = False
    is_unsigned: bool = False
    white_is_zero: bool = False
    read_inverted: bool = False

    def values(self, image: Image.Image) -> np.ndarray:
        """Return the values of an image, as read by Pillow, as the file stores them."""
        values = np.asarray(image)
        if self.is_signed:
            return values.view(np.int8)
        if self.is_unsigned:
            return values.view(np.uint32)
        if self.read_inverted:
            values = self.read_as - values
        if self.read_as == self.largest:
            return values
        return np.round(values * (self.largest / self.read_as)).astype(values.dtype)

    def correct_transparent_color(self, image: Image.Image) -> None:
        """Give the transparent color of a PNG as Pillow reads its pixels, which it rescales.

        The high bytes that Pillow reads of 16-bit color do not tell which pixels have the color, so
        none is transparent.
        """
        key = image.info.get("transparency")
        if self.is_deep_color and isinstance(key, tuple):
            del image.info["transparency"]
        elif image.mode == "1" and isinstance(key, int):
            image.info["transparency"] = 255 * (key & 1)
        elif image.mode == "L" and self.largest < self.read_as and isinstance(key, int):
            image.info["transparency"] = (key & self.largest) * self.read_as // self.largest


def storage_of(image: Image.Image) -> Storage:
    """Return how the file of an image that is opened, but not loaded, stores its values.

    Raises:
        Unreadable: If Pillow would misread them.
    """
    tiles: Sequence[Any] = getattr(image, "tile", ())
    arguments = tiles[0][-1] if tiles else ""
    raw = arguments if isinstance(arguments, str) else str((arguments or ("",))[0])
    if image.format == "TIFF":
        return _of_tiff(image, raw)
    if image.format == "PPM" and not isinstance(arguments, str) and image.mode in ("L", "RGB", "I"):
        largest = int(arguments[-1])  # the file declares the value of white
        is_deep_color = image.mode == "RGB" and largest > 255
        return Storage(largest, 65535 if image.mode == "I" else 255, is_deep_color)
    if image.mode == "I" or image.mode.startswith("I;16"):
        return Storage(65535, 65535)
    if image.mode == "L" and raw in ("L;2", "L;4"):
        return Storage((1 << int(raw[-1])) - 1)
    return Storage(is_deep_color=";16" in raw and image.mode.startswith(("RGB", "CMYK")))


def _of_tiff(image: Image.Image, raw: str) -> Storage:
    tags: Any = getattr(image, "tag_v2", {})
    bits = max(tags.get(_BITS, (1,)))
    is_deep_color = bits > 8 and image.mode.startswith(("RGB", "CMYK"))
    if is_deep_color and tags.get(_PLANES) == 2 and tags.get(_COMPRESSION) == 1:
        raise Unreadable("16-bit color in separate planes: save it interleaved or compressed")
    signs, white_is_zero = tags.get(_SAMPLE_FORMAT, (1,)), tags.get(_PHOTOMETRIC) == 0
    if image.mode == "L" and bits <= 8:
        largest, inverted = (1 << bits) - 1, white_is_zero and "I" in raw.partition(";")[2]
        of_white = {"white_is_zero": white_is_zero, "read_inverted": inverted}
        return Storage(largest, is_signed=2 in signs, **of_white)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        is_unsigned = image.mode == "I" and bits == 32 and 1 in signs
        return Storage(65535, 65535, is_unsigned=is_unsigned, white_is_zero=white_is_zero)
    return Storage(is_deep_color=is_deep_color)
