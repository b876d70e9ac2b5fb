"""The orientation that the metadata of an image gives, and images turned upright by it."""

from __future__ import annotations

from PIL import Image

_TAG = 0x0112  # of EXIF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)
"""Orientations that exchange width and height."""


def orientation_of(image: Image.Image) -> int:
    """Return the orientation of an image, 1 to 8; 1 if there is none, or if it is damaged.

    Pillow turns TIFFs upright itself when it loads them, and then returns 1. A PNG is loaded, as
    its metadata may follow its pixels.

    Raises:
        Exception: What Pillow raises if the pixels of a PNG are damaged.
    """
    if image.format == "PNG" and "exif" not in image.info:
        image.load()
    try:
        found = image.getexif().get(_TAG, 1)
    except MemoryError:
        raise
    except Exception:  # Pillow's readers of metadata raise errors of many types
        return 1
    return found if isinstance(found, int) and found in _TURNS else 1


def turned_upright(image: Image.Image) -> Image.Image:
    """Return a copy of a loaded image, upright.

    Unlike `ImageOps.exif_transpose`, this does not rewrite the metadata, which fails if any part of
    it is damaged.
    """
    turn = _TURNS.get(orientation_of(image))
    return image.copy() if turn is None else image.transpose(turn)
