"""`directions`: find directions in w and draw what they change."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from ganformer_jax.cli.image_options import SynthesisOptions
from ganformer_jax.cli.options import refuse_filled
from ganformer_jax.cli.ranges import check_seeds
from ganformer_jax.errors import UserError

if TYPE_CHECKING:
    from ganformer_jax.evaluate.component_metrics import ValidatedSegmenter

Kind = Literal["factorization", "regions", "attributes"]


@dataclasses.dataclass(frozen=True)
class Options(SynthesisOptions):
    """Find directions in w, in a run, an export or a snapshot, and draw what they change.

    The command `edit` reads `directions.npz` in --out; `directions.jsonl` is a table of them.
    """

    out: pathlib.Path | None = None
    """Folder to write to; by default `directions` in the run's folder."""
    kinds: tuple[Kind, ...] = ()
    """How to find directions: by factorization of the weights that read w; by regression
    of the position, area and color of each component's region; by regression of the
    attributes of scenes. By default all kinds that the generator can have."""
    count: int = 1000
    """Number of images for regression, and for the standard deviations of w."""
    seed: int = 0
    """Seed of the first image; the next images have the next seeds."""
    factors: int = 8
    """Number of directions by factorization for each group."""
    layer: int | None = None
    """Attention layer, from 0, the coarsest: the region of a component is where pixels
    attend to it most in this layer. By default the last."""
    amounts: tuple[float, ...] = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
    """Columns of the sheets, in standard deviations of w."""
    truncation_psi: float = 1.0
    """Truncation psi; below 1 trades variety for quality."""
    overwrite: bool = False
    """Replace files that exist."""


def run(options: Options) -> None:
    """Write directions, a table and sheets to a folder."""
    seeds = _check(options)
    folder = options.out or options.default_folder("directions")
    refuse_filled(folder, options.overwrite)

    from ganformer_jax.experiment.figures import FigureContext
    from ganformer_jax.experiment.latents.direction_files import write_directions
    from ganformer_jax.experiment.latents.directions import DirectionSearch, find_directions
    from ganformer_jax.experiment.regions import attention_layers, check_layer

    synthesizer, variables, weights = options.load_synthesizer(options.batch_size, options.noise)
    check_layer(attention_layers(synthesizer.config), options.layer)
    config = synthesizer.config
    chosen = options.choose_labels(seeds, config.label_size, config.text.vocabulary)
    latents = synthesizer.latents(variables, seeds, chosen.labels, options.truncation_psi)
    context = FigureContext(synthesizer, variables, latents)
    search = DirectionSearch(context, lambda: _segmenter(options), options.factors, options.layer)
    groups = find_directions(search, options.kinds)
    if not groups:
        raise UserError("no directions were found")
    write_directions(context, groups, folder, options.amounts, layer=options.layer, weights=weights)
    count = sum(len(group.directions) for group in groups)
    print(f"{count} directions in {len(groups)} groups in {folder}")


def _check(options: Options) -> Sequence[int]:
    """Return the seeds, once the options make sense."""
    from ganformer_jax.metrics.dci import MIN_ROWS

    for flag, least in (("count", MIN_ROWS), ("factors", 1), ("batch_size", 1)):
        if getattr(options, flag) < least:
            raise UserError(f"--{flag.replace('_', '-')} must be {least} or more")
    seeds = check_seeds(options.seed, options.count)
    if not options.amounts:
        raise UserError("--amounts is empty; write -3 0 3")
    options.check_generator()
    return seeds


def _segmenter(options: Options) -> ValidatedSegmenter:
    """Return the network that reads attributes of scenes, trained once per dataset.

    Raises:
        UserError: If the run was not trained on scenes.
    """
    from ganformer_jax.caches import caches
    from ganformer_jax.evaluate.component_metrics import load_segmenter
    from ganformer_jax.experiment.data import open_scenes

    if options.workdir.is_file():
        raise UserError(f"{options.workdir} is a file, which has no dataset: use a run of scenes")
    return load_segmenter(*open_scenes(options.workdir), caches() / "features")
