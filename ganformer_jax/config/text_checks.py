"""Checks of the encoders of captions: how their options fit together and to the networks'."""

from __future__ import annotations

from ganformer_jax.config.discriminator import DiscriminatorConfig
from ganformer_jax.config.generator import GeneratorConfig
from ganformer_jax.config.text import TextEncoderConfig
from ganformer_jax.errors import UserError


def check_text(generator: GeneratorConfig, discriminator: DiscriminatorConfig) -> None:
    """Refuse encoders of captions that the networks, or the captions, do not go with.

    Raises:
        UserError: If an option has to be set differently; the message names it.
    """
    texts = {"generator": generator.text, "discriminator": discriminator.text}
    for name, text in texts.items():
        _check_encoder(f"{name}.text", text)
    counts = [text.vocabulary for text in texts.values()]
    if counts[0] != counts[1]:
        raise UserError(
            f"generator.text.vocabulary is {counts[0]} and discriminator.text.vocabulary "
            f"{counts[1]}, but both networks read the same captions: set both to {max(counts)}"
        )
    if not counts[0]:
        return
    _check_networks(generator, discriminator)
    size = generator.label_size
    for name, text in texts.items():
        if not 2 <= size <= text.longest:
            raise UserError(
                f"generator.label_size is {size}; for captions it should be the tokens of the "
                f"longest one, from 2 to {name}.text.longest, {text.longest}"
            )


def _check_encoder(name: str, text: TextEncoderConfig) -> None:
    if not text.vocabulary:
        if text != TextEncoderConfig():
            raise UserError(
                f"{name} has no effect: set {name}.vocabulary, the number of tokens of captions"
            )
        return
    if text.width % text.heads:
        raise UserError(
            f"{name}.heads is {text.heads}, which does not divide {name}.width {text.width}: use "
            "a divisor of it"
        )


def _check_networks(generator: GeneratorConfig, discriminator: DiscriminatorConfig) -> None:
    """Refuse networks that cannot read captions."""
    for name, network, reads in (
        ("generator", generator.network, "ganformer"),
        ("discriminator", discriminator.network, "stylegan2"),
    ):
        if network != reads:
            raise UserError(
                f"{name}.network is {network}, which reads no captions: set it to {reads}"
            )
    if generator.merge.images:
        raise UserError(
            f"generator.merge.images is {generator.merge.images}, but captions need components: "
            "set it to 0"
        )
    if not generator.components:
        raise UserError(
            "generator.components is 0, but captions need components to attend to their words: "
            "set it to 1 or more"
        )
    if discriminator.label_logit == "class":
        raise UserError(
            "discriminator.label_logit is class, but captions are not classes: set it to projection"
        )
