"""`sample`: write images of a run and their attention maps."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from ganformer_jax.cli.image_options import SynthesisOptions, check_cutoff
from ganformer_jax.cli.options import HostOptions, named, refuse_options
from ganformer_jax.cli.ranges import SEEDS, check_seeds, parse_ranges
from ganformer_jax.cli.sample_prior import OF_PRIORS, sample_prior
from ganformer_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Options(SynthesisOptions):
    """Write images and attention maps from a run, an export or a snapshot.

    Run an interrupted command again to resume; images that exist are kept.
    """

    out: pathlib.Path | None = None
    """Folder to write to; by default `generated` in the run's folder. A grid of the
    first images and a figure of their attention are written beside it."""
    count: int = 16
    """Number of images to write."""
    seed: int = 0
    """Seed of the first image; the next images have the next seeds."""
    seeds: str | None = None
    """Instead of --seed and --count, a list of seeds such as 1,5,10-20."""
    truncation_psi: float = 0.7
    """Truncation psi; below 1 trades variety for quality."""
    truncation_cutoff: int | None = None
    """Number of layers to truncate, from the first; by default all."""
    temperature: float = 1.0
    """Temperature at which a prior draws codes: below 1 trades variety for quality, and
    0 takes the most probable code."""
    top_k: int = 0
    """Number of most probable codes from which a prior draws; 0 for all."""
    attention_rows: int = 8
    """Number of images whose attention is drawn; 0 for none."""
    overwrite: bool = False
    """Replace images that other settings or weights have made."""
    images: tuple[pathlib.Path, ...] = ()
    """Images to translate with a translation run: files, or one folder or other source
    that `prepare` reads."""
    back: bool = False
    """Translate --images from the target set to the source set instead."""
    hosts: HostOptions = HostOptions()


OF_SCENES = ("workdir", "step", "best", "out", "count", "seed", "seeds", "batch_size", "overwrite")
"""Options for scenes of a GANformer2, besides `hosts`."""
OF_TRANSLATIONS = ("workdir", "step", "best", "out", "batch_size", "overwrite", "images", "back")
"""Options for translations, besides `hosts`."""


def run(options: Options) -> None:
    """Write `<seed>.png` and `samples.jsonl` to a folder, and figures beside it."""
    if options.images or options.back:
        return _translate(options)
    seeds = _seeds(options)
    if options.batch_size < 1:
        raise UserError("--batch-size must be 1 or more")
    if options.attention_rows < 0:
        raise UserError("--attention-rows must be 0 or more")
    check_cutoff(options.truncation_cutoff)
    kind = options.kind()
    if kind == "prior":
        reason = f"OPTION does not apply to {options.workdir}, a prior"
        refuse_options(options, OF_PRIORS, reason)
        return sample_prior(options, seeds, _folder(options, "generated"))
    of_gans = (field.name for field in dataclasses.fields(options))
    refuse_options(options, {*of_gans} - {"temperature", "top_k"}, "OPTION is for priors")
    options.check_generator()
    if kind == "ganformer2":
        return _scenes(options, seeds)

    options.hosts.connect()
    from ganformer_jax.cli.devices import local_devices
    from ganformer_jax.experiment.samples import SampleSet, write_samples
    from ganformer_jax.sampling import Sampler

    placement = local_devices(options.batch_size)
    generator, variables = options.load_generator()
    config = generator.config
    chosen = options.choose_labels(seeds, config.label_size, config.text.vocabulary)
    rows = options.attention_rows if config.attended_resolutions else 0
    write_samples(
        SampleSet(
            seeds,
            chosen.labels,
            chosen.facts,
            options.truncation_psi,
            options.truncation_cutoff,
        ),
        Sampler(
            config,
            placement.rounded(options.batch_size),
            options.noise,
            attention=rows > 0,
            batch_sharding=placement.batch,
        ),
        variables,
        placement,
        _folder(options, "generated"),
        columns=chosen.columns,
        attention_rows=rows,
        overwrite=options.overwrite,
    )


def _scenes(options: Options, seeds: Sequence[int]) -> None:
    """Write scenes of a GANformer2, `samples.jsonl`, and figures beside the folder."""
    reason = f"OPTION does not apply to {options.workdir}, a GANformer2"
    refuse_options(options, (*OF_SCENES, "hosts"), reason)
    options.hosts.connect()
    from ganformer_jax.cli.devices import local_devices
    from ganformer_jax.experiment.ganformer2.scene_files import load_scenes, write_scenes

    placement = local_devices(options.batch_size)
    write_scenes(
        load_scenes(options.workdir, options.step, options.best, print),
        seeds,
        _folder(options, "generated"),
        placement,
        options.batch_size,
        overwrite=options.overwrite,
    )


def _translate(options: Options) -> None:
    """Write translations of images, `samples.jsonl`, and figures beside the folder."""
    if not options.images:
        raise UserError("--back needs --images: name the images to translate")
    refuse_options(options, (*OF_TRANSLATIONS, "hosts"), "OPTION cannot be combined with --images")
    if options.batch_size < 1:
        raise UserError("--batch-size must be 1 or more")
    options.check_run()

    options.hosts.connect()
    from ganformer_jax.cli.devices import local_devices
    from ganformer_jax.experiment.translation.image_files import (
        load_translators,
        write_translations,
    )

    placement = local_devices(options.batch_size)
    write_translations(
        load_translators(options.workdir, options.step, options.best, print),
        options.images,
        "source" if options.back else "target",
        _folder(options, "translated"),
        placement,
        options.batch_size,
        overwrite=options.overwrite,
    )


def _seeds(options: Options) -> Sequence[int]:
    if options.seeds is not None:
        if (options.seed, options.count) != (Options.seed, Options.count):
            raise UserError("--seeds cannot be combined with --seed or --count: leave them out")
        return parse_ranges(options.seeds, "--seeds", SEEDS)
    if options.count < 1:
        raise UserError("--count must be 1 or more")
    return check_seeds(options.seed, options.count)


def _folder(options: Options, name: str) -> pathlib.Path:
    """Return the folder to write to, by default this one of the run; figures take its name."""
    return options.default_folder(name) if options.out is None else named(options.out)
