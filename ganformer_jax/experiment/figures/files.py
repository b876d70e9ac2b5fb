"""Figures in a folder, with the latents that they were made from."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence

from tqdm import tqdm

from ganformer_jax.errors import UserError
from ganformer_jax.experiment.figures import FIGURES, FigureContext, Still, Unsuitable, Video
from ganformer_jax.sampling import save_latents
from ganformer_jax.visualize import save_animation, save_png

LATENTS_FILE = "latents.npz"
FPS = 30


def write_figures(
    context: FigureContext,
    folder: pathlib.Path,
    names: Sequence[str] = (),
    *,
    suffix: str = ".mp4",
    weights: str = "",
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> list[pathlib.Path]:
    """Write figures as PNG files and videos, and `latents.npz`, to a folder.

    Args:
        context: The generator and its images.
        folder: Where to write; files of these names are replaced.
        names: Keys of `FIGURES`; by default all that the generator can have, and a line gives the
            reason for each that is skipped.
        suffix: Suffix of videos: .mp4, .webp or .gif.
        weights: Checksum of the generator, for the file of latents.
        progress: Show the progress of videos.
        say: Receives lines for the user.

    Returns:
        The files.

    Raises:
        UserError: If the generator cannot have a figure that was asked for, or a file cannot be
            written.
    """
    written = [folder / LATENTS_FILE]
    save_latents(written[0], context.latents, weights, context.synthesizer.noise)
    for name in names or FIGURES:
        try:
            for figure in FIGURES[name](context):
                written.append(_write(figure, folder, suffix, progress))
                say(f"wrote {written[-1]}")
        except Unsuitable as reason:
            if names:
                raise UserError(f"no figure {name}: {reason}") from None
            say(f"no figure {name}: {reason}")
    return written


def _write(
    figure: Still | Video, folder: pathlib.Path, suffix: str, progress: bool
) -> pathlib.Path:
    if isinstance(figure, Still):
        path = folder / f"{figure.name}.png"
        save_png(path, figure.image)
        return path
    path = folder / f"{figure.name}{suffix}"
    frames = tqdm(
        figure.frames, path.name, figure.count, unit=" frames", disable=not progress, leave=False
    )
    save_animation(path, frames, fps=FPS)
    return path
