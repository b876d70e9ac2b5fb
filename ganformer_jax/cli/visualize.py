"""`visualize`: figures and videos that show what a generator learned."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from ganformer_jax.cli.image_options import ImageOptions
from ganformer_jax.cli.options import refuse_filled
from ganformer_jax.errors import UserError

if TYPE_CHECKING:
    from ganformer_jax.experiment.figures import FigureContext

Figure = Literal[
    "samples",
    "attention",
    "segments",
    "layers",
    "interpolation-z",
    "interpolation-w",
    "interpolation-components",
    "mixing-layers",
    "mixing-components",
    "removal",
    "noise",
    "truncation",
]


@dataclasses.dataclass(frozen=True)
class Options(ImageOptions):
    """Draw figures and videos of a run, an export or a snapshot.

    The latents of the images are written to `latents.npz` beside the figures.
    """

    out: pathlib.Path | None = None
    """Folder to write to; by default `figures` in the run's folder."""
    figures: tuple[Figure, ...] = ()
    """Figures to draw; by default all that the generator can have."""
    component: int | None = None
    """Component to draw, from 1, in figures with a row for each; by default all."""
    frames: int = 60
    """Video frames from one image to the next, at 30 frames per second."""
    video: Literal["auto", "mp4", "webp", "gif"] = "auto"
    """Format of videos; by default mp4 if PyAV is installed (the extra `video`),
    else webp."""
    overwrite: bool = False
    """Replace figures that exist."""


def run(options: Options) -> None:
    """Write figures, videos and latents to a folder."""
    if options.frames < 1:
        raise UserError("--frames must be 1 or more")
    seeds = options.check_images()
    folder = options.out or options.default_folder("figures")
    suffix = _suffix(options.video)
    refuse_filled(folder, options.overwrite)

    from ganformer_jax.experiment.figures.files import write_figures

    context, weights = _context(options, seeds)
    files = write_figures(context, folder, options.figures, suffix=suffix, weights=weights)
    print(f"{len(files)} files in {folder}")


def _context(options: Options, seeds: Sequence[int]) -> tuple[FigureContext, str]:
    """Load the generator; return the context of the figures and the checksum of its weights."""
    component = None if options.component is None else options.component - 1
    context, weights = options.load_images(seeds, frames=options.frames, component=component)
    count = context.config.components
    if component is not None and not 0 <= component < count:
        has = f"1 to {count}" if count else "none"
        raise UserError(
            f"--component {options.component}: the components of this generator are {has}"
        )
    return context, weights


def _suffix(video: str) -> str:
    from ganformer_jax.visualize.animations import INSTALL, animation_suffixes

    known = animation_suffixes()
    if video == "auto":
        return known[0]
    if f".{video}" not in known:
        raise UserError(INSTALL)
    return f".{video}"
