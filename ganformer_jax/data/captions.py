"""Captions of images from a file, as conditions of tokens."""

from __future__ import annotations

import pathlib

from ganformer_jax.captions import token_names, tokenizer_of
from ganformer_jax.data.labeling import labels_of_entries, read_table
from ganformer_jax.data.sources.conditions import Conditions
from ganformer_jax.data.sources.source import Source
from ganformer_jax.errors import UserError

MAX_TOKENS = 512
"""Tokens of the longest caption: more is a mistake."""


def find_captions(source: Source, path: pathlib.Path) -> Conditions:
    """Read the caption of every entry, and make a tokenizer of all words.

    Args:
        source: Source of the images.
        path: A .csv file of file names and captions, or a .json file of {"labels": [["file",
            "caption"], ...]}.

    Returns:
        Tokens, those of all captions as many: shorter ones are filled up with 0.

    Raises:
        UserError: If the file cannot be read, or an image has no caption.
    """
    if path.suffix.lower() not in (".json", ".csv"):
        raise UserError(f"--captions {path}: use a .json or .csv file")
    if not path.is_file():
        raise UserError(f"no file {path} with captions")
    found, unused = labels_of_entries(source, read_table(path, "caption"), str(path), "caption")
    pairs = list(zip(source.names, found, strict=True))
    missing = [name for name, caption in pairs if caption is None]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"{path} has no caption of {missing[0]}{more}: every image needs one")
    odd = next((name for name, caption in pairs if not _is_caption(caption)), None)
    if odd is not None:
        raise UserError(f"{path}: the caption of {odd} should be words")
    tokenizer = tokenizer_of(found)
    length = max(len(tokenizer.tokens(caption)) for caption in found)
    if length > MAX_TOKENS:
        raise UserError(
            f"{path} has a caption of {length} tokens, at most {MAX_TOKENS} can be learned: "
            "shorten it"
        )
    vectors = tokenizer.encode(found, length)
    return Conditions(token_names(length), vectors, str(path), unused, tokenizer.text)


def _is_caption(value: object) -> bool:
    return isinstance(value, str) and any(map(str.isalnum, value))
