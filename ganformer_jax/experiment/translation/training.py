"""A translation in training: both directions, and the error where the target is known."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ganformer_jax import visualize
from ganformer_jax.config.translation import TranslationConfig
from ganformer_jax.data.batches import read_images
from ganformer_jax.experiment.latest import Figures, LatestNetworks, Lower, Metrics, checked
from ganformer_jax.experiment.translation.data import TranslationData
from ganformer_jax.metrics.pairs import pair_error
from ganformer_jax.sampling.translations import ImageTranslator
from ganformer_jax.train.devices import Placement
from ganformer_jax.train.kinds.translation import OTHER, SETS, TranslationState
from ganformer_jax.train.observing import Moment

COLUMNS = 8
"""Images of either set in a figure: the first held-out ones."""
BATCH = 32
"""Images that are translated at once."""


class LatestTranslators(LatestNetworks):
    """Both generators of a state in training.

    Attributes:
        plain: Translator without attention maps.
        with_attention: Translator that also returns the attention of components.
    """

    main_figure = "translations"

    def __init__(self, config: TranslationConfig, training: Placement):
        options, read = config.generator, operator.attrgetter("generators")
        shape = *options.image_size, options.image_channels
        super().__init__(training, read, shape, BATCH)
        make = functools.partial(
            ImageTranslator, options, self.batch_size, batch_sharding=self.placement.batch
        )
        self.plain, self.with_attention = make(), make(attention=True)

    def _lower(self, weights: Mapping[str, Any]) -> Mapping[str, Lower]:
        return {"translations": functools.partial(self.plain.lower, weights["target"])}

    def translate(self, state: TranslationState, kind: str, images: np.ndarray) -> np.ndarray:
        """Translate images into a set."""
        return self.plain(self.weights(state)[kind], images).images

    def images(
        self, data: TranslationData, state: TranslationState, indices: Sequence[int]
    ) -> np.ndarray:
        """Return translations of held-out images of the source."""
        images = read_images(data.sets["source"].held_out_source(), indices)
        return self.translate(state, "target", images)

    def most_images(self, data: TranslationData) -> int:
        """Return how many held-out images can be translated in both directions."""
        return min(data.sets[kind].held_out_count() for kind in SETS)

    def figures(self, data: TranslationData, now: Moment) -> Callable[[], Figures]:
        """Return a function that draws held-out images, their translations, and those back.

        With components it also draws the attention of translations into the target.
        """
        weights = self.weights(now.state)
        count = min(COLUMNS, self.most_images(data))
        held_out = {kind: data.held_out(kind, count) for kind in SETS}
        return functools.partial(
            draw_translations,
            plain=self.plain,
            with_attention=self.with_attention,
            weights=weights,
            held_out=held_out,
        )

    def measures(
        self, data: TranslationData, metrics: Metrics | None, count: int
    ) -> Sequence[Callable[[Moment], Mapping[str, float]]]:
        """Return a function that measures translations of held-out images in both directions."""
        if metrics is None:
            return []
        return [lambda now: measure_translations(self, data, metrics, count, now)]


def measure_translations(
    translators: LatestTranslators,
    data: TranslationData,
    metrics: Metrics,
    count: int,
    now: Moment,
) -> dict[str, float]:
    """Return metrics of translations of held-out images; "back_" marks those into the source.

    Where the truth is known, "metric/error" and "metric/back_error" are distances to it
    (`pair_error`).
    """
    numbers: dict[str, float] = {}
    known, measures = data.truth(count), dict(zip(SETS, metrics(), strict=True))
    for kind, prefix in (("target", "metric/"), ("source", "metric/back_")):
        source = data.sets[OTHER[kind]].held_out_source()

        def sample(indices: Sequence[int], kind: str = kind, source: Any = source) -> np.ndarray:
            return translators.translate(now.state, kind, read_images(source, indices))

        found = measures[kind](checked(dataclasses.replace(now, sample=sample)))
        numbers |= {prefix + name.removeprefix("metric/"): each for name, each in found.items()}
        if known:
            least = min(count, translators.most_images(data))
            truth, translated = data.held_out(kind, least), sample(range(least))
            numbers[f"{prefix}error"] = pair_error(translated, truth)
    return numbers


def draw_translations(
    plain: ImageTranslator,
    with_attention: ImageTranslator,
    weights: Mapping[str, Any],
    held_out: Mapping[str, np.ndarray],
) -> Figures:
    """Draw images of both sets, their translations, and those back; and attention."""
    rows, names, drawn = [], [], {}
    for kind in SETS[::-1]:
        images = held_out[OTHER[kind]]
        there = with_attention(weights[kind], images)
        back = plain(weights[OTHER[kind]], there.images)
        rows += [images, there.images, back.images]
        names += [OTHER[kind], f"to {kind}", "and back"]
        if kind == "target" and there.attention:
            drawn["attention"] = visualize.attention_figure(images, there.attention, len(images))
    drawn["translations"] = visualize.image_grid(
        np.concatenate(rows), len(rows[0]), scale=None, row_headings=names
    )
    return drawn
