"""`visualize`: figures and videos that show what a generator learned."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from ganformer_jax.cli.generator_options import GeneratorOptions
from ganformer_jax.cli.ranges import parse_ranges
from ganformer_jax.cli.sample import SEEDS
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
class Options(GeneratorOptions):
    """Draw figures and videos of a run, an export or a snapshot.

    The latents of the images are written to `latents.npz` beside the figures.
    """

    out: pathlib.Path | None = None
    """Folder to write to; by default `figures` in the run's folder."""
    figures: tuple[Figure, ...] = ()
    """Figures to draw; by default all that suit the generator."""
    seeds: str = "0-15"
    """Seeds of the images, such as 1,5,10-20."""
    latents: pathlib.Path | None = None
    """Latents of the images instead of --seeds: a `latents.npz`, or an .npz with an
    array `w` of shape [images, components + 1, size of w]."""
    component: int | None = None
    """Component that figures of components are about, from 1; by default each."""
    truncation_psi: float = 0.7
    """Truncation psi; below 1 trades variety for quality."""
    truncation_cutoff: int | None = None
    """Number of layers to truncate, from the first; by default all."""
    noise: Literal["const", "random", "none"] = "const"
    """Noise in the synthesis network: const is the same for all images; random is
    decided by an image's seed; none adds no noise."""
    class_names: Annotated[tuple[str, ...], tyro.conf.arg(name="class")] = ()
    """Names or numbers of classes, which take turns; by default all."""
    condition: str | None = None
    """Condition of all images: comma-separated numbers, or name=number pairs; by default
    conditions of training images."""
    frames: int = 60
    """Frames of a video from one image to the next, 30 a second."""
    video: Literal["auto", "mp4", "webp", "gif"] = "auto"
    """Format of videos; by default mp4 if PyAV is installed (the extra `video`),
    else webp."""
    batch_size: int = 16
    """Images to make at once."""
    overwrite: bool = False
    """Replace figures that exist."""


def run(options: Options) -> None:
    """Write figures, videos and latents to a folder."""
    seeds = _check(options)
    folder = options.out or options.default_folder("figures")
    suffix = _suffix(options.video)
    if not options.overwrite and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} has files: choose another --out, or --overwrite")

    from ganformer_jax.experiment.figures.files import write_figures

    context, weights = _context(options, seeds)
    files = write_figures(context, folder, options.figures, suffix=suffix, weights=weights)
    print(f"{len(files)} files in {folder}")


def _check(options: Options) -> Sequence[int]:
    """Return the seeds, once the options make sense."""
    seeds = parse_ranges(options.seeds, "--seeds", SEEDS)
    for flag, number in (("--batch-size", options.batch_size), ("--frames", options.frames)):
        if number < 1:
            raise UserError(f"{flag} must be 1 or more")
    if options.latents is not None:
        if options.seeds != Options.seeds or options.class_names or options.condition is not None:
            raise UserError("--latents excludes --seeds, --class and --condition: leave them out")
        if not options.latents.is_file():
            raise UserError(f"no file {options.latents}")
    options.check_generator()
    return seeds


def _context(options: Options, seeds: Sequence[int]) -> tuple[FigureContext, str]:
    """Load the generator; return what figures need, and the checksum of its weights."""
    import jax

    from ganformer_jax.cli.heap import local_devices
    from ganformer_jax.experiment.chosen_labels import choose_labels
    from ganformer_jax.experiment.figures import FigureContext
    from ganformer_jax.experiment.sample_files import weights_digest
    from ganformer_jax.sampling import Synthesizer, read_latents

    placement = local_devices(options.batch_size)
    generator, variables = options.load_generator()
    config, weights, component = generator.config, weights_digest(variables), options.component
    if component is not None and not 1 <= component <= config.components:
        has = f"1 to {config.components}" if config.components else "none"
        raise UserError(f"--component {component}: the components of this generator are {has}")
    devices = len(placement.devices)
    synthesizer = Synthesizer(
        config,
        -(-options.batch_size // devices) * devices,
        options.noise,
        batch_sharding=placement.batch,
    )
    variables = jax.device_put(variables, placement.replicated)
    given: dict[str, Any] = {
        "frames": options.frames,
        "component": None if component is None else component - 1,
    }
    if options.latents is not None:
        latents = read_latents(
            options.latents, config, weights=weights, noise=options.noise, say=print
        )
        return FigureContext(synthesizer, variables, latents, **given), weights
    chosen = choose_labels(
        options.workdir, config.label_size, seeds, options.class_names, options.condition
    )
    truncation = options.truncation_psi, options.truncation_cutoff
    z_BxKxD = synthesizer.z(seeds)
    latents = synthesizer.latents(variables, seeds, chosen.labels, *truncation)
    context = FigureContext(
        synthesizer, variables, latents, z_BxKxD, chosen.labels, *truncation, **given
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
