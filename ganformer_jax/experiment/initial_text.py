"""Encoders of captions that start from a published BERT."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ganformer_jax import hosts
from ganformer_jax.captions import CaptionTokenizer
from ganformer_jax.config import Config
from ganformer_jax.config.text import TextEncoderConfig
from ganformer_jax.convert.bert_folder import PublishedBert, read_bert_folder
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.sample_files import weights_digest
from ganformer_jax.train.state import TrainState
from ganformer_jax.train.transfer.start import place

SIZES = ("layers", "width", "heads", "hidden_width", "segments", "epsilon")
"""Fields of `TextEncoderConfig` that have to be those of the BERT."""
WORDS_NAMED = 6


def start_from_bert(
    folder: pathlib.Path, config: Config, tokenizer: str, say: Callable[[str], None] = print
) -> Callable[[TrainState], TrainState]:
    """Read a BERT; return a function that puts it into the encoders of both networks of a state.

    A word of the captions starts as the mean of the pieces that BERT splits it into. Words that are
    in no caption of the dataset are still refused in prompts.

    Args:
        folder: See `read_bert_folder`.
        config: The config of the new run, whose encoders have the same sizes.
        tokenizer: The tokenizer.json of the captions; "" if images have none.
        say: Receives lines for the user.

    Raises:
        UserError: If the folder cannot be read, the config has no such encoders, or processes find
            different weights.
    """
    encoders = {"generator": config.generator.text, "discriminator": config.discriminator.text}
    if not (tokenizer and all(text.vocabulary for text in encoders.values())):
        raise UserError("--init-text is for images with captions: leave it out")
    bert = read_bert_folder(folder)
    length = config.generator.label_size
    if length > bert.config.longest:
        reads = f"the BERT of {folder} reads {bert.config.longest}"
        raise UserError(f"captions have up to {length} tokens, and {reads}: use another")
    if options := _options(bert.config, encoders):
        raise UserError(
            f"the encoders of captions are not of the sizes of {folder}: set {' '.join(options)}"
        )
    words, unknown = word_vectors(CaptionTokenizer(tokenizer), bert)
    hosts.check_equal({f"the BERT of {folder}": weights_digest(bert.params | {"words": words})})
    sizes = f"{bert.config.layers} layers of {bert.config.width}"
    say(f"starting both encoders of captions from the BERT of {folder}, {sizes}")
    if unknown:
        more = f" and {len(unknown) - WORDS_NAMED} more" * (len(unknown) > WORDS_NAMED)
        say(f"words that it does not know: {', '.join(unknown[:WORDS_NAMED])}{more}")

    def put_weights(state: TrainState) -> TrainState:
        changed: dict[str, Any] = {}
        for name in ("generator", "ema", "discriminator"):
            text = encoders["discriminator" if name == "discriminator" else "generator"]
            network = getattr(state, name)
            params = jax.tree.map(place, network["text"], stored(bert, words, text))
            changed[name] = network | {"text": params}
        return state.replace(**changed)

    return put_weights


def word_vectors(tokenizer: CaptionTokenizer, bert: PublishedBert) -> tuple[np.ndarray, list[str]]:
    """Return a vector for each token of a tokenizer, and the words that a BERT does not know."""
    *special, nothing = bert.special
    pieces = {word: bert.pieces(word) for word in tokenizer.words()}
    unknown = {word for word, numbers in pieces.items() if not numbers or nothing in numbers}
    numbers = [[number] for number in special]
    numbers += [[nothing] if word in unknown else pieces[word] for word in pieces]
    rows = np.stack([bert.params["words"][each].mean(0) for each in numbers])
    return rows, [word for word in pieces if word in unknown]


def stored(bert: PublishedBert, words: np.ndarray, text: TextEncoderConfig) -> dict[str, Any]:
    """Return the parameters of an encoder as a state has them: see `models.text_encoder`."""
    params = bert.params | {"words": words, "places": bert.params["places"][: text.longest]}

    def divide(path: tuple[Any, ...], leaf: np.ndarray) -> np.ndarray:
        is_norm = any("norm" in key.key for key in path)
        return leaf if is_norm else leaf / np.float32(text.learning_rate_multiplier)

    return jax.tree.map_with_path(divide, params)


def _options(bert: TextEncoderConfig, encoders: dict[str, TextEncoderConfig]) -> list[str]:
    """Return the options of `train` that would make the encoders those of a BERT."""
    options = []
    for network, text in encoders.items():
        needed = {name: getattr(bert, name) for name in SIZES}
        needed["longest"] = min(text.longest, bert.longest)
        options += [
            f"--{network}.text.{name.replace('_', '-')} {value}"
            for name, value in needed.items()
            if value != dataclasses.asdict(text)[name]
        ]
    return options
