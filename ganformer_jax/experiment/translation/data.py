"""The two sets of images of a translation."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ganformer_jax import hosts
from ganformer_jax.config import Config, GeneratorConfig
from ganformer_jax.config.training import DataConfig
from ganformer_jax.config.translation import TranslationConfig
from ganformer_jax.data.batches import DatasetSource
from ganformer_jax.data.find import NoSplit
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.data import ExperimentData
from ganformer_jax.train.kinds.translation import FIELDS, SETS

SCENE = "index", "objects"
"""Features of rendered images that are equal where these show the same scene."""


class TranslationData:
    """Both sets, as the data of an experiment; raises `UserError` if no datasets fit the config.

    Attributes:
        sets: The data of "source" and of "target".
    """

    def __init__(self, config: TranslationConfig):
        self.config = config
        names = config.data.name, config.data.target
        self.sets = {
            kind: _set(config, name, number)
            for number, (kind, name) in enumerate(zip(SETS, names, strict=True))
        }

    def check(self) -> None:
        """Check that both sets can be opened and, if `data.paired`, form pairs.

        Scenes are not rendered for this.

        Raises:
            UserError: If they cannot or do not, or if processes see different sets.
        """
        counts = {kind: data.training_images() for kind, data in self.sets.items()}
        held_out = {f"held-out {kind}": data.held_out_count() for kind, data in self.sets.items()}
        facts = {f"the number of {n} images": c for n, c in {**counts, **held_out}.items()}
        hosts.check_equal(facts)
        if self.config.data.paired and len(set(counts.values())) > 1:
            raise UserError(
                f"data.paired needs as many images in both sets, not {counts['source']} and "
                f"{counts['target']}"
            )
        if self.config.data.paired:
            _check_pairs(*(self.sets[kind] for kind in SETS))

    def image_sets(self) -> Sequence[ExperimentData]:
        """Return both sets, in the order of `SETS`."""
        return [self.sets[kind] for kind in SETS]

    def save_label_names(self, run: pathlib.Path) -> None:
        """Write nothing, as there are no labels."""

    def batches(self, images_seen: int) -> Iterator[dict[str, np.ndarray]]:
        """Yield this process's share of the batches after `images_seen` images of each set."""
        streams = [self.sets[kind].batches(images_seen) for kind in SETS]
        for both in zip(*streams, strict=True):
            yield {field: one["images"] for field, one in zip(FIELDS, both, strict=True)}

    def identity(self) -> Mapping[str, str]:
        """Return the checksums of datasets that `prepare` made, by the options that name them."""
        options = zip(SETS, ("data.name", "data.target"), strict=True)
        return {
            option: checksum
            for kind, option in options
            for checksum in self.sets[kind].identity().values()
        }

    def held_out(self, kind: str, count: int) -> np.ndarray:
        """Return at most `count` held-out images of a set."""
        return self.sets[kind].held_out(count)

    @functools.cache  # noqa: B019 - lives as long as the process
    def truth(self, count: int) -> bool:
        """Return whether held-out images with the same number show the same scene in both sets."""
        first, second = (_test_split(self.sets[kind]) for kind in SETS)
        if first is None or second is None:
            return False
        if not {*SCENE} <= {*first.features} & {*second.features}:
            return False
        least = min(count, len(first), len(second))
        return all(_same(first.part(i, SCENE), second.part(i, SCENE)) for i in range(least))


def _check_pairs(source: ExperimentData, target: ExperimentData) -> None:
    """Refuse pairs that are shifted, as after `prepare` skipped an image of only one set.

    File names that both sets have show it; without such names, pairs are not checked.

    Raises:
        UserError: If a name of one set has another number in the other set.
    """
    if source.config.data.rendered or target.config.data.rendered:
        return
    first, second = source.open("train"), target.open("train")
    if "name" not in first.features or "name" not in second.features:
        return
    one, other = _stems(first), _stems(second)
    shared = {*one} & {*other}
    for number, pair in enumerate(zip(one, other, strict=True)):
        if pair[0] != pair[1] and shared & {*pair}:
            raise UserError(
                f"data.paired needs equal numbers for images that belong together, but image "
                f"{number} of {first.name} is {pair[0]} and that of {second.name} {pair[1]}: "
                "prepare both again, without images that only one of them has"
            )


def _stems(source: DatasetSource) -> list[str]:
    """Return the names of images without folders and suffixes."""
    names = (source.part(i, ("name",))["name"] for i in range(len(source)))
    return [pathlib.PurePath(name.item().decode()).stem for name in names]


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two trees of features are equal."""
    if jax.tree.structure(one) != jax.tree.structure(other):
        return False
    return all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(other)))


def _test_split(data: ExperimentData) -> DatasetSource | None:
    try:
        return data.open("test")
    except NoSplit:
        return None


def _set(config: TranslationConfig, name: str, number: int) -> ExperimentData:
    """Return the data of one set, as that of a GAN, with an order of its own unless paired."""
    generator, data, train = config.generator, config.data, config.train
    size, seed = generator.image_size, train.seed
    if not data.paired:
        seed = (seed + number * 2**31) % 2**32
    chosen = {field.name: getattr(data, field.name) for field in dataclasses.fields(DataConfig)}
    return ExperimentData(
        Config(
            generator=GeneratorConfig(
                resolution=max(size), base_grid=size, image_channels=generator.image_channels
            ),
            data=DataConfig(**{**chosen, "name": name}),
            train=dataclasses.replace(train, seed=seed),
        )
    )
