"""Videos: MP4 by PyAV where it is installed, animated WebP and GIF by Pillow."""

from __future__ import annotations

import fractions
import importlib.util
import itertools
import math
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ganformer_jax.errors import UserError
from ganformer_jax.files import atomic_path
from ganformer_jax.pixels import as_rgb

if TYPE_CHECKING:
    from jaxtyping import UInt8

PILLOW_FORMATS = {".webp": "WEBP", ".gif": "GIF"}
QUALITY = "18"  # constant rate factor of x264 with hardly visible loss
INSTALL = 'MP4 needs PyAV: pip install "ganformer-jax[video]", or write .webp or .gif'


def animation_suffixes() -> tuple[str, ...]:
    """Return the suffixes of videos that can be written on this machine, the best first."""
    video = importlib.util.find_spec("av") is not None
    return ((".mp4",) if video else ()) + tuple(PILLOW_FORMATS)


def save_animation(
    path: str | os.PathLike[str],
    frames: Iterable[UInt8[np.ndarray, "h w c"]],
    *,
    fps: float = 30.0,
) -> None:
    """Write a video that repeats, atomically, creating the folders above it.

    Frames are encoded one by one. MP4 files are H.264, which browsers play; if a side of the frames
    is odd, its last row or column is repeated.

    Args:
        path: The file, of suffix .mp4, .webp or .gif; it is replaced if it exists.
        frames: uint8 images of one shape and any number of channels, at least one.
        fps: Frames per second, above 0. WebP rounds the duration of a frame to whole ms, GIF to
            10 ms, and both to at least one such unit.

    Raises:
        UserError: If the suffix is another, PyAV is missing, or the file cannot be written.
        ValueError: If there are no frames, they differ in shape or are not uint8, or `fps` is not
            above 0.
    """
    if not 0 < fps < math.inf:
        raise ValueError(f"fps must be above 0, got {fps}")
    suffix = pathlib.Path(path).suffix.lower()
    if suffix != ".mp4" and suffix not in PILLOW_FORMATS:
        raise UserError(f"{path}: a video is .mp4, .webp or .gif")
    if suffix not in animation_suffixes():
        raise UserError(INSTALL)
    colored = (as_rgb(np.asarray(frame)[None])[0] for frame in frames)
    first = next(colored, None)
    if first is None:
        raise ValueError("no frames")
    rest = (_of_shape(frame, first.shape) for frame in colored)
    with atomic_path(path) as temporary:
        if suffix == ".mp4":
            _write_mp4(temporary, first, rest, fps)
        else:
            _write_pillow(temporary, PILLOW_FORMATS[suffix], first, rest, fps)


def _of_shape(frame: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if frame.shape != shape:
        raise ValueError(f"frames of {list(shape)} and {list(frame.shape)}: give one shape")
    return frame


def _write_pillow(
    path: pathlib.Path, kind: str, first: np.ndarray, rest: Iterator[np.ndarray], fps: float
) -> None:
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    unit = 1 if kind == "WEBP" else 10  # Pillow would truncate to it
    Image.fromarray(first).save(
        path,
        format=kind,
        save_all=True,
        append_images=(Image.fromarray(frame) for frame in rest),
        duration=unit * max(1, round(1000 / fps / unit)),
        loop=0,
        **options,
    )


def _write_mp4(
    path: pathlib.Path, first: np.ndarray, rest: Iterator[np.ndarray], fps: float
) -> None:
    import av

    rate = fractions.Fraction(fps).limit_denominator(1000)
    height, width, _ = _even(first).shape
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as file:
        stream = file.add_stream("libx264", rate, {"crf": QUALITY})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in itertools.chain([first], rest):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(_even(frame), format="rgb24")))
        file.mux(stream.encode())


def _even(frame: np.ndarray) -> np.ndarray:
    """Repeat the last row and column of odd sides, which H.264 does not have."""
    height, width, _ = frame.shape
    whole = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(whole)
