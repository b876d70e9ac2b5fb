"""`evaluate`: judges a run, or one folder of images by another."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from ganformer_jax.caches import keep_compiled_programs
from ganformer_jax.cli.options import check_run
from ganformer_jax.errors import UserError

if TYPE_CHECKING:
    import jax

STANDARD = 50_000  # generated images, as FID is usually reported


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
    """Noise in the synthesis network: by seed, the same for all images, or none."""
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
    """Prints a table and a JSON line, which is also added to `<workdir>/evaluations.jsonl`."""
    if options.batch_size < 1 or (options.real_count is not None and options.real_count < 1):
        raise UserError("--batch-size and --real-count must be 1 or more")
    if not 0 <= options.seed < 2**31:
        raise UserError("--seed must be from 0 up, below 2^31")
    if options.fake is None or options.real is None:
        check_run(options.workdir, options.step, options.best)

    from ganformer_jax.cli.judged import Judged, Readers
    from ganformer_jax.evaluate.features import RESIZING
    from ganformer_jax.evaluate.measure import measure
    from ganformer_jax.evaluate.requests import PATHS, SCENES, parse_requests

    keep_compiled_programs()
    divided, batch_size = prepare_devices(options.batch_size)
    judged = Judged(options, divided, batch_size)
    requests = parse_requests(options.metrics, judged.fake.count or STANDARD)
    readers = Readers(divided, batch_size, options.inception, options.cache)
    sets = [request for request in requests if request.kind not in (*PATHS, *SCENES)]
    real, real_count = None, 0
    if any(request.compares for request in sets):
        real = judged.real
        most = max(request.count for request in sets if request.compares)
        real_count = options.real_count or min(real.count or most, most)
    numbers = measure(sets, real, judged.fake, readers, real_count=real_count, seed=options.seed)
    for request in requests:
        if request.kind in PATHS:
            numbers[request.name] = judged.path_length(request)
        elif request.kind in SCENES:
            numbers |= judged.scenes(request)
    facts = {
        **judged.facts,
        **({"real_images": real_count} if real else {}),
        "resizing": RESIZING,
        "precision": "float32 features, float64 distances",
        "weights": {**readers.digests, **judged.digests},
        "seed": options.seed,
    }
    _report(numbers, facts, None if options.fake else options.workdir)


def prepare_devices(batch_size: int) -> tuple[jax.sharding.NamedSharding, int]:
    """Divides a batch over this host's devices; a CPU is as many as its cores and the batch allow.

    Returns:
        How to divide a batch, and its size, rounded up to what the devices divide.
    """
    import jax
    import numpy as np

    from ganformer_jax.train.cpu import largest_divisor, nothing_but_cpu, usable_cores
    from ganformer_jax.train.heap import keep_freed_memory

    if nothing_but_cpu(None):
        keep_freed_memory()
        with contextlib.suppress(RuntimeError):  # jax has looked for devices already
            jax.config.update("jax_num_cpu_devices", largest_divisor(batch_size, usable_cores()))
    devices = jax.local_devices()
    rounded = -(-batch_size // len(devices)) * len(devices)
    mesh = jax.sharding.Mesh(np.array(devices), ("data",))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data")), rounded


def _report(
    numbers: Mapping[str, float], facts: Mapping[str, Any], run: pathlib.Path | None
) -> None:
    """Prints a table for people and a line for programs, and adds the line to the run's."""
    import jax

    if jax.process_index():
        return
    width = max(map(len, [*numbers, *facts]))
    print("\n".join(f"{name:{width}}  {value:.6g}" for name, value in numbers.items()))
    print("\n".join(f"{name:{width}}  {_shown(value)}" for name, value in facts.items()))
    line = json.dumps({**numbers, **facts})
    print(line)
    if run is not None:
        with (run / "evaluations.jsonl").open("a") as file:
            file.write(line + "\n")


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {inner}" for name, inner in value.items()) or "none"
    return str(value)
