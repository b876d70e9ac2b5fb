"""What a prepared dataset should be, and everything that decides its contents."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from typing import Any, Literal

import PIL

from ganformer_jax.data.fit import FILTERS, MODES, Geometry
from ganformer_jax.data.sources.labels import Labels
from ganformer_jax.data.sources.source import checksum
from ganformer_jax.errors import UserError

FORMAT = 1
"""Version of the way datasets are prepared; work of another version is not resumed."""
RESERVED = ("scenes", "downloads")
"""Names with another meaning in the folder of datasets."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """What a prepared dataset should be.

    Attributes:
        name: Name of the dataset, and of its folder: lowercase letters, digits and underscores.
        geometry: Size and channels of the images.
        storage: "png", compressed; or "raw", PNG without compression, larger, and several
            times as fast to read.
        held_out: Number of entries for the split `test`, drawn at random with a fixed seed; those
            that cannot be read are left out of it.
        max_images: Number of entries to use, drawn likewise; None for all.
        value_range: Numbers that are black and white, for pixels that are not of 8 or 16 bits.
    """

    name: str
    geometry: Geometry
    storage: Literal["png", "raw"] = "png"
    held_out: int = 0
    max_images: int | None = None
    value_range: tuple[float, float] | None = None


def check_spec(spec: DatasetSpec) -> None:
    """Check names, counts and ranges.

    Raises:
        UserError: If one makes no sense.
    """
    geometry = spec.geometry
    if not _NAME.fullmatch(spec.name):
        raise UserError(
            f"--name {spec.name}: use lowercase letters, digits and underscores, a letter first"
        )
    if geometry.channels not in MODES or geometry.filter not in FILTERS:
        raise UserError(f"channels must be 1, 3 or 4 and the filter one of {', '.join(FILTERS)}")
    if spec.name in RESERVED:
        raise UserError(f"--name {spec.name} is reserved: choose another name")
    if spec.held_out < 0 or (spec.max_images is not None and spec.max_images < 1):
        raise UserError("--held-out must be 0 or more and --max-images 1 or more")
    low, high = spec.value_range or (0.0, 1.0)
    if not -math.inf < low < high < math.inf:
        raise UserError("--value-range must be two numbers, the smaller first")
    check_ratio(geometry.ratio)


def check_ratio(ratio: float | None) -> None:
    """Check a height / width.

    Raises:
        UserError: If no image has such a shape.
    """
    if ratio is not None and not 0.05 <= ratio <= 20:
        raise UserError(f"--ratio is height / width, from 0.05 to 20, not {ratio}")


def make_plan(
    spec: DatasetSpec, labels: Labels | None, description: str, fingerprint: str
) -> dict[str, Any]:
    """Return everything that decides a dataset, as JSON: two equal plans make equal datasets.

    Args:
        spec: What the dataset should be.
        labels: Classes of the entries.
        description: Description of the source.
        fingerprint: Fingerprint of the source.
    """
    classes = labels and {"classes": list(labels.names), "origin": labels.origin}
    plan = {
        "format": FORMAT,
        "pillow": PIL.__version__,  # another version may round otherwise when it resizes
        "source": description.encode("utf-8", "replace").decode(),
        **dataclasses.asdict(spec.geometry),
        **{k: v for k, v in vars(spec).items() if k not in ("name", "geometry")},
        "labels": classes,
        "entries": checksum([fingerprint, labels and labels.classes.tobytes()]),
    }
    return json.loads(json.dumps(plan))
