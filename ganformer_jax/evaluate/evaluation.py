"""An evaluation: from a candidate, a reference and networks to a report."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from ganformer_jax import hosts
from ganformer_jax.data.batches import DatasetSource
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.comparison import compare, feature_readers, references
from ganformer_jax.evaluate.component_edits import MakeImages, edit_locality
from ganformer_jax.evaluate.component_metrics import (
    Attention,
    ValidatedSegmenter,
    load_segmenter,
)
from ganformer_jax.evaluate.feasibility import check_generator, check_measurable, lacks_rank
from ganformer_jax.evaluate.features import RESIZING, NetworkSettings
from ganformer_jax.evaluate.image_sets import ImageSet
from ganformer_jax.evaluate.path_length import perceptual_path_length
from ganformer_jax.evaluate.requests import EDITS, PATHS, SCENES, Request
from ganformer_jax.evaluate.weights import variables_digest
from ganformer_jax.metrics.lpips import lpips_variables
from ganformer_jax.models import Generator
from ganformer_jax.scenes.captions import SceneObjects

Described = tuple[UInt8[np.ndarray, "h w c"], SceneObjects, int]
"""A real scene: its image, its objects, and its index, which determines its caption."""
Components = tuple[UInt8[np.ndarray, "m h w c"], Float[np.ndarray, "m k d"], Attention]
"""Images, w and the attention maps of each layer."""


@dataclasses.dataclass(frozen=True)
class TrainedGenerator:
    """The generator of a candidate.

    Attributes:
        network: The module.
        variables: Variables for `network.apply`, on the devices that evaluate it.
        components: Function from indices, and whether to return attention, to `Components`.
        edited: Function from indices and an edit to images and attention.
        conditions: Function from indices to labels, one-hot or conditions; without it, path lengths
            draw classes uniformly.
        described: Function from indices to the scenes whose captions the images were generated
            from; None for generators without captions of scenes.
    """

    network: Generator
    variables: Mapping[str, Any]
    components: Callable[[Sequence[int], bool], Components]
    edited: MakeImages
    conditions: Callable[[Sequence[int]], Float[np.ndarray, "m y"]] | None = None
    described: Callable[[Sequence[int]], list[Described]] | None = None


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What to measure, on which images, with which networks.

    Attributes:
        requests: Metrics.
        candidate: Images to evaluate.
        networks: Settings of the networks behind metrics.
        reference: Real images; needed if `Request.needs_reference`.
        reference_count: Number of reference images; by default as many as generated ones, or all
            if there are fewer.
        generator: Generator of the candidate; needed if `Request.needs_generator`.
        scenes: Opens the splits of scenes with ground truth to train and to validate the
            segmentation network on; needed for the metrics in `SCENES`.
        seed: Seed of paths and of subsets.
        allow_few: Accept Fréchet distances of too few images; the report then lists them.
    """

    requests: Sequence[Request]
    candidate: ImageSet
    networks: NetworkSettings
    reference: ImageSet | None = None
    reference_count: int | None = None
    generator: TrainedGenerator | None = None
    scenes: Callable[[], tuple[DatasetSource, DatasetSource]] | None = None
    seed: int = 0
    allow_few: bool = False


@dataclasses.dataclass(frozen=True)
class Report:
    """Results of an evaluation.

    Attributes:
        numbers: Values of metrics, by name.
        facts: What the values depend on: images, weights, precision.
        segmentation: Images and their segments by name, -1 for none, if "seg" was requested.
    """

    numbers: dict[str, float]
    facts: dict[str, Any]
    segmentation: tuple[np.ndarray, Mapping[str, Int[np.ndarray, "m h w"]]] | None = None


def evaluate(evaluation: Evaluation) -> Report:
    """Measure everything that was requested.

    Raises:
        UserError: If a metric cannot be measured on these images or by this generator, before any
            metric is measured.
    """
    generator, networks = evaluation.generator, evaluation.networks
    of_images = [request for request in evaluation.requests if not request.needs_generator]
    counts = _reference_counts(evaluation, of_images)
    facts: dict[str, Any] = {"fake": evaluation.candidate.name}
    if counts:
        assert evaluation.reference is not None, "Request.needs_reference"
        several = len(set(counts.values())) > 1
        facts["real"] = evaluation.reference.name
        facts["real_images"] = counts if several else next(iter(counts.values()))
    for request in of_images:
        check_measurable(
            [request],
            evaluation.candidate.count,
            counts.get(request.name),
            fake_name=evaluation.candidate.name,
            allow_few=evaluation.allow_few,
        )
    facts |= _fewer_images(of_images, counts)
    if generator is not None:
        has_captions = generator.described is not None
        check_generator(evaluation.requests, generator.network.config, has_captions)
    readers = feature_readers(of_images, networks)
    weights = {name: reader.weights_digest for name, reader in readers.items()}
    lpips, digests = _load_lpips(evaluation)
    weights |= digests
    segmenter = _load_segmenter(evaluation)
    numbers = compare(
        of_images,
        evaluation.candidate,
        evaluation.reference,
        readers,
        reference_count=evaluation.reference_count,
        seed=evaluation.seed,
        allow_few=evaluation.allow_few,
    )
    segmentation = None
    if generator is not None:
        weights["generator"] = variables_digest(generator.variables)
        numbers |= _path_lengths(evaluation, generator, lpips)
        component_numbers, segmentation = _component_numbers(evaluation, generator, segmenter)
        numbers |= component_numbers | _edit_numbers(evaluation, generator)
    if segmenter is not None:
        facts["attributes"] = segmenter.reliable_names
    if readers:
        facts |= {"resizing": RESIZING, "precision": "float32 features, float64 distances"}
    facts |= {"weights": weights, "seed": evaluation.seed}
    return Report(numbers, facts, segmentation)


