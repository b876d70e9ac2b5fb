"""Captions of the built-in scenes as labels, made from the objects that a dataset stores.

Networks that read no captions may take the facts that captions state, `FACTS`, as a condition.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ganformer_jax.captions import CaptionTokenizer, make_tokenizer, token_names
from ganformer_jax.config import GeneratorConfig
from ganformer_jax.data.batches import DatasetSource, Description
from ganformer_jax.errors import UserError
from ganformer_jax.scenes.captions import (
    FACTS,
    SceneObjects,
    caption,
    facts,
    held_out,
    longest_caption,
    scene_objects,
    vocabulary,
)

READ = ("objects", "index")
"""Features of a scene from which its caption is made."""


def describes_scenes(config: GeneratorConfig) -> bool:
    """Return whether a generator of built-in scenes takes captions, or the facts they state."""
    return bool(config.text.vocabulary) or config.label_size == len(FACTS)


def check_scene_captions(config: GeneratorConfig) -> None:
    """Check that the numbers of tokens are those of the captions of scenes.

    Raises:
        UserError: If an option has to be set differently.
    """
    if not config.text.vocabulary:
        return
    tokenizer = scene_tokenizer()
    size, count = len(tokenizer.tokens(longest_caption())), tokenizer.vocabulary
    given = config.label_size, config.text.vocabulary
    if given[0] < size or given[1] != count:
        raise UserError(
            f"generator.label_size is {given[0]} and generator.text.vocabulary {given[1]}, but "
            f"captions of scenes have up to {size} tokens of {count}: set --generator.label-size "
            f"{size} --generator.text.vocabulary {count} --discriminator.text.vocabulary {count}"
        )


def scene_tokenizer() -> CaptionTokenizer:
    """Return the tokenizer of scenes, the same for all of them."""
    return make_tokenizer(vocabulary())


@dataclasses.dataclass(frozen=True)
class ChosenRecords(Sequence[bytes]):
    """Some of the records of a dataset, by their numbers there."""

    records: Any
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        return self.records[self.indices[index]]


def without_held_out(source: DatasetSource) -> DatasetSource:
    """Return the scenes whose captions contain none of the held-out pairs.

    Raises:
        UserError: If none are left.
    """
    kept = []
    for index in range(len(source)):
        record = source.part(index, READ)
        if not held_out(scene_objects(record["objects"]), int(record["index"])):
            kept.append(index)
    if not kept:
        raise UserError(
            f"data.held_out_pairs leaves none of {len(source)} scenes to train on: raise "
            "data.train_images"
        )
    return dataclasses.replace(source, records=ChosenRecords(source.records, kept))


def with_scene_captions(source: DatasetSource, config: GeneratorConfig) -> DatasetSource:
    """Return the scenes with captions, or the facts they state, as conditions for a generator."""
    resolution, length = source.size[1], config.label_size
    if not config.text.vocabulary:
        return _described(source, FACTS, "", lambda scene, index: facts(scene, index, resolution))
    tokenizer = scene_tokenizer()

    def tokens(objects: SceneObjects, index: int) -> np.ndarray:
        return tokenizer.encode([caption(objects, index, resolution)], length)[0]

    return _described(source, token_names(length), tokenizer.text, tokens)


def _described(
    source: DatasetSource,
    names: Sequence[str],
    tokenizer: str,
    describe: Callable[[SceneObjects, int], np.ndarray],
) -> DatasetSource:
    """Return the scenes with conditions of their objects and index."""

    def condition(example: Mapping[str, Any]) -> np.ndarray:
        return describe(*_read(example))

    return dataclasses.replace(
        source,
        label_count=len(names),
        class_names=(),
        condition_names=tuple(names),
        tokenizer=tokenizer,
        description=Description(READ, condition),
    )


def described_scenes(
    source: DatasetSource, indices: Sequence[int]
) -> list[tuple[np.ndarray, SceneObjects, int]]:
    """Return image, objects and index of scenes, by their numbers in a dataset."""
    records = [source.part(index, ("image", *READ)) for index in indices]
    return [(record["image"], *_read(record)) for record in records]


def _read(example: Mapping[str, Any]) -> tuple[SceneObjects, int]:
    return scene_objects(example["objects"]), int(example["index"])
