"""A reader of scenes with what is known of its own mistakes; learned once for a dataset."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from ganformer_jax.evaluate.interpretability import attention_segments, segmentation_scores
from ganformer_jax.evaluate.remembered import load_arrays, store_arrays
from ganformer_jax.metrics.dci import dci
from ganformer_jax.scenes.dataset import read_labels
from ganformer_jax.scenes.labels import IMAGE_ATTRIBUTES, SceneLabels, image_attributes
from ganformer_jax.scenes.panoptic import STEPS, PanopticNetwork, Segmenter, train_segmenter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float, Int, UInt8

    from ganformer_jax.data.batches import DatasetSource

VERSION = 1  # of the network and how it is trained
TRAINED_ON, TESTED_ON = 4000, 500  # scenes
TRUSTED = 0.5  # share of an attribute's variance that the network has to explain


@dataclasses.dataclass(frozen=True)
class SceneJudge:
    """Judges generated scenes.

    Attributes:
        reader: Finds objects and attributes.
        scores: Foreground ARI and IoU of the reader itself on held-out scenes.
        trusted: Attributes that it reads well enough to build on.
    """

    reader: Segmenter
    scores: Mapping[str, float]
    trusted: Bool[np.ndarray, " attributes"]

    def segmentation(
        self,
        images_NxHxWx3: UInt8[np.ndarray, "n height width 3"],
        attention: Sequence[Float[np.ndarray, "n components heads map_height map_width"]],
    ) -> tuple[dict[str, float], dict[str, Int[np.ndarray, "n height width"]]]:
        """Scores attention by the objects that the reader finds.

        Returns:
            "<name>_ari" and "<name>_iou" for all of `attention_segments`, and for "network", the
            reader itself; and the segments, those objects among them as "objects".
        """
        objects, _ = self.reader(images_NxHxWx3)
        segments = attention_segments(images_NxHxWx3, attention)
        scores = {name: segmentation_scores(objects, found) for name, found in segments.items()}
        scores["network"] = dict(self.scores)
        numbers = {f"{name}_{k}": v for name, found in scores.items() for k, v in found.items()}
        return numbers, {"objects": objects, **segments}

    def disentanglement(
        self,
        images_NxHxWx3: UInt8[np.ndarray, "n height width 3"],
        w_NxKxW: Float[np.ndarray, "n latents width"],
    ) -> dict[str, float]:
        """DCI of w, all latents and their numbers, about the trusted attributes."""
        _, attributes = self.reader(images_NxHxWx3)
        codes = np.asarray(w_NxKxW).reshape(len(w_NxKxW), -1)
        return {
            **dci(codes, attributes[:, self.trusted])._asdict(),
            "attributes": float(self.trusted.sum()),
        }

    def trusted_names(self) -> list[str]:
        """Names of the trusted attributes."""
        return [
            name for name, trusted in zip(IMAGE_ATTRIBUTES, self.trusted, strict=True) if trusted
        ]


def make_judge(
    train: DatasetSource, held_out: DatasetSource, cache: pathlib.Path | None
) -> SceneJudge:
    """Trains a reader on scenes, or takes it from the cache, and tests it on held-out ones.

    Raises:
        UserError: If the dataset has no masks, or too few scenes.
    """
    test = read_labels(held_out, min(TESTED_ON, len(held_out)))
    count = min(TRAINED_ON, len(train))
    path = None if cache is None else cache / f"{_key(train, count)}.npz"
    if path is not None and path.is_file():
        reader = Segmenter(PanopticNetwork(), unflatten_dict(load_arrays(path), sep="/"))
    else:
        reader = train_segmenter(read_labels(train, count))
        if path is not None:
            arrays = flatten_dict(dict(reader.params), sep="/")
            store_arrays(path, {name: np.asarray(array) for name, array in arrays.items()})
    return examine_reader(reader, test)


def examine_reader(reader: Segmenter, test: SceneLabels) -> SceneJudge:
    """Compares what a reader says of real scenes with what is true."""
    objects, attributes = reader(test.images)
    true = np.stack(
        [image_attributes(*pair) for pair in zip(test.masks, test.classes, strict=True)]
    )
    unexplained = np.square(attributes - true).mean(0) / np.maximum(true.var(0), 1e-12)
    scores = segmentation_scores(test.masks, objects)
    return SceneJudge(reader, scores, 1 - unexplained >= TRUSTED)


def _key(train: DatasetSource, count: int) -> str:
    content = hashlib.sha256(f"{VERSION} {STEPS}".encode())
    for index in range(count):
        content.update(train.records[index])
    return f"scene-reader-{content.hexdigest()[:32]}"
