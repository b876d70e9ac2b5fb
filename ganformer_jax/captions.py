"""Captions as tokens: the tokenizer of a dataset and of a run, stored as tokenizer.json.

A token is a word in lowercase, or punctuation; three more stand for padding and for the start and
the end of a caption. The file is that of the library `tokenizers`, which reads and applies it.
"""

from __future__ import annotations

import collections
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ganformer_jax.errors import UserError, did_you_mean, one_line, os_reason
from ganformer_jax.files import write_atomically

if TYPE_CHECKING:
    from jaxtyping import Float

TOKENIZER_FILE = "tokenizer.json"
PADDING, START, END = "[PAD]", "[CLS]", "[SEP]"
SPECIAL = PADDING, START, END
"""Tokens that are not words; their numbers are 0, 1 and 2."""
MAX_WORDS = 1 << 16
"""Most different words of a dataset's captions; more are taken for a mistake."""


class CaptionTokenizer:
    """Turns captions into tokens and back.

    Args:
        text: Contents of a tokenizer.json.
        where: Name of the file, for messages.

    Raises:
        UserError: If the file is not such a tokenizer, or the library is not installed.
    """

    def __init__(self, text: str, where: str = TOKENIZER_FILE):
        library = tokenizers_library()
        try:
            self._tokenizer = library.Tokenizer.from_str(text)
            vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        except Exception as error:  # which the library raises for all that is wrong
            raise UserError(f"{where} is not a tokenizer: {one_line(error)}") from error
        if [vocabulary.get(token) for token in SPECIAL] != [0, 1, 2]:
            raise UserError(f"{where} does not begin with {', '.join(SPECIAL)}: prepare it again")
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise UserError(f"{where} leaves out numbers of tokens: prepare it again")
        if self._tokenizer.normalizer is None or self._tokenizer.pre_tokenizer is None:
            raise UserError(f"{where} does not say how to split captions: prepare it again")
        self.text, self._numbers = text, vocabulary
        self._names = {number: token for token, number in vocabulary.items()}

    @property
    def vocabulary(self) -> int:
        """Number of different tokens."""
        return len(self._numbers)

    def tokens(self, caption: str) -> list[int]:
        """Return the tokens of a caption, [CLS] first and [SEP] last.

        Raises:
            UserError: If the caption is empty, or has an unknown word.
        """
        words = _split(self._tokenizer, caption)
        if not words:
            raise UserError("an empty caption: give it at least one word")
        for word in words:
            if word not in self._numbers:
                hint = did_you_mean(word, self.words()) or "; tokenizer.json has the known words"
                raise UserError(
                    f"{caption!r}: no caption of the dataset has the word {word!r}{hint}"
                )
        return [1, *(self._numbers[word] for word in words), 2]

    def encode(self, captions: Iterable[str], length: int) -> Float[np.ndarray, "b t"]:
        """Return the tokens of captions as labels, float32, filled up with padding, 0.

        Raises:
            UserError: If a caption is empty, has an unknown word, or more tokens than `length`.
        """
        rows = []
        for caption in captions:
            tokens = self.tokens(caption)
            if len(tokens) > length:
                raise UserError(
                    f"{caption!r} has {len(tokens)} tokens, with those for its start and end, but "
                    f"at most {length} are read: shorten it"
                )
            rows.append(tokens + [0] * (length - len(tokens)))
        return np.array(rows, np.float32).reshape(-1, length)

    def decode(self, label_Y: Float[np.ndarray, " y"]) -> str:
        """Return a caption in words, those of a label of tokens; unknown numbers as "?"."""
        numbers = np.rint(np.asarray(label_Y)).astype(int).tolist()
        words = [self._names.get(number, "?") for number in numbers if number not in (0, 1, 2)]
        text = ""
        for word in words:
            is_word = word[0].isalnum() or word[0] in "_?"
            text += f" {word}" if text and is_word else word
        return text

    def words(self) -> list[str]:
        """Return the words, whose numbers follow those of the tokens in `SPECIAL`."""
        return [self._names[number] for number in range(len(SPECIAL), self.vocabulary)]


def make_tokenizer(words: Sequence[str]) -> CaptionTokenizer:
    """Return the tokenizer of these words, numbered in their order behind the special tokens."""
    library = tokenizers_library()
    numbers = {token: number for number, token in enumerate([*SPECIAL, *dict.fromkeys(words)])}
    model = library.models.WordLevel(vocab=numbers, unk_token=PADDING)
    return CaptionTokenizer(_with_rules(library.Tokenizer(model)).to_str(pretty=True))


def tokenizer_of(captions: Iterable[str]) -> CaptionTokenizer:
    """Return the tokenizer of all words of captions, the most frequent first.

    Raises:
        UserError: If they have too many different words.
    """
    library = tokenizers_library()
    splitter = _with_rules(library.Tokenizer(library.models.WordLevel({}, unk_token=PADDING)))
    counts = collections.Counter(word for text in captions for word in _split(splitter, text))
    if len(counts) > MAX_WORDS:
        raise UserError(
            f"the captions have {len(counts)} different words, at most {MAX_WORDS} can be learned"
        )
    return make_tokenizer(sorted(counts, key=lambda word: (-counts[word], word)))


def token_names(length: int) -> tuple[str, ...]:
    """Return what the numbers of a condition are called that holds the tokens of a caption."""
    return tuple(f"token {place + 1}" for place in range(length))


def save_tokenizer(text: str, run: pathlib.Path) -> None:
    """Write a tokenizer to a run's folder."""
    write_atomically(run / TOKENIZER_FILE, text)


def load_tokenizer(workdir: pathlib.Path) -> CaptionTokenizer | None:
    """Return the tokenizer in a run's folder, or beside a file; None if there is none.

    Raises:
        UserError: If it cannot be read.
    """
    path = (workdir.parent if workdir.is_file() else workdir) / TOKENIZER_FILE
    try:
        return CaptionTokenizer(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else one_line(error)
        raise UserError(f"cannot read {path}: {reason}") from error


def vocabulary_of(text: str) -> int:
    """Return the number of tokens of a tokenizer.json, without the library."""
    return len(json.loads(text)["model"]["vocab"])


def _split(tokenizer: Any, caption: str) -> list[str]:
    try:
        text = tokenizer.normalizer.normalize_str(caption)
    except UnicodeEncodeError as error:  # as of an argument in another encoding than the terminal's
        raise UserError(f"{ascii(caption)} is not text in UTF-8: write it again") from error
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def _with_rules(tokenizer: Any) -> Any:
    """Set what splits captions into words, and what a caption begins and ends with."""
    library = tokenizers_library()
    normalizers = library.normalizers
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence(
        [library.pre_tokenizers.Whitespace(), library.pre_tokenizers.Punctuation()]
    )
    tokenizer.post_processor = library.processors.BertProcessing((END, 2), (START, 1))
    return tokenizer


def tokenizers_library() -> Any:
    """Return the module `tokenizers`.

    Raises:
        UserError: If it is not installed.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise UserError(
            'captions need tokenizers, which is missing: pip install "ganformer-jax[text]"'
        ) from error
    return tokenizers
