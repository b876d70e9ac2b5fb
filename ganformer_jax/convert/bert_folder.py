"""A published BERT in a folder of Hugging Face's hub: weights, config and vocabulary."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

from ganformer_jax.captions import SPECIAL, tokenizers_library
from ganformer_jax.config.text import TextEncoderConfig
from ganformer_jax.convert.bert import read_bert
from ganformer_jax.errors import UserError, one_line, os_reason

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
CONFIG, TOKENIZER, WORDS = "config.json", "tokenizer.json", "vocab.txt"
RULES = "tokenizer_config.json"
EXPECTED = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
"""Settings in `CONFIG` that `TextEncoder` implements; other values are refused."""
UNKNOWN = "[UNK]"


@dataclasses.dataclass(frozen=True)
class PublishedBert:
    """A published encoder with its vocabulary.

    Attributes:
        config: Config of the encoder.
        params: Parameters of `TextEncoder`.
        special: Token numbers of `captions.SPECIAL`, followed by that of `UNKNOWN`.
        pieces: Function from a word to the token numbers of the pieces that it is split into.
    """

    config: TextEncoderConfig
    params: dict[str, Any]
    special: tuple[int, ...]
    pieces: Callable[[str], list[int]]


def read_bert_folder(folder: pathlib.Path) -> PublishedBert:
    """Read a BERT from a folder.

    Args:
        folder: Folder with the weights, `config.json`, and `tokenizer.json` or `vocab.txt`. Unless
            all words of `vocab.txt` are lowercase without accents, `tokenizer_config.json` too.

    Raises:
        UserError: If a file is missing, is not that of a BERT, or disagrees with another.
    """
    if not folder.is_dir():
        raise UserError(f"no folder {folder} with a BERT")
    heads, epsilon = _settings(folder / CONFIG)
    config, params = read_bert(_first(folder, WEIGHTS), heads)
    path = _first(folder, (TOKENIZER, WORDS))
    tokenizer = _tokenizer(path)
    if tokenizer.get_vocab_size() > config.vocabulary:
        raise UserError(
            f"{folder} has a vocabulary of {tokenizer.get_vocab_size()} tokens, but weights for "
            f"{config.vocabulary}"
        )
    special = tuple(map(tokenizer.token_to_id, (*SPECIAL, UNKNOWN)))
    if None in special:
        raise UserError(f"{path} has no token {(*SPECIAL, UNKNOWN)[special.index(None)]}")

    def pieces(word: str) -> list[int]:
        return tokenizer.encode(word, add_special_tokens=False).ids

    return PublishedBert(dataclasses.replace(config, epsilon=epsilon), params, special, pieces)


def _first(folder: pathlib.Path, names: tuple[str, ...]) -> pathlib.Path:
    """Return the first of these files that exists."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder} has no {' or '.join(names)}")


def _settings(path: pathlib.Path) -> tuple[int, float]:
    """Return the number of heads and the epsilon of layer normalization."""
    settings = _read_json(path)
    for name, value in EXPECTED.items():
        if settings.get(name, value) != value:
            raise UserError(f"{path}: {name} is {settings[name]}, but only {value} is supported")
    heads = settings.get("num_attention_heads")
    if not isinstance(heads, int) or heads < 1:
        raise UserError(f"{path}: num_attention_heads is {heads}, not a number of heads")
    epsilon = settings.get("layer_norm_eps", TextEncoderConfig.epsilon)
    if not isinstance(epsilon, float) or not epsilon > 0:
        raise UserError(f"{path}: layer_norm_eps is {epsilon}, not a number above 0")
    return heads, epsilon


def _tokenizer(path: pathlib.Path) -> Any:
    library = tokenizers_library()
    rules = _rules(path.with_name(RULES)) if path.name == WORDS else {}
    try:
        if path.name == TOKENIZER:
            tokenizer = library.Tokenizer.from_file(str(path))
            tokenizer.no_padding()  # some folders enable padding and truncation
            tokenizer.no_truncation()
            return tokenizer
        model = library.models.WordPiece.from_file(str(path), unk_token=UNKNOWN)
        tokenizer = library.Tokenizer(model)
        tokenizer.normalizer = library.normalizers.BertNormalizer(**rules)
        tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
        return tokenizer
    except Exception as error:  # the library raises no other type
        raise UserError(f"{path} is not a vocabulary: {one_line(error)}") from error


def _rules(path: pathlib.Path) -> dict[str, bool | None]:
    """Return how words are normalized; without a file, and by default, as for lowercase models."""
    settings = _read_json(path) if path.is_file() else {}
    accents = settings.get("strip_accents")  # by default, lowercase models have none
    return {
        "lowercase": settings.get("do_lower_case", True) is True,
        "strip_accents": accents if isinstance(accents, bool) else None,
        "handle_chinese_chars": settings.get("tokenize_chinese_chars", True) is True,
    }


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {os_reason(error)}") from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {one_line(error)}") from error
    if not isinstance(settings, dict):
        raise UserError(f"{path} has no settings")
    return settings
