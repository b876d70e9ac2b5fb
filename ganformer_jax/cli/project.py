"""`project`: find latents whose images are close to given images."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from ganformer_jax.cli.generator_options import GeneratorOptions
from ganformer_jax.cli.options import refuse_overwriting
from ganformer_jax.errors import UserError

if TYPE_CHECKING:
    from ganformer_jax.config import GeneratorConfig
    from ganformer_jax.experiment.latents.projection import Distance


@dataclasses.dataclass(frozen=True)
class Options(GeneratorOptions):
    """Find latents of images, by optimization, in a run, an export or a snapshot.

    The file `latents.npz` in --out is for `visualize --latents`.
    """

    images: Annotated[
        tuple[pathlib.Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="IMAGE [IMAGE ...]", help_behavior_hint=""),
    ] = ()
    """Image files; or one folder, archive, dataset or other source that `prepare` reads."""
    out: pathlib.Path | None = None
    """Folder to write to; by default `projected` in the run's folder."""
    count: int = 16
    """Maximum number of images; the first ones of a source are taken."""
    split: str = "test"
    """Split to take images from, if the source is a dataset."""
    steps: int = 500
    """Number of optimization steps."""
    learning_rate: float = 0.1
    """Learning rate of Adam, in units of the spread of w."""
    per_layer: bool = False
    """Find a latent for each layer (w+): closer to the image, but harder to edit."""
    optimize_noise: bool = False
    """Also optimize the noise of each image."""
    distance: Literal["auto", "lpips", "laplacian"] = "auto"
    """Distance to minimize: LPIPS, or the distance in a Laplacian pyramid. By default
    LPIPS if its weights are available and images have 16 pixels or more."""
    vgg16: pathlib.Path | None = None
    """Weights of VGG-16 for LPIPS; by default torchvision's, downloaded once."""
    lpips: pathlib.Path | None = None
    """Weights of LPIPS for VGG-16; by default the published ones, downloaded once."""
    samples: int = 1000
    """Number of samples to compare the images with; 0 for none."""
    start: Literal["auto", "mean", "nearest"] = "auto"
    """Starting point: the mean of w, or the nearest sample. By default the nearest
    sample if components have places and --samples is not 0, else the mean."""
    class_name: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """Class of all images, by name or number."""
    condition: str | None = None
    """Condition of all images: comma-separated numbers, or name=number pairs."""
    prompt: str | None = None
    """Caption of all images, for a run trained on captions."""
    batch_size: int = 16
    """Images to project at once."""
    overwrite: bool = False
    """Replace files that exist."""


def run(options: Options) -> None:
    """Write latents, a figure, and distances at each step to a folder."""
    _check(options)
    from ganformer_jax.experiment.latents.projection_files import FILES

    folder = options.out or options.default_folder("projected")
    refuse_overwriting([folder / name for name in FILES], options.overwrite)

    import jax

    from ganformer_jax.cli.devices import local_devices
    from ganformer_jax.experiment.latents.projection import Projector, project_images
    from ganformer_jax.experiment.latents.projection_files import summary, write_projection
    from ganformer_jax.experiment.sample_files import weights_digest
    from ganformer_jax.experiment.targets import read_targets
    from ganformer_jax.projection import ProjectionOptions, latent_statistics
    from ganformer_jax.sampling import Synthesizer, label_vectors

    devices = local_devices(1)
    generator, variables = options.load_generator()
    config, weights = generator.config, weights_digest(variables)
    if options.optimize_noise and not config.synthesis.noise:
        raise UserError("--optimize-noise: this generator has no noise")
    labels = _labels(options, config)
    targets = read_targets(options.images, config, options.count, options.split)
    name, distance = _distance(options, config)
    print(f"projecting {len(targets.names)} images, distance {name}")
    variables = jax.device_put(variables, devices.replicated)
    vector = None if labels is None else label_vectors(config.label_size, labels)[0]
    synthesizer = Synthesizer(config, min(options.batch_size, len(targets.names)))
    projector = Projector(
        synthesizer,
        variables,
        latent_statistics(config, variables, vector),
        distance,
        ProjectionOptions(
            options.steps, options.learning_rate, options.per_layer, options.optimize_noise
        ),
        options.start == "nearest" or (options.start == "auto" and config.attention.places),
    )
    samples = None
    if options.samples:
        repeated = None if labels is None else labels.repeat(options.samples, 0)
        samples = synthesizer.latents(variables, range(options.samples), repeated)
    found = project_images(projector, targets.images, samples)
    paths = write_projection(found, targets, projector, folder, weights)
    print(summary(found))
    print(f"wrote {', '.join(path.name for path in paths)} to {folder}")


