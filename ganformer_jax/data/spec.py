"""Specification of a prepared dataset, its plan, and image sizes that networks support."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
import statistics
from typing import Any, Literal, get_args

import numpy as np
import PIL

from ganformer_jax.config import MAX_IMAGE_CHANNELS
from ganformer_jax.config.training import RENDERED
from ganformer_jax.data.decode import MAX_PIXELS, no_warnings
from ganformer_jax.data.fit import FILTERS, MODES, Fit, Geometry, cropped_size
from ganformer_jax.data.fit_entry import stored_size
from ganformer_jax.data.sources.conditions import Conditions
from ganformer_jax.data.sources.source import Labels, Source, Unreadable, checksum, no_images
from ganformer_jax.errors import UserError, did_you_mean

FORMAT = 1  # version of the preparation; datasets started by another version are not resumed
RESERVED = (*RENDERED, "downloads")  # folders with another purpose in the folder of datasets
SAMPLE = 64  # images whose sizes are read to choose a resolution
LARGEST_DEFAULT = 256
LARGEST_SIDE = 1 << 14  # pixels; larger numbers are typing errors
_NAME = re.compile(r"[a-z][a-z0-9_]*")


Storage = Literal["png", "raw"]


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """Specification of a prepared dataset.

    `storage` is "png", compressed, or "raw", PNG without compression, which is larger and several
    times as fast to read. Images of 2, or of 5 or more channels, which PNG does not support, are
    stored as arrays, compressed or not.
    """

    name: str  # also the name of its folder: lowercase letters, digits and underscores
    geometry: Geometry
    storage: Storage = "png"
    held_out: int = 0  # number of entries of the split `test`, drawn with a fixed seed
    max_images: int | None = None  # number of entries to use, drawn with the same seed
    value_range: tuple[float, float] | None = None  # values of black and white


def check_spec(spec: DatasetSpec) -> None:
    """Raise UserError if a name, size, count, range or choice of a specification is invalid."""
    geometry = spec.geometry
    if not _NAME.fullmatch(spec.name):
        raise UserError(
            f"--name {spec.name}: use lowercase letters, digits and underscores, a letter first"
        )
    if not 1 <= geometry.channels <= MAX_IMAGE_CHANNELS or geometry.filter not in FILTERS:
        raise UserError(
            f"channels must be from 1 to {MAX_IMAGE_CHANNELS} and the filter one of "
            f"{', '.join(FILTERS)}"
        )
    _check_size(geometry.height, geometry.width)
    _check_choice("fit", geometry.fit, Fit)
    _check_choice("storage", spec.storage, Storage)
    if spec.name in RESERVED:
        raise UserError(f"--name {spec.name} is reserved: choose another name")
    if spec.held_out < 0 or (spec.max_images is not None and spec.max_images < 1):
        raise UserError("--held-out must be 0 or more and --max-images 1 or more")
    check_value_range(spec.value_range)
    check_ratio(geometry.ratio)


def _check_size(height: int, width: int) -> None:
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise UserError(
            f"images of {height}x{width} pixels cannot be prepared: give at least 1x1 and at most "
            f"{MAX_PIXELS >> 20} megapixels"
        )


def _check_choice(name: str, value: str, choices: Any) -> None:
    """Raise UserError unless a value is one of a Literal."""
    known = get_args(choices)
    if value not in known:
        hint = did_you_mean(value, known)
        raise UserError(f"{name} {value!r} is unknown: choose from {', '.join(known)}{hint}")


def check_value_range(value_range: tuple[float, float] | None) -> None:
    """Raise UserError unless the values of black and white are finite and increasing."""
    low, high = value_range or (0.0, 1.0)
    if not -math.inf < low < high < math.inf:
        raise UserError("--value-range must be two numbers, the smaller first")


def check_channels(channels: int, source: Source) -> None:
    """Raise UserError if the images of a source cannot be converted to this number of channels.

    Images become gray, color, or color with opacity (1, 3 or 4). Arrays of 2, or of 5 or more
    channels keep them; 2 channels may also be converted as gray and opacity.
    """
    own = source.channels
    if own is None and channels not in MODES:
        raise UserError(f"--channels {channels}: use 1, 3 or 4; other numbers are for arrays")
    if own is not None and channels != own and (own != 2 or channels not in MODES):
        raise UserError(f"--channels {channels}: the images have {own}; leave the option out")


def check_ratio(ratio: float | None) -> None:
    """Raise UserError unless height / width is between 0.05 and 20."""
    if ratio is not None and not 0.05 <= ratio <= 20:
        raise UserError(f"--ratio is height / width, from 0.05 to 20, not {ratio}")


def make_plan(
    spec: DatasetSpec, labels: Labels | Conditions | None, description: str, fingerprint: str
) -> dict[str, Any]:
    """Return everything that determines a dataset, as JSON: equal plans give equal datasets."""
    kind = "conditions" if isinstance(labels, Conditions) else "classes"
    numbers = labels and (labels.vectors if isinstance(labels, Conditions) else labels.classes)
    plan = {
        "format": FORMAT,
        "pillow": PIL.__version__,  # versions may differ in rounding when they resize
        "source": description.encode("utf-8", "replace").decode(),
        **dataclasses.asdict(spec.geometry),
        **{k: v for k, v in vars(spec).items() if k not in ("name", "geometry")},
        "labels": labels and {kind: list(labels.names), "origin": labels.origin},
        "entries": checksum([fingerprint, None if numbers is None else numbers.tobytes()]),
    }
    if labeled_entries(spec, labels) is not None:
        plan["drawn"] = "labeled entries"  # earlier versions drew from all entries
    if isinstance(labels, Conditions) and labels.tokenizer:
        plan["tokenizer"] = checksum([labels.tokenizer])
    return json.loads(json.dumps(plan))


def labeled_entries(spec: DatasetSpec, labels: Labels | Conditions | None) -> np.ndarray | None:
    """Return which entries to draw from, bool [entries]; None for all of them."""
    if labels is None or not labels.known.any() or labels.known.all():
        return None
    is_drawn = spec.held_out or (spec.max_images or math.inf) < len(labels.known)
    return labels.known if is_drawn else None


def base_grid(size: tuple[int, int]) -> tuple[int, int] | None:
    """Return the grid, such as 4x4 or 3x4, whose doublings reach this height and width, if any."""
    height, width = size
    halvings = 0
    while height % 2 == 0 and width % 2 == 0 and min(height, width) >= 6:
        height, width, halvings = height // 2, width // 2, halvings + 1
    good = halvings > 0 and min(height, width) >= 2 and max(height, width) <= 16
    return (height, width) if good else None


def image_size(resolution: int, ratio: float) -> tuple[int, int]:
    """Return the height and width with this longer side that are nearest to height / width = ratio.

    Raises:
        UserError: If no network has images with this longer side.
    """
    if resolution > LARGEST_SIDE:
        raise UserError(f"--resolution {resolution}: give at most {LARGEST_SIDE} pixels")
    wanted = resolution * min(ratio, 1 / ratio)
    fitting = [side for side in range(2, resolution + 1) if base_grid((side, resolution))]
    if base_grid((resolution, resolution)) is None or not fitting:
        raise UserError(
            f"--resolution {resolution}: the longer side should be a power of two from 8 up, or "
            "another number that halves down to at most 16, such as 96 or 160"
        )
    shorter = min(fitting, key=lambda side: (abs(side - wanted), -side))
    return (shorter, resolution) if ratio <= 1 else (resolution, shorter)


def usual_resolution(source: Source, ratio: float | None, value_range: tuple | None) -> int:
    """Return the power of two from 8 to 256 nearest to the median longer side of cropped images."""
    sizes, reasons = _some_sizes(source, value_range)
    if not sizes:
        raise no_images(source, reasons)
    sides = [max(size if ratio is None else cropped_size(size, ratio)) for size in sizes]
    nearest = 2 ** round(math.log2(statistics.median(sides)))
    return min(max(nearest, 8), LARGEST_DEFAULT)


def _some_sizes(
    source: Source, value_range: tuple | None
) -> tuple[list[tuple[int, int]], set[str]]:
    """Return the widths and heights of a sample of images, and why others cannot be read."""
    sizes, reasons = [], set()
    count = len(source)
    step = 1 if source.sequential else max(1, count // SAMPLE)
    spread = range(0, count, step)[:SAMPLE]
    with no_warnings():
        for looked, index in enumerate(itertools.chain(spread, range(count))):
            if looked >= len(spread) and sizes:
                break
            try:
                sizes.append(stored_size(source.read(index), value_range))
            except Unreadable as reason:
                reasons.add(str(reason))
    return sizes, reasons
