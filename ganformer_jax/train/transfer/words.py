"""Vectors of words of captions, which other captions number in another order."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ganformer_jax.captions import SPECIAL
from ganformer_jax.config import Config
from ganformer_jax.train.transfer.leaves import Leaves

TABLE = "text.words"
"""The array with a vector for each token, in both networks."""


@dataclasses.dataclass(frozen=True)
class Words:
    """Words of the captions of two runs, in the order of their numbers.

    Attributes:
        there: Those of the weights.
        here: Those of the new run.
    """

    there: Sequence[str]
    here: Sequence[str]

    def config(self, there: Config) -> Config:
        """Return the config of the weights once they have the words of the new run."""
        generator, discriminator, count = there.generator, there.discriminator, len(self.here)
        texts = (
            dataclasses.replace(network.text, vocabulary=len(SPECIAL) + count)
            for network in (generator, discriminator)
        )
        return dataclasses.replace(
            there,
            generator=dataclasses.replace(generator, text=next(texts)),
            discriminator=dataclasses.replace(discriminator, text=next(texts)),
        )

    def fit(self, leaves: Leaves) -> Leaves:
        """Return leaves whose words are those of the new run: unknown ones start as the mean."""
        if TABLE not in leaves or list(self.there) == list(self.here):
            return leaves
        table = leaves[TABLE].value
        special, vectors = table[: len(SPECIAL)], table[len(SPECIAL) :]
        rows = dict(zip(self.there, vectors, strict=True))
        mean, unknown = vectors.mean(0), [word for word in self.here if word not in rows]
        value = np.stack([*special, *(rows.get(word, mean) for word in self.here)])
        note = "words found by their names"
        if unknown:
            note += f"; {len(unknown)} of {len(self.here)} are new, and start as the mean"
        return leaves | {TABLE: leaves[TABLE].adapted(value, note)}
