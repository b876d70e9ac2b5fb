"""`evaluate`: measure images of a run, or stored images."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ganformer_jax.cli.evaluate_checks import WEIGHTS, check_options, check_reading
from ganformer_jax.cli.options import HostOptions, RunOptions, refuse_options
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.requests import Request, parse_requests
from ganformer_jax.files import json_line

if TYPE_CHECKING:
    from ganformer_jax.data.batches import DatasetSource
    from ganformer_jax.evaluate.evaluation import Report, TrainedGenerator
    from ganformer_jax.evaluate.features import NetworkSettings
    from ganformer_jax.evaluate.image_sets import ImageSet

STANDARD = 50_000  # generated images, the usual number for FID
ROWS = 8  # images in segmentation.png


@dataclasses.dataclass(frozen=True)
class Options(RunOptions):
    """Measure images of a run, or stored images, against a dataset or other stored images."""

    metrics: str = "swd2k,rkid2k,rpr2k"
    """Metrics, separated by commas: fid, kid, is, pr, prdc; rfid, rkid, rpr and
    rprdc of a random network; swd; ppl_w_end, ppl_w_full, ppl_z_end and
    ppl_z_full; edit; seg, dci and caption, for scenes only. Each may end in a number of
    images: fid50k."""
    fake: pathlib.Path | None = None
    """Images of one size to evaluate instead of a run: anything that `prepare` reads,
    such as a folder, a zip or an npz file."""
    real: pathlib.Path | None = None
    """Reference images of one size, or a prepared dataset; by default the run's
    dataset."""
    split: str = "train"
    """Split of the reference dataset; values logged in training (`swd`) compare
    with `test`."""
    array: str | None = None
    """Name of the array of images in npz and HDF5 files."""
    value_range: tuple[float, float] | None = None
    """Values of black and white in --real and --fake, as in `prepare`."""
    fake_value_range: tuple[float, float] | None = None
    """Values of black and white in --fake, if they differ: 0 255 for 8-bit images."""
    follow_links: bool = False
    """Follow symbolic links in folders, also to files outside of them."""
    real_count: int | None = None
    """Number of reference images; by default as many as generated images, or all if
    there are fewer."""
    seed: int = 0
    """Seed of the first image; the next images have the next seeds. Labels, paths and
    subsets depend on it too."""
    truncation_psi: float = 1.0
    """Truncation psi; below 1 trades variety for quality. Published numbers use 1."""
    noise: Literal["const", "random", "none"] = "random"
    """Noise in the synthesis network: const is the same for all images; random is
    decided by an image's seed; none adds no noise."""
    allow_few: bool = False
    """Measure fid and rfid even with too few images, where the value is mostly bias."""
    batch_size: int = 32
    """Images per batch, over all devices."""
    inception: pathlib.Path | None = None
    """Weights of FID's Inception; by default the published ones, downloaded once."""
    vgg16: pathlib.Path | None = None
    """Weights of VGG-16 for path lengths; by default torchvision's, downloaded
    once."""
    lpips: pathlib.Path | None = None
    """Weights of LPIPS for VGG-16; by default the published ones, downloaded once."""
    cache: bool = True
    """Keep the features of reference images for later evaluations."""
    hosts: HostOptions = HostOptions()


def run(options: Options) -> None:
    """Print a table and a JSON line, and append the line to `<workdir>/evaluations.jsonl`."""
    if options.batch_size < 1 or (options.real_count is not None and options.real_count < 1):
        raise UserError("--batch-size and --real-count must be 1 or more")
    if not 0 <= options.seed < 2**31:
        raise UserError("--seed must be 0 or more, and below 2^31")

    options.hosts.connect()
    from ganformer_jax import hosts
    from ganformer_jax.cli.devices import local_devices
    from ganformer_jax.evaluate.evaluation import Evaluation, evaluate
    from ganformer_jax.experiment.evaluation import (
        Reading,
        metric_networks,
        reference_images,
        stored_images,
    )

    requests = parse_requests(options.metrics, STANDARD)
    check_options(options, requests)
    reading = Reading(options.split, options.array, options.value_range, options.follow_links)
    of_fake = dataclasses.replace(
        reading, value_range=options.fake_value_range or options.value_range
    )
    candidate = None
    if options.fake is not None:
        candidate = stored_images(options.fake, of_fake)
    needs_reference = any(request.needs_reference for request in requests)
    if candidate is None or (needs_reference and options.real is None):
        options.check_run()
    files = {name: getattr(options, name) for name in WEIGHTS}
    devices = local_devices(options.batch_size)
    networks = metric_networks(devices, options.batch_size, files, options.cache)
    if candidate:
        made = Candidate(candidate)
    elif options.kind() == "gan":
        made = _generated(options, networks)
    else:
        made = _of_other_kind(options, requests, networks)
    if made.images.count is not None:
        requests = parse_requests(options.metrics, made.images.count)
    real = reference_images(options.workdir, options.real, reading) if needs_reference else None
    sets = [made.images] if real is None else [made.images, real]
    check_reading(options, sets)
    for images in sets:
        if images.warning and hosts.is_first():
            print(f"warning: {images.name}: {images.warning}", file=sys.stderr)
    evaluation = Evaluation(
        requests,
        made.images,
        networks,
        reference=real,
        reference_count=options.real_count,
        generator=made.generator,
        scenes=made.scenes,
        seed=options.seed,
        allow_few=options.allow_few,
    )
    _report(evaluate(evaluation), made.facts, made.run)


