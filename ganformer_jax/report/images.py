"""Images of a page as data URIs: reduced, compressed, and thinned to a budget."""

from __future__ import annotations

import base64
import dataclasses
import io
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import UInt8
from PIL import Image, features

from ganformer_jax.report.run_files import Run

SIDES = {"samples": 1280, "sheets": 1600}
"""Longest side of a figure in pixels."""
BUDGET = 6_000_000
"""Bytes of the figures of a run before base64, which adds a third."""
STEPS = (24, 16, 12, 8, 6, 4, 3, 2, 1)
"""Numbers of steps to try, until their figures fit the budget."""
QUALITY = 85
WORKERS = 4
"""Figures that are encoded at once."""
_SMALL = 64 * 64  # pixels, up to which an image is stored without loss


@dataclasses.dataclass(frozen=True)
class Embedded:
    """An image in a page.

    Attributes:
        uri: Its data URI.
        width: Its width in pixels.
        height: Its height in pixels.
    """

    uri: str
    width: int
    height: int


@dataclasses.dataclass(frozen=True)
class Shown:
    """The figures of one step; None where there is none.

    Attributes:
        step: Steps done.
        kimg: Thousands of images.
        samples: The grid of samples.
        sheet: The sheet beside it, such as attention maps.
    """

    step: int
    kimg: float
    samples: Embedded | None
    sheet: Embedded | None


@dataclasses.dataclass(frozen=True)
class Gallery:
    """The figures of a run over training.

    Attributes:
        shown: Steps in the page, in order, without those whose figures are damaged.
        total: Number of steps that the run has figures of.
        unreadable: Number of damaged files.
    """

    shown: Sequence[Shown]
    total: int
    unreadable: int


def gallery(run: Run, budget: int = BUDGET) -> Gallery:
    """Encode the figures of a run, at fewer steps until they fit a budget in bytes."""
    steps = sorted({*run.samples, *run.sheets})
    encoder = _Encoder({"samples": run.samples, "sheets": run.sheets})
    newest, chosen = encoder.size(steps[-1:]), steps[-1:]
    for count in [count for count in STEPS if count * newest <= budget]:
        chosen = spread(steps, count)
        if encoder.size(chosen) <= budget:
            break
    shown = [Shown(step, run.kimg_of(step), *encoder.images(step)) for step in chosen]
    kept = [one for one in shown if one.samples or one.sheet]
    unreadable = sum(image is None for image in encoder.made.values())
    return Gallery(kept, len(steps), unreadable)


def last_samples(run: Run) -> Shown | None:
    """Encode the newest grid of samples that can be read."""
    for step in reversed(list(run.samples)):
        if image := encode_file(run.samples[step], SIDES["samples"]):
            return Shown(step, run.kimg_of(step), image, None)
    return None


def spread(items: Sequence[int], count: int) -> list[int]:
    """Return `count` evenly spaced items, including the last and, if count > 1, the first."""
    if len(items) <= count:
        return list(items)
    last = len(items) - 1
    places = [last] if count == 1 else np.linspace(0, last, count).round().astype(int)
    return [items[place] for place in places]


def encode_file(path: pathlib.Path, side: int) -> Embedded | None:
    """Encode an image file, at most `side` pixels wide and high; None if it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return _encode(image.convert("RGB"), side)
    # The errors of Pillow for damaged files.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def encode_array(image_HxWx3: UInt8[np.ndarray, "h w 3"], side: int) -> Embedded:
    """Encode an image, at most `side` pixels wide and high."""
    return _encode(Image.fromarray(image_HxWx3), side)


class _Encoder:
    """Figures that are encoded when their size is first asked for.

    Args:
        paths: Files by kind and step.

    Attributes:
        made: Figures encoded so far, by kind and step; None for damaged files.
    """

    def __init__(self, paths: Mapping[str, Mapping[int, pathlib.Path]]):
        self._paths = paths
        self.made: dict[tuple[str, int], Embedded | None] = {}

    def images(self, step: int) -> list[Embedded | None]:
        """Return the figures of a step, by kind."""
        return [self.made.get((kind, step)) for kind in self._paths]

    def size(self, steps: Sequence[int]) -> int:
        """Return the bytes of the figures of some steps."""
        wanted = [(kind, step) for kind in self._paths for step in steps]
        new = [key for key in wanted if key not in self.made and key[1] in self._paths[key[0]]]
        with ThreadPoolExecutor(WORKERS, "encode") as pool:
            self.made |= zip(new, pool.map(self._encode, new), strict=True)
        return sum(len(image.uri) * 3 // 4 for key in wanted if (image := self.made.get(key)))

    def _encode(self, key: tuple[str, int]) -> Embedded | None:
        kind, step = key
        return encode_file(self._paths[kind][step], SIDES[kind])


def _encode(image: Image.Image, side: int) -> Embedded:
    """Encode as PNG if it is small, else as WebP, or as JPEG where Pillow has no WebP."""
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    if image.width * image.height <= _SMALL:
        kind, options = "png", {"optimize": True}
    elif features.check("webp"):
        kind, options = "webp", {"quality": QUALITY, "method": 2}
    else:
        kind, options = "jpeg", {"quality": QUALITY}
    image.save(buffer, format=kind, **options)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Embedded(f"data:image/{kind};base64,{text}", image.width, image.height)
