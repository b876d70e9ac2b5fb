"""The images of a prior, and their classes or captions."""

from __future__ import annotations

import dataclasses

from ganformer_jax.captions import vocabulary_of
from ganformer_jax.config import Config, DiscriminatorConfig, GeneratorConfig
from ganformer_jax.config.prior import PriorConfig
from ganformer_jax.config.text import TextEncoderConfig
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.data import ExperimentData
from ganformer_jax.experiment.scene_captions import scene_tokenizer
from ganformer_jax.scenes.captions import longest_caption


def prior_data(config: PriorConfig) -> ExperimentData:
    """Return the data of an experiment, which is that of a GAN with the same images and labels.

    Raises:
        UserError: If `prior.label_size` and `prior.vocabulary` do not fit its labels, or the
            dataset cannot be opened. Scenes are not rendered for this.
    """
    options, size = config.prior, config.autoencoder.image_size
    generator = GeneratorConfig(
        resolution=max(size),
        base_grid=size,
        image_channels=config.autoencoder.image_channels,
        label_size=options.label_size,
        text=TextEncoderConfig(vocabulary=options.vocabulary),
    )
    other = DiscriminatorConfig(label_logit="projection")  # which accepts conditions of any kind
    whole = Config(generator, other, data=config.data, train=config.train)
    _check_labels(config, _needed(whole))
    return ExperimentData(whole)


def _needed(config: Config) -> tuple[int, int] | None:
    """Return the right label size and vocabulary; None if labels are other conditions."""
    data = config.data
    if data.rendered:
        tokenizer = scene_tokenizer() if config.generator.text.vocabulary else None
        count = tokenizer and (len(tokenizer.tokens(longest_caption())), tokenizer.vocabulary)
        return count or (0, 0)
    unlabeled = dataclasses.replace(config.generator, label_size=0, text=TextEncoderConfig())
    source = ExperimentData(dataclasses.replace(config, generator=unlabeled)).open("train")
    if source.tokenizer:
        return source.label_count, vocabulary_of(source.tokenizer)
    return None if source.condition_names else (source.label_count, 0)


def _check_labels(config: PriorConfig, needed: tuple[int, int] | None) -> None:
    options, name = config.prior, config.data.name
    given = options.label_size, options.vocabulary
    if given == (0, 0) or given == needed:
        return
    if needed is None:
        raise UserError(f"{name} has conditions, which a prior does not read: leave labels out")
    raise UserError(
        f"prior.label_size is {given[0]} and prior.vocabulary {given[1]}, but labels of {name} are "
        f"{needed[0]} and {needed[1]}: set --prior.label-size {needed[0]} --prior.vocabulary "
        f"{needed[1]}"
    )
