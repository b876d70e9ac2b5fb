"""`edit` for a GANformer2: restyle, move or remove one segment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganformer_jax.cli.options import refuse_filled, refuse_options
from ganformer_jax.cli.ranges import SEEDS, parse_ranges
from ganformer_jax.errors import UserError

if TYPE_CHECKING:
    from ganformer_jax.cli.edit import Options

OF_SEGMENTS = ("workdir", "step", "best", "seeds", "component", "remove", "swap", "move", "out")
"""Options of `edit` that apply to segments."""


def edit_segment(options: Options, kind: str) -> None:
    """Write edited scenes, a sheet and a table to a folder, and print what changed."""
    known = (*OF_SEGMENTS, "overwrite")
    refuse_options(options, known, "OPTION has no effect on a GANformer2")
    seeds = parse_ranges(options.seeds, "--seeds", SEEDS)
    folder = options.out or options.default_folder("edited")
    refuse_filled(folder, options.overwrite)
    placement, loaded = _load(options)
    from ganformer_jax.experiment.ganformer2.edits import write_edited
    from ganformer_jax.sampling.planned_scenes import SegmentEdit

    size, last = loaded.config.execution.resolution, loaded.config.planning.segments - 1
    text = str(options.component)
    if not text.isdecimal() or not 1 <= int(text) <= last:
        raise UserError(f"--component {text}: name a segment from 1 to {last}")
    down, right = _pixels(options.move, size) if options.move else (0, 0)
    edit = SegmentEdit(int(text), options.swap, down, right, kind == "remove")
    print(write_edited(loaded, edit, seeds, folder, placement))


def _pixels(move: tuple[float, float], size: int) -> tuple[int, int]:
    """Return how many pixels down and right a segment moves: at most `size`, out of the image.

    Raises:
        UserError: If it would stay where it is.
    """
    down, right = (round(size * min(max(part, -1.0), 1.0)) for part in move)
    if not (down or right):
        raise UserError(
            f"--move {move[0]:g} {move[1]:g} is less than half a pixel of {size}: move by "
            f"{1 / size:g} or more"
        )
    return down, right


def _load(options: Options):
    from ganformer_jax.cli.devices import local_devices
    from ganformer_jax.experiment.ganformer2.edits import BATCH
    from ganformer_jax.experiment.ganformer2.scene_files import load_scenes

    placement = local_devices(BATCH)
    return placement, load_scenes(options.workdir, options.step, options.best, print)