class Candidate(NamedTuple):
    """The images to measure and, for a run, what made them."""

    images: ImageSet
    generator: TrainedGenerator | None = None
    scenes: Callable[[], tuple[DatasetSource, DatasetSource]] | None = None
    """Opens training and test split, for metrics about scenes."""
    facts: Mapping[str, Any] = {}
    """Progress of training, and how images are sampled."""
    run: pathlib.Path | None = None
    """Folder of the run, which keeps the result; None for stored images."""


def _generated(options: Options, networks: NetworkSettings) -> Candidate:
    """Return the images of a GAN's run."""
    from ganformer_jax.experiment.evaluation import (
        generated_images,
        labeled_dataset,
        scenes_of_run,
    )
    from ganformer_jax.load import load_checkpoint

    run = options.workdir
    sampling: Any = {"truncation_psi": options.truncation_psi, "noise": options.noise}
    network, variables, step, images_seen = load_checkpoint(run, options.step, options.best, print)
    labels = labeled_dataset(run, options.real, options.split, network.config.label_size)
    images, generator = generated_images(
        run, network, variables, networks, seed=options.seed, dataset=labels, **sampling
    )
    _say_channels(network.config.image_channels)
    scenes = functools.partial(scenes_of_run, run, options.real)
    facts = {"step": step, "kimg": images_seen / 1000, **sampling}
    return Candidate(images, generator, scenes, facts, run)


def _of_other_kind(
    options: Options, requests: Sequence[Request], networks: NetworkSettings
) -> Candidate:
    """Return the images of a run that is not of a GAN."""
    from ganformer_jax.experiment.run_images import IMAGES_OF, CheckpointSampling

    kind, run = options.kind(), options.workdir
    if unfit := [request.name for request in requests if request.needs_generator]:
        raise UserError(f"{unfit[0]} is for GANs, but {run} is of kind {kind}: leave it out")
    of_all = {field.name for field in dataclasses.fields(options)} - {"truncation_psi", "noise"}
    refuse_options(options, of_all, f"OPTION is for GANs, but {run} is of kind {kind}")
    sampling = CheckpointSampling(
        run=run,
        step=options.step,
        best=options.best,
        seed=options.seed,
        networks=networks,
        real=options.real,
        split=options.split,
    )
    images, channels, step, images_seen = IMAGES_OF[kind](sampling)
    _say_channels(channels)
    return Candidate(images, run=run, facts={"step": step, "kimg": images_seen / 1000})


def _say_channels(count: int) -> None:
    """Print which channels metrics see, unless there are 1 or 3."""
    from ganformer_jax import hosts
    from ganformer_jax.pixels import channel_words

    if hosts.is_first() and (words := channel_words(count)):
        print(words)


def _report(report: Report, facts: Mapping[str, Any], workdir: pathlib.Path | None) -> None:
    """Print a table and a JSON line; for a run, also write the line and the segmentation."""
    from ganformer_jax import hosts

    if not hosts.is_first():
        return
    if report.segmentation is not None and workdir is not None:
        from ganformer_jax import visualize

        images, segments = report.segmentation
        columns = {name: ids[:ROWS] for name, ids in segments.items() if name != "uniform"}
        path = workdir / "segmentation.png"
        visualize.save_png(path, visualize.segments_grid(images[:ROWS], columns))
        print(f"segmentations: {path}")
    facts = {**facts, **report.facts}
    width = max(map(len, [*report.numbers, *facts]))
    print("\n".join(f"{name:{width}}  {value:.6g}" for name, value in report.numbers.items()))
    print("\n".join(f"{name:{width}}  {_format(value)}" for name, value in facts.items()))
    line = json_line({**report.numbers, **facts})
    print(line, end="")
    if workdir is not None:
        with (workdir / "evaluations.jsonl").open("a") as file:
            file.write(line)


def _format(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {inner}" for name, inner in value.items()) or "none"
    return str(value)
