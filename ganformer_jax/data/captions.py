"""Captions of images, read from a file and converted to conditions of token numbers."""

from __future__ import annotations

import pathlib

from ganformer_jax.captions import token_names, tokenizer_of
from ganformer_jax.data.label_tables import check_table, read_table
from ganformer_jax.data.labeling import labels_of_entries
from ganformer_jax.data.sources.conditions import Conditions
from ganformer_jax.data.sources.source import Source
from ganformer_jax.errors import UserError

MAX_TOKENS = 512
"""Largest number of tokens of a caption."""


def find_captions(source: Source, path: pathlib.Path) -> Conditions:
    """Read the caption of every entry, and build a tokenizer from all their words.

    Args:
        source: Source of the images.
        path: A .csv file with columns for file names and captions, or a .json file with
            {"labels": [["file", "caption"], ...]}.

    Returns:
        The tokens of each caption, padded with 0 to the length of the longest.

    Raises:
        UserError: If the file cannot be read, or an image has no caption.
    """
    check_table(path, "captions")
    table = read_table(path, "caption")
    by_name = {} if table is None else table.labels
    found, unused = labels_of_entries(source, by_name, str(path), "caption")
    pairs = list(zip(source.names, found, strict=True))
    missing = [name for name, caption in pairs if caption is None]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"{path} has no caption of {missing[0]}{more}: every image needs one")
    wordless = next((name for name, caption in pairs if not _is_caption(caption)), None)
    if wordless is not None:
        raise UserError(f"{path}: the caption of {wordless} should contain words")
    tokenizer = tokenizer_of(found)
    length = max(len(tokenizer.tokens(caption)) for caption in found)
    if length > MAX_TOKENS:
        raise UserError(
            f"{path} has a caption of {length} tokens, more than the limit of {MAX_TOKENS}: "
            "shorten it"
        )
    vectors = tokenizer.encode(found, length)
    return Conditions(token_names(length), vectors, str(path), unused, tokenizer.text)


def _is_caption(value: object) -> bool:
    return isinstance(value, str) and any(map(str.isalnum, value))
