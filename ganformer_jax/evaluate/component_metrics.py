"""Metrics of components on scenes: attention and latents, compared with objects and attributes.

Generated images have no ground truth. Their objects and attributes are predicted by a segmentation
network, which is trained once per dataset and validated on held-out scenes.
"""

import dataclasses
import hashlib
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Bool, Float, Int, UInt8

from ganformer_jax import hosts
from ganformer_jax.data.batches import DatasetSource
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.features import cached_arrays
from ganformer_jax.metrics.dci import DCI, dci
from ganformer_jax.metrics.segmentation import color_clusters, foreground_ari, matched_mean_iou
from ganformer_jax.pixels import enlarge, strongest_in_layer
from ganformer_jax.scenes.caption_scores import caption_scores
from ganformer_jax.scenes.captions import SceneObjects
from ganformer_jax.scenes.dataset import stored_name
from ganformer_jax.scenes.layout import (
    IMAGE_ATTRIBUTES,
    OBJECT_ATTRIBUTES,
    SceneLabels,
    image_attributes,
)
from ganformer_jax.scenes.panoptic import STEPS, PanopticNetwork, Segmenter, train_segmenter

VERSION = 1  # of the network and its training, for the cache
TRAINED_ON, VALIDATED_ON = 4000, 500  # scenes
RELIABLE = 0.5  # smallest explained variance (R2) of an attribute that is used for DCI
Images = UInt8[np.ndarray, "m h w 3"]
Attention = Sequence[Float[np.ndarray, "m k n h w"]]
"""One map per layer, coarse to fine."""


@dataclasses.dataclass(frozen=True)
class ValidatedSegmenter:
    """A segmentation network and its scores on held-out scenes.

    Attributes:
        segmenter: The network, which predicts objects and attributes.
        scores: Foreground ARI and mean IoU of its predictions.
        reliable: Which of `IMAGE_ATTRIBUTES` it predicts well enough for DCI.
    """

    segmenter: Segmenter
    scores: Mapping[str, float]
    reliable: Bool[np.ndarray, " a"]

    @property
    def reliable_names(self) -> list[str]:
        """Names of the reliable attributes."""
        return [name for name, ok in zip(IMAGE_ATTRIBUTES, self.reliable, strict=True) if ok]

    def segmentation(
        self, images_MxHxWx3: Images, attention: Attention
    ) -> tuple[dict[str, float], dict[str, Int[np.ndarray, "m h w"]]]:
        """Compare attention with the objects in generated images.

        Returns:
            Scores "<name>_ari" and "<name>_iou" for each of `segments_and_baselines`, and for
            "network", the segmentation network itself; and the segments by name, with the predicted
            objects as "objects", from 0, and -1 for pixels of no component or object.
        """
        objects, _ = self.segmenter(images_MxHxWx3)
        segments = segments_and_baselines(images_MxHxWx3, attention)
        nearest = segments | layer_segments(attention, images_MxHxWx3.shape[1], nothing=False)
        scores = {
            name: segmentation_scores(objects, nearest[name], found)
            for name, found in segments.items()
        }
        scores["network"] = dict(self.scores)
        numbers = {f"{name}_{k}": v for name, pair in scores.items() for k, v in pair.items()}
        count = attention[0].shape[1]
        owned = {name: np.where(found < count, found, -1) for name, found in segments.items()}
        return numbers, {"objects": objects - 1, **owned}

    def disentanglement(
        self, images_MxHxWx3: Images, w_MxKxD: Float[np.ndarray, "m k d"]
    ) -> dict[str, float]:
        """Return DCI of w, with all components in one code, for the reliable attributes.

        The scores are NaN if fewer than two of these attributes vary, as in images that are alike.
        """
        _, attributes_MxA = self.segmenter(images_MxHxWx3)
        codes, factors_MxA = w_MxKxD.reshape(len(w_MxKxD), -1), attributes_MxA[:, self.reliable]
        varied = int((np.ptp(factors_MxA, 0) > 0).sum())
        scores = dict.fromkeys(DCI._fields, math.nan)
        if varied > 1:
            scores = dci(codes, factors_MxA)._asdict()
        return {**scores, "attributes": float(self.reliable.sum())}

    def captions(
        self,
        images_MxHxWx3: Images,
        scenes: Sequence[tuple[UInt8[np.ndarray, "h w 3"], SceneObjects, int]],
    ) -> dict[str, float]:
        """Compare generated images with their captions.

        Args:
            images_MxHxWx3: Generated images.
            scenes: Image, objects and index of the real scene whose caption each was made for.

        Returns:
            The scores of `caption_scores`. With the prefix "real_", those of the real scenes, an
            upper bound due to the network; with "other_", those of generated images with the
            captions of other ones, which is chance level.
        """
        described_scenes = [(objects, index) for _, objects, index in scenes]
        found = self.segmenter.read(images_MxHxWx3)
        real = self.segmenter.read(np.stack([image for image, _, _ in scenes]))
        width = images_MxHxWx3.shape[2]
        cases = {"": found, "real_": real, "other_": found[1:] + found[:1]}
        return {
            f"{case}{name}": score
            for case, read in cases.items()
            for name, score in caption_scores(described_scenes, read, width).items()
        }


