"""`evaluate`: metrics of the images of a run or of a folder."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from ganformer_jax.caches import caches, keep_compiled_programs
from ganformer_jax.cli.options import check_run
from ganformer_jax.errors import UserError

if TYPE_CHECKING:
    import jax

    from ganformer_jax.data.batches import DatasetSource
    from ganformer_jax.evaluate.evaluation import Report, TrainedGenerator
    from ganformer_jax.evaluate.features import NetworkSettings
    from ganformer_jax.evaluate.image_sets import ImageSet

STANDARD = 50_000  # generated images, as FID is usually reported
ROWS = 8  # images in segmentation.png


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure the images of a run, or of a folder, against a dataset or another folder."""

    metrics: str = "swd2k,rkid2k,rpr2k"
    """Metrics, separated by commas: fid, kid, is, pr, prdc; rfid, rkid, rpr and
    rprdc of a random network; swd; ppl_w_end, ppl_w_full, ppl_z_end and
    ppl_z_full; seg and dci, for scenes only. Each may end in a number of images:
    fid50k."""
    workdir: pathlib.Path = pathlib.Path("runs/scenes")
    """Folder of the run to evaluate, by its averaged generator."""
    fake: pathlib.Path | None = None
    """Folder of images to evaluate instead of a run."""
    real: pathlib.Path | None = None
    """Folder of reference images or of a prepared dataset; by default the run's
    dataset."""
    split: str = "train"
    """Split of the reference dataset."""
    real_count: int | None = None
    """Number of reference images; by default as many as generated ones, or all if
    there are fewer."""
    step: int | None = None
    """Step of the checkpoint to use; by default the newest."""
    best: bool = False
    """Use the checkpoint with the best metric."""
    seed: int = 0
    """Seed of the first image; the next images have the next seeds. It decides
    labels, paths and subsets too."""
    truncation_psi: float = 1.0
    """Truncation psi; below 1 trades variety for quality. Published numbers use 1."""
    noise: Literal["const", "random", "none"] = "random"
    """Noise in the synthesis network: random for each image, the same for all, or none."""
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


def run(options: Options) -> None:
    """Print a table and a JSON line, and append the line to `<workdir>/evaluations.jsonl`."""
    if options.batch_size < 1 or (options.real_count is not None and options.real_count < 1):
        raise UserError("--batch-size and --real-count must be 1 or more")
    if not 0 <= options.seed < 2**31:
        raise UserError("--seed must be 0 or more, and below 2^31")

    from ganformer_jax.evaluate.evaluation import Evaluation, evaluate
    from ganformer_jax.evaluate.image_sets import folder_images
    from ganformer_jax.evaluate.requests import parse_requests

    folder = None if options.fake is None else folder_images(options.fake)
    requests = parse_requests(options.metrics, STANDARD if folder is None else folder.count or 0)
    if folder is not None and (unfit := [r.name for r in requests if r.needs_generator]):
        raise UserError(f"{unfit[0]} needs a generator: leave out --fake")
    needs_reference = any(request.needs_reference for request in requests)
    if folder is None or (needs_reference and options.real is None):
        check_run(options.workdir, options.step, options.best)
    keep_compiled_programs()
    networks = metric_networks(options)

    candidate, generator, facts = folder, None, {}
    if candidate is None:
        candidate, generator = candidate_of_run(options, networks)
        facts = {"truncation_psi": options.truncation_psi, "noise": options.noise}
    scenes = None
    if generator is not None and any(request.kind in ("seg", "dci") for request in requests):
        scenes = _run_dataset(options, "train"), _run_dataset(options, "test")
    evaluation = Evaluation(
        requests,
        candidate,
        networks,
        reference=reference(options) if needs_reference else None,
        reference_count=options.real_count,
        generator=generator,
        scenes=scenes,
        seed=options.seed,
    )
    _report(evaluate(evaluation), facts, None if folder else options.workdir)