def _reference_counts(evaluation: Evaluation, requests: Sequence[Request]) -> dict[str, int]:
    """Return the number of reference images that each metric uses, by its name."""
    compared = [request for request in requests if request.needs_reference]
    if not compared:
        return {}
    reference = evaluation.reference
    assert reference is not None, "Request.needs_reference"
    available, wanted = reference.count, evaluation.reference_count
    if wanted and available and wanted > available:
        raise UserError(f"{reference.name} has {available} images; --real-count asks for {wanted}")
    return {request.name: references(request, reference, wanted) for request in compared}


def _fewer_images(requests: Sequence[Request], counts: Mapping[str, int]) -> dict[str, Any]:
    """Return which metrics lack images: those of rank-deficient covariances, and of fewer images.

    Args:
        requests: Metrics of images.
        counts: Number of reference images of each metric that has a reference, by its name.
    """
    compared = [request for request in requests if request.name in counts]
    few = [request.name for request in compared if lacks_rank(request, counts[request.name])]
    of_pairs = [request for request in compared if request.kind == "swd"]
    fewer = {r.name: counts[r.name] for r in of_pairs if counts[r.name] < r.count}
    facts: dict[str, Any] = {"too_few_images": few} if few else {}
    return facts | ({"fake_images": fewer} if fewer else {})


def _load_lpips(evaluation: Evaluation) -> tuple[dict[str, Any], dict[str, str]]:
    """Return LPIPS for path lengths, empty if none is requested, and checksums of its weights."""
    if not any(request.kind in PATHS for request in evaluation.requests):
        return {}, {}
    arrays, digests = {}, {}
    for name in ("vgg16", "lpips"):
        loaded, digests[name] = evaluation.networks.load_weights(name)
        arrays |= loaded
    try:
        return lpips_variables(arrays), digests
    except ValueError as error:
        raise UserError(str(error)) from error


def _load_segmenter(evaluation: Evaluation) -> ValidatedSegmenter | None:
    """Return the network that segments scenes, trained if necessary; None if it is not needed."""
    if not any(request.kind in SCENES for request in evaluation.requests):
        return None
    assert evaluation.scenes is not None, "metrics in SCENES need them"
    return load_segmenter(*evaluation.scenes(), evaluation.networks.cache)


def _path_lengths(
    evaluation: Evaluation, generator: TrainedGenerator, lpips: Mapping[str, Any]
) -> dict[str, float]:
    """Return path lengths by name."""
    networks, lengths = evaluation.networks, {}
    for request in (request for request in evaluation.requests if request.kind in PATHS):
        _, space, sampling = request.kind.split("_")
        try:
            lengths[request.name] = perceptual_path_length(
                generator.network,
                generator.variables,
                lpips,
                space=space,
                sampling=sampling,
                count=request.count,
                batch_size=networks.batch_size,
                seed=evaluation.seed,
                sharding=networks.sharding,
                conditions=generator.conditions,
            )
        except ValueError as error:
            raise UserError(f"{request.name}: {error}") from error
    return lengths


def _component_numbers(
    evaluation: Evaluation, generator: TrainedGenerator, segmenter: ValidatedSegmenter | None
) -> tuple[dict[str, float], tuple[np.ndarray, Mapping[str, Any]] | None]:
    """Return scores of components by name, and segmentations."""
    numbers, segmentation = {}, None
    for request in (request for request in evaluation.requests if request.kind in SCENES):
        assert segmenter is not None, "metrics in SCENES need it"
        has_attention = request.kind == "seg"
        own = generator.components(hosts.own_rows(request.count), has_attention)
        images, w, attention = hosts.gather_rows(own, request.count)
        try:
            if has_attention:
                scores, segments = segmenter.segmentation(images, attention)
                segmentation = images, segments
            elif request.kind == "caption":
                assert generator.described is not None, "check_generator"
                scores = segmenter.captions(images, generator.described(range(request.count)))
            else:
                scores = segmenter.disentanglement(images, w)
        except ValueError as error:
            raise UserError(f"{request.name}: {error}") from error
        numbers |= {f"{request.name}_{name}": value for name, value in scores.items()}
    return numbers, segmentation


def _edit_numbers(evaluation: Evaluation, generator: TrainedGenerator) -> dict[str, float]:
    """Return the locality of edits of components, by name; every process computes all of it."""
    numbers = {}
    for request in evaluation.requests:
        if request.kind not in EDITS:
            continue
        try:
            found = edit_locality(generator.edited, request.count, evaluation.seed)
        except ValueError as error:
            raise UserError(f"{request.name}: {error}") from error
        numbers |= {f"{request.name}_{name}": value for name, value in found.items()}
    return numbers