def _check(options: Options) -> None:
    if not options.images:
        raise UserError("name the images to project: files, a folder or another source")
    for flag in ("count", "steps", "batch_size"):
        if getattr(options, flag) < 1:
            raise UserError(f"--{flag.replace('_', '-')} must be 1 or more")
    if options.samples < 0:
        raise UserError("--samples must be 0 or more")
    if options.start == "nearest" and not options.samples:
        raise UserError("--start nearest needs samples: set --samples to 1 or more")
    if not options.learning_rate > 0:
        raise UserError("--learning-rate must be above 0")
    if options.distance == "laplacian" and (flag := _weights_flag(options)):
        raise UserError(f"{flag} has no effect on --distance laplacian: leave one of them out")
    options.check_generator()


def _weights_flag(options: Options) -> str | None:
    """Return the first option that names weights, if one is given."""
    return next((f"--{name}" for name in ("vgg16", "lpips") if getattr(options, name)), None)


def _labels(options: Options, config: GeneratorConfig) -> Any:
    """Return the label of all images, one row; None without labels."""
    import numpy as np

    from ganformer_jax.experiment.chosen_labels import choose_labels

    given = options.class_name, options.condition, options.prompt
    if config.label_size and given == (None, None, None):
        raise UserError(
            "this generator has labels: choose one with --class, --condition or --prompt"
        )
    classes = () if options.class_name is None else (options.class_name,)
    prompts = () if options.prompt is None else (options.prompt,)
    chosen = choose_labels(
        options.workdir,
        config.label_size,
        [0],
        classes,
        options.condition,
        prompts,
        config.text.vocabulary,
    )
    return None if chosen.labels is None else np.asarray(chosen.labels)


def _distance(options: Options, config: GeneratorConfig) -> tuple[str, Distance]:
    """Return the distance to minimize, and its name."""
    import functools

    from ganformer_jax.convert.state_dict import read_state_dict
    from ganformer_jax.evaluate.weights import has_weights, load_weights
    from ganformer_jax.experiment.latents.projection import lpips_distance
    from ganformer_jax.metrics.lpips import SMALLEST
    from ganformer_jax.projection import laplacian_distance

    files = {"vgg16": options.vgg16, "lpips": options.lpips}
    fits, flag = min(config.image_size) >= SMALLEST, _weights_flag(options)
    chosen = options.distance
    if chosen == "lpips" and not fits:
        raise UserError(f"LPIPS needs images of {SMALLEST} pixels or more: --distance laplacian")
    if flag and not fits:
        raise UserError(f"{flag}: LPIPS needs images of {SMALLEST} pixels or more: leave it out")
    missing = [name for name in files if not has_weights(name, files)]
    if flag and chosen == "auto" and missing:
        raise UserError(
            f"{flag} needs the weights of {missing[0]} too: give --{missing[0]}, or --distance "
            "lpips, which downloads them"
        )
    if chosen == "auto":
        chosen = "lpips" if fits and not missing else "laplacian"
    if chosen == "laplacian":
        return "in a Laplacian pyramid", laplacian_distance
    load = functools.partial(load_weights, read=read_state_dict, files=files)
    try:
        return "LPIPS", lpips_distance(load("vgg16")[0] | load("lpips")[0])
    except ValueError as error:
        raise UserError(str(error)) from error