def prepare_devices(batch_size: int) -> tuple[jax.sharding.NamedSharding, int]:
    """Divide a batch over this host's devices; a CPU counts as one device per core.

    Returns:
        The sharding of a batch, and the batch size, rounded up to a multiple of the devices.
    """
    import jax

    from ganformer_jax.cli.heap import tune_heap
    from ganformer_jax.train.devices import divide_cpu, place_on, runs_on_cpu

    if runs_on_cpu(None):
        tune_heap()
        divide_cpu(batch_size)
    devices = jax.local_devices()
    rounded = -(-batch_size // len(devices)) * len(devices)
    return place_on(devices).batch, rounded


def metric_networks(options: Options) -> NetworkSettings:
    """Return settings of the networks behind metrics, on this host's devices."""
    from ganformer_jax.convert.state_dict import read_state_dict
    from ganformer_jax.evaluate.features import NetworkSettings
    from ganformer_jax.evaluate.weights import load_weights

    sharding, batch_size = prepare_devices(options.batch_size)
    files = {name: getattr(options, name) for name in ("inception", "vgg16", "lpips")}
    load = functools.partial(load_weights, read=read_state_dict, files=files)
    cache = caches() / "features" if options.cache else None
    return NetworkSettings(load, batch_size, sharding, cache)


def reference(options: Options) -> ImageSet:
    """Open the real images: of a folder, of a prepared dataset, or of the run's dataset."""
    from ganformer_jax.data.find import is_prepared
    from ganformer_jax.evaluate.image_sets import dataset_images, folder_images
    from ganformer_jax.experiment.data import open_folder

    if options.real is None:
        return dataset_images(_run_dataset(options, options.split))
    if is_prepared(options.real):
        return dataset_images(open_folder(options.real, options.split))
    return folder_images(options.real)


def _run_dataset(options: Options, split: str) -> DatasetSource:
    from ganformer_jax.config_files import load_config
    from ganformer_jax.experiment.data import ExperimentData

    return ExperimentData(load_config(options.workdir / "config.json")).open(split)


def candidate_of_run(
    options: Options, networks: NetworkSettings
) -> tuple[ImageSet, TrainedGenerator]:
    """Return the images that the run's averaged generator makes, and the generator."""
    import jax

    from ganformer_jax.evaluate.evaluation import TrainedGenerator
    from ganformer_jax.evaluate.image_sets import ImageSet, sample_labels
    from ganformer_jax.load import load_run
    from ganformer_jax.sampling import Sampler

    assert networks.sharding is not None, "prepare_devices"
    network, variables = load_run(options.workdir, options.step, options.best)
    mesh = networks.sharding.mesh
    replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    variables = jax.device_put(variables, replicated)
    dataset = _run_dataset(options, options.split) if network.config.label_size else None
    sampler = Sampler(
        network.config, networks.batch_size, noise=options.noise, batch_sharding=networks.sharding
    )

    def arguments(indices: Sequence[int]) -> tuple[Any, ...]:
        seeds = [options.seed + index for index in indices]
        labels = None if dataset is None else sample_labels(dataset, seeds)
        return variables, seeds, labels, options.truncation_psi

    def components(indices: Sequence[int], attention: bool) -> tuple[Any, ...]:
        return dataclasses.replace(sampler, attention=attention)(*arguments(indices))

    def sample(indices: Sequence[int]) -> Any:
        return sampler.images(*arguments(indices))

    images = ImageSet(f"images of {options.workdir}", None, sample)
    return images, TrainedGenerator(network, variables, components)


def _report(report: Report, facts: Mapping[str, Any], workdir: pathlib.Path | None) -> None:
    """Print a table and a JSON line; of a run, also write the line and the segmentation."""
    import jax

    if jax.process_index():
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
    line = json.dumps({**report.numbers, **facts})
    print(line)
    if workdir is not None:
        with (workdir / "evaluations.jsonl").open("a") as file:
            file.write(line + "\n")


def _format(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {inner}" for name, inner in value.items()) or "none"
    return str(value)
