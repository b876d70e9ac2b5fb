"""Nearest training images of generated images, which show whether a generator copies its data."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int, UInt8

from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.features import FeatureReader
from ganformer_jax.evaluate.image_sets import ImageSet
from ganformer_jax.metrics.features import check_pair, distance_chunks, squared_distances


@dataclasses.dataclass(frozen=True)
class Neighbors:
    """Generated images, and the training images nearest to each in a feature space.

    Attributes:
        samples: Generated images.
        nearest: The N training images nearest to each sample, nearest first.
        indices: Their indices in the training images.
        distances: Euclidean distances of their features from those of the sample.
        usual: Median distance of a training image to the nearest other one.
        searched: Number of training images that were searched, from the first one.
        total: Number of training images; None if unlimited.
        source: Name of the training images.
        network: Description of the network whose features were compared.
    """

    samples: UInt8[np.ndarray, "b h w 3"]
    nearest: UInt8[np.ndarray, "b n h w 3"]
    indices: Int[np.ndarray, "b n"]
    distances: Float[np.ndarray, "b n"]
    usual: float
    searched: int
    total: int | None
    source: str
    network: str


def find_neighbors(
    candidate: ImageSet,
    reference: ImageSet,
    reader: FeatureReader,
    network: str,
    *,
    samples: int,
    nearest: int,
    searched: int,
) -> Neighbors:
    """Search the first images of a reference for those nearest to the first generated images.

    Args:
        candidate: The generated images.
        reference: The training images.
        reader: Reader of the features "2048" of both.
        network: Description of the network.
        samples: Number of generated images.
        nearest: Number of training images to find for each.
        searched: Number of training images to search; all if there are fewer.

    Raises:
        UserError: If there are fewer than two training images.
    """
    searched = min(searched, reference.count or searched)
    if searched < 2:
        raise UserError(f"{reference.name} has {searched} images: neighbors need two or more")
    real_MxD = reader(reference, searched)["2048"]
    fake_BxD = reader(candidate, samples)["2048"]
    indices, distances = nearest_rows(fake_BxD, real_MxD, min(nearest, searched))
    images = reference.read(indices.ravel().tolist())
    return Neighbors(
        candidate.read(range(samples)),
        images.reshape(*indices.shape, *images.shape[1:]),
        indices,
        distances,
        usual_distance(real_MxD),
        searched,
        reference.count,
        reference.name,
        network,
    )


def nearest_rows(
    query_BxD: Float[np.ndarray, "b d"], rows_MxD: Float[np.ndarray, "m d"], count: int
) -> tuple[Int[np.ndarray, "b n"], Float[np.ndarray, "b n"]]:
    """Return the indices of the `count` nearest rows of each query, and their distances."""
    query_BxD, rows_MxD = check_pair(query_BxD, rows_MxD)
    squared_BxM = squared_distances(query_BxD, rows_MxD)
    indices = np.argsort(squared_BxM, axis=1, kind="stable")[:, :count]
    return indices, np.sqrt(np.take_along_axis(squared_BxM, indices, axis=1))


def usual_distance(rows_MxD: Float[np.ndarray, "m d"]) -> float:
    """Return the median distance of a row to the nearest other one; needs two rows or more."""
    rows_MxD, _ = check_pair(rows_MxD, rows_MxD, 2)
    chunks = distance_chunks(rows_MxD, rows_MxD)  # in which a row is its own nearest one
    nearest = [np.partition(squared, 1, axis=1)[:, 1] for squared in chunks]
    return float(np.median(np.sqrt(np.concatenate(nearest))))
