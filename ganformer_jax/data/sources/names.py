"""Which names in folders and archives may be pictures, and why the others are not."""

from __future__ import annotations

import pathlib

SUFFIXES = frozenset(
    ".png .jpg .jpeg .jpe .jfif .webp .tif .tiff .bmp .gif .ppm .pgm .pbm .pnm".split() + [""]
)
"""Of files that are looked into; the contents decide, so a file without a suffix may be one."""


def refusal(name: str) -> str | None:
    """Says why an entry of this name is not looked into; None if it is.

    Args:
        name: Path below the root, as the archive or the file system gives it.
    """
    path = pathlib.PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or path.parts[:1] and path.parts[0].endswith(":"):
        return "its name leads out of the archive"
    if any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
        return "hidden file"
    suffix = path.suffix.lower()
    return None if suffix in SUFFIXES else f"no picture ({suffix})"