def load_segmenter(
    train: DatasetSource, held_out: DatasetSource, cache: pathlib.Path | None
) -> ValidatedSegmenter:
    """Train a segmentation network, or read it from the cache, and validate it.

    With several processes, the first one trains it for all.
    """
    labels = read_labels(held_out, min(VALIDATED_ON, len(held_out)))
    count, network = min(TRAINED_ON, len(train)), PanopticNetwork()
    path = None if cache is None else cache / f"{_cache_key(train, count)}.npz"

    def trained() -> dict[str, np.ndarray]:
        params = train_segmenter(read_labels(train, count)).params
        return {name: np.asarray(x) for name, x in flatten_dict(dict(params), sep="/").items()}

    shapes = jax.eval_shape(network.init, jax.random.key(0), labels.images[:1])
    arrays = hosts.first_arrays(
        lambda: cached_arrays(path, trained), flatten_dict(dict(shapes), sep="/")
    )
    return validate(Segmenter(network, unflatten_dict(arrays, sep="/")), labels)


def read_labels(source: DatasetSource, count: int) -> SceneLabels:
    """Read the first `count` scenes with their ground truth.

    Raises:
        UserError: If the dataset has no masks of objects, or fewer scenes.
    """
    if "mask" not in source.features or "objects" not in source.features:
        raise UserError(f"{source.name} has no masks of objects: use a dataset of scenes")
    if count > len(source):
        raise UserError(f"{source.name} has {len(source)} scenes; {count} were requested")
    records = [source.record(index) for index in range(count)]
    most = max(len(record["objects"]["shape"]) for record in records)
    classes = np.zeros((count, most, len(OBJECT_ATTRIBUTES)), np.int32)
    for row, record in enumerate(records):
        for column, attribute in enumerate(OBJECT_ATTRIBUTES):
            values = record["objects"][stored_name(attribute)]
            classes[row, : len(values), column] = values
    images = np.stack([record["image"] for record in records])
    masks = np.stack([record["mask"][..., 0] for record in records])
    return SceneLabels(images, masks, classes)


def validate(segmenter: Segmenter, labels: SceneLabels) -> ValidatedSegmenter:
    """Compare a network's objects and attributes with the ground truth."""
    objects, predicted = segmenter(labels.images)
    pairs = zip(labels.masks, labels.classes, strict=True)
    true_MxA = np.stack([image_attributes(*pair) for pair in pairs])
    unexplained = np.square(predicted - true_MxA).mean(0) / np.maximum(true_MxA.var(0), 1e-12)
    scores = segmentation_scores(labels.masks, objects)
    return ValidatedSegmenter(segmenter, scores, 1 - unexplained >= RELIABLE)


def segments_and_baselines(
    images_MxHxWx3: Images, attention: Attention
) -> dict[str, Int[np.ndarray, "m h w"]]:
    """Segment images by every attention layer, and by two baselines.

    Returns:
        "layer<i>_<width>px" for every layer; "uniform", a single segment, as from uniform
        attention; and "color", as many clusters of colors as there are components.
    """
    if not attention:
        raise ValueError("the generator has no attention layers")
    height, components = images_MxHxWx3.shape[1], attention[0].shape[1]
    segments = layer_segments(attention, height)
    segments["uniform"] = np.zeros(images_MxHxWx3.shape[:3], int)
    segments["color"] = np.stack([color_clusters(image, components) for image in images_MxHxWx3])
    return segments


def layer_segments(
    attention: Attention, height: int, nothing: bool = True
) -> dict[str, Int[np.ndarray, "m h w"]]:
    """Return the strongest component of each pixel for every layer, "layer<i>_<width>px".

    Heads are averaged, and pixels are repeated to the height of the image.

    Args:
        attention: Attention maps of every layer.
        height: Height of the image.
        nothing: Whether pixels may belong to no component, as in `pixels.strongest_in_layer`.
    """
    strongest = [
        strongest_in_layer([layer]) if nothing else np.asarray(layer).mean(2).argmax(1)
        for layer in attention
    ]
    return {
        f"layer{i}_{segments.shape[-1]}px": enlarge(segments, height)
        for i, segments in enumerate(strongest)
    }


def segmentation_scores(
    objects_MxHxW: Int[np.ndarray, "m h w"],
    segments_MxHxW: Iterable[Int[np.ndarray, "h w"]],
    extents_MxHxW: Iterable[Int[np.ndarray, "h w"]] | None = None,
) -> dict[str, float]:
    """Return foreground ARI and matched mean IoU, averaged over images where they are defined.

    ARI is NaN if no image has two objects, and IoU if none has any.

    Args:
        objects_MxHxW: Objects of the images, 0 for the ground.
        segments_MxHxW: Segments for ARI, which only compares pixels of objects.
        extents_MxHxW: Segments for IoU, in which pixels of the ground may belong to no segment; by
            default those for ARI.
    """
    segments = list(segments_MxHxW)
    extents = segments if extents_MxHxW is None else extents_MxHxW
    ari = [foreground_ari(*pair) for pair in zip(objects_MxHxW, segments, strict=True)]
    iou = [matched_mean_iou(*pair) for pair in zip(objects_MxHxW, extents, strict=True)]
    return {"ari": _mean_of_defined(ari), "iou": _mean_of_defined(iou)}


def _mean_of_defined(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan


def _cache_key(train: DatasetSource, count: int) -> str:
    content = hashlib.sha256(f"{VERSION} {STEPS}".encode())
    for index in range(count):
        content.update(train.records[index])
    return f"scene-reader-{content.hexdigest()[:32]}"
