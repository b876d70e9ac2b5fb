"""Projection of images to latents of a generator, compared with samples and the mean image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8
from tqdm import tqdm

from ganformer_jax.evaluate.path_length import fit_lpips
from ganformer_jax.metrics.lpips import lpips, lpips_variables
from ganformer_jax.models import num_layers
from ganformer_jax.pixels import from_uint8
from ganformer_jax.projection import (
    LatentStatistics,
    Projection,
    ProjectionOptions,
    project,
)
from ganformer_jax.sampling import ImageLatents, Synthesizer

Distance = Callable[[Any, Any], jax.Array]
Images = UInt8[np.ndarray, "b h w c"]


@dataclasses.dataclass(frozen=True)
class Projector:
    """A generator and how images are compared.

    Attributes:
        synthesizer: Makes the images that are written, a batch at a time; its noise is "const".
        variables: Variables of the generator.
        statistics: Statistics of w, with the label of the images.
        distance: Distance of generated images and targets.
        options: Options of the search.
        from_nearest: Start from the nearest sample of each image, if there are samples, instead of
            the mean. Components with places find an object only if they start near it.
    """

    synthesizer: Synthesizer
    variables: Mapping[str, Any]
    statistics: LatentStatistics
    distance: Distance
    options: ProjectionOptions
    from_nearest: bool = False


class Projected(NamedTuple):
    """Latents found for each image, and the samples they are compared with.

    Attributes:
        latents: Latents of the images.
        images: Images of these latents.
        distances_SxB: Distance at each step.
        distance_B: Distance of `images`.
        mean_image: The image of the mean latents.
        mean_B: Distance of the mean image.
        nearest_images: The nearest samples; empty if there were none.
        nearest_B: Their distances.
        nearest_seeds_B: Their seeds.
    """

    latents: ImageLatents
    images: Images
    distances_SxB: Float[np.ndarray, "s b"]
    distance_B: Float[np.ndarray, " b"]
    mean_image: Images
    mean_B: Float[np.ndarray, " b"]
    nearest_images: Images
    nearest_B: Float[np.ndarray, " b"]
    nearest_seeds_B: Int[np.ndarray, " b"]


def lpips_distance(weights: Mapping[str, Any]) -> Distance:
    """Return LPIPS as a distance of images of any size and number of channels."""
    variables = lpips_variables(weights)
    return lambda one, other: lpips(variables, fit_lpips(one), fit_lpips(other))


def project_images(
    projector: Projector,
    targets: Images,
    samples: ImageLatents | None = None,
    progress: bool = True,
) -> Projected:
    """Search for the latents of images, one batch after another.

    Args:
        projector: The generator.
        targets: Images of its shape.
        samples: Latents of samples, among which the nearest to each image is found.
        progress: Show bars.
    """
    batch, steps = projector.synthesizer.batch_size, projector.options.steps
    latents, curves = [], []
    nearest, starts = _nearest(projector, targets, samples, progress), None
    if projector.from_nearest and samples is not None:
        starts = samples.w_BxKxLxD[nearest.rows, :, 0]
    total = -(-len(targets) // batch) * steps
    with tqdm(total=total, unit=" steps", desc="projecting", disable=not progress) as bar:
        for start in range(0, len(targets), batch):
            rows = np.arange(start, start + batch) % len(targets)
            own = None if starts is None else starts[rows]
            found, curve = _search(projector, from_uint8(targets[rows]), start, own, bar)
            kept = min(batch, len(targets) - start)
            latents.append(found.take(range(kept)))
            curves.append(curve[:, :kept])
    whole = _joined(latents)
    images = projector.synthesizer(projector.variables, whole).images
    mean = _mean_image(projector)
    return Projected(
        whole,
        images,
        np.concatenate(curves, 1),
        _distances(projector.distance, images, targets, batch),
        mean,
        _distances(projector.distance, mean.repeat(len(targets), 0), targets, batch),
        nearest.images,
        nearest.distance_B,
        nearest.seeds_B,
    )


def _search(
    projector: Projector, targets: np.ndarray, first: int, starts: np.ndarray | None, bar: tqdm
) -> tuple[ImageLatents, np.ndarray]:
    """Return the latents of one batch, and the distances at each step."""
    synthesizer, curve = projector.synthesizer, []
    last: Projection | None = None
    for last in project(
        synthesizer.config,
        projector.variables,
        targets,
        projector.distance,
        projector.statistics,
        projector.options,
        first,
        starts,
    ):
        curve.append(last.distance_B)
        bar.update()
        if last.step % 10 == 0:
            bar.set_postfix(distance=f"{float(last.distance_B.mean()):.4f}")
    assert last is not None
    seeds = np.arange(first, first + len(targets), dtype=np.uint32)
    maps = jax.device_get(dict(last.noise_maps))
    kept = {"words": synthesizer.config.words, "places": synthesizer.config.attention.places}
    latents = ImageLatents(np.asarray(last.w_BxKxLxD), seeds, noise_maps=maps, **kept)
    return latents, np.stack(jax.device_get(curve))


def _joined(parts: list[ImageLatents]) -> ImageLatents:
    maps = {
        name: np.concatenate([part.noise_maps[name] for part in parts])
        for name in parts[0].noise_maps
    }
    return ImageLatents(
        np.concatenate([part.w_BxKxLxD for part in parts]),
        np.concatenate([part.noise_seeds_B for part in parts]),
        noise_maps=maps,
        words=parts[0].words,
        places=parts[0].places,
    )


def _mean_image(projector: Projector) -> Images:
    mean_KxD, layers = projector.statistics.mean_KxD, num_layers(projector.synthesizer.config)
    w_1xKxLxD = np.repeat(mean_KxD[None, :, None], layers, 2)
    words = projector.synthesizer.config.words
    latents = ImageLatents(w_1xKxLxD, np.zeros(1, np.uint32), words=words)
    return projector.synthesizer(projector.variables, latents).images


def _distances(distance: Distance, images: Images, targets: Images, batch: int) -> np.ndarray:
    compare, found = jax.jit(distance), []
    for start in range(0, len(images), batch):
        rows = np.arange(start, start + batch) % len(images)
        found.append(compare(from_uint8(images[rows]), from_uint8(targets[rows])))
    return np.concatenate(jax.device_get(found))[: len(images)]


class _Nearest(NamedTuple):
    """The nearest sample of each image: its row among the samples, image, distance and seed."""

    rows: Int[np.ndarray, " b"]
    images: Images
    distance_B: Float[np.ndarray, " b"]
    seeds_B: Int[np.ndarray, " b"]


def _nearest(
    projector: Projector, targets: Images, samples: ImageLatents | None, progress: bool
) -> _Nearest:
    """Return the nearest samples, none if there are none; one batch of them is kept at a time."""
    if samples is None:
        none = np.zeros(0, np.int64)
        return _Nearest(none, targets[:0], np.zeros(0, np.float32), none)
    batch = projector.synthesizer.batch_size
    rows_B, distance_B = np.zeros(len(targets), np.int64), np.full(len(targets), np.inf)
    nearest = np.zeros_like(targets)
    with tqdm(total=len(samples), unit=" samples", disable=not progress) as bar:
        for start in range(0, len(samples), batch):
            some = samples.take(range(start, min(start + batch, len(samples))))
            images = projector.synthesizer(projector.variables, some).images
            for index, target in enumerate(targets):
                repeated = np.broadcast_to(target, images.shape)
                distance_M = _distances(projector.distance, images, repeated, batch)
                row = int(distance_M.argmin())
                if distance_M[row] < distance_B[index]:
                    rows_B[index], distance_B[index] = start + row, distance_M[row]
                    nearest[index] = images[row]
            bar.update(len(some))
    return _Nearest(rows_B, nearest, distance_B, samples.noise_seeds_B[rows_B].astype(np.int64))
