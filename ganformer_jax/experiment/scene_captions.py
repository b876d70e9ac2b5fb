"""Captions of the built-in scenes as labels, made from the objects that a dataset stores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ganformer_jax.captions import CaptionTokenizer, make_tokenizer, token_names
from ganformer_jax.config import GeneratorConfig
from ganformer_jax.data.batches import DatasetSource, Description
from ganformer_jax.errors import UserError
from ganformer_jax.scenes.captions import (
    caption,
    held_out,
    longest_caption,
    scene_objects,
    vocabulary,
)

READ = ("objects", "index")
"""Features of a scene that its caption is made of."""


def check_scene_captions(config: GeneratorConfig) -> None:
    """Refuse numbers of tokens that the captions of scenes do not have.

    Raises:
        UserError: If an option has to be set differently.
    """
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
    """Return the scenes whose captions have none of the pairs that are held out.

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


def with_scene_captions(source: DatasetSource, length: int) -> DatasetSource:
    """Return the scenes with their captions as conditions of this many tokens."""
    tokenizer, resolution = scene_tokenizer(), source.size[1]

    def describe(example: Mapping[str, Any]) -> np.ndarray:
        objects = scene_objects(example["objects"])
        text = caption(objects, int(example["index"]), resolution)
        return tokenizer.encode([text], length)[0]

    return dataclasses.replace(
        source,
        label_count=length,
        class_names=(),
        condition_names=token_names(length),
        tokenizer=tokenizer.text,
        description=Description(READ, describe),
    )
