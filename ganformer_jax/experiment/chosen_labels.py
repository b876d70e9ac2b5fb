"""The classes, conditions or captions that a user chooses for generated images."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ganformer_jax.captions import TOKENIZER_FILE, CaptionTokenizer, load_tokenizer
from ganformer_jax.classes import CLASSES_FILE, find_class, load_class_names
from ganformer_jax.conditions import expected, load_condition_names, parse_condition
from ganformer_jax.errors import UserError

MAX_CLASS_COLUMNS = 16
"""A grid has one class or prompt in each column, up to this number of them."""


@dataclasses.dataclass(frozen=True)
class ChosenLabels:
    """Labels of images.

    Attributes:
        labels: Class number or condition of each image; None without labels.
        facts: Entries about its label in the record of each image.
        columns: Number of grid columns such that each holds one class or prompt; None if any
            number will do.
    """

    labels: Sequence[Any] | None
    facts: Sequence[Mapping[str, Any]]
    columns: int | None = None


def choose_labels(
    workdir: pathlib.Path,
    size: int,
    seeds: Sequence[int],
    classes: Sequence[str] = (),
    condition: str | None = None,
    prompts: Sequence[str] = (),
    vocabulary: int = 0,
) -> ChosenLabels:
    """Return the labels of images of these seeds.

    Args:
        workdir: Folder of a run; or a file, an export or a snapshot, which does not say whether its
            generator was trained on classes or conditions: both can be given.
        size: The generator's `label_size`.
        seeds: Seed of each image.
        classes: Names or numbers of classes, which take turns; by default all.
        condition: Condition of all images, as `parse_condition` reads it; by default those of the
            images that the run was trained on.
        prompts: Captions in words, which take turns.
        vocabulary: Number of tokens of captions, `text.vocabulary` of the generator.

    Raises:
        UserError: If the generator takes no such labels, or the dataset is not available.
    """
    if bool(classes) + (condition is not None) + bool(prompts) > 1:
        raise UserError("--class, --condition and --prompt cannot be combined: give one of them")
    tokenizer = _tokenizer(workdir, vocabulary)
    if vocabulary and (classes or condition is not None):
        option = "class" if classes else "condition"
        raise UserError(f"--{option}: {workdir} was trained on captions, use --prompt")
    if prompts:
        if tokenizer is None:
            raise UserError(f"--prompt: {_no_tokenizer(workdir, vocabulary)}")
        return _of_prompts(size, tokenizer, prompts, len(seeds))
    names = load_condition_names(workdir, size) if size else None
    if names is not None and classes:
        raise UserError(
            f"--class: {workdir} was trained on conditions, use --condition; {expected(names)}"
        )
    if condition is not None:
        return _one_condition(workdir, size, names, condition, len(seeds))
    if names is not None:
        return _drawn_conditions(workdir, names, tokenizer, seeds)
    if vocabulary:
        advice = "give --prompt" if tokenizer else _no_tokenizer(workdir, vocabulary)
        raise UserError(f"{workdir} needs captions, and has no dataset to take them from: {advice}")
    return _classes_in_turn(workdir, size, classes, len(seeds))


def _tokenizer(workdir: pathlib.Path, vocabulary: int) -> CaptionTokenizer | None:
    """Return the tokenizer of a generator that reads captions, if it is available."""
    tokenizer = load_tokenizer(workdir) if vocabulary else None
    if tokenizer is not None and tokenizer.vocabulary != vocabulary:
        raise UserError(
            f"{TOKENIZER_FILE} of {workdir} has {tokenizer.vocabulary} tokens, and the generator "
            f"reads {vocabulary}: put the one of its dataset there"
        )
    return tokenizer


def _no_tokenizer(workdir: pathlib.Path, vocabulary: int) -> str:
    """Return why the tokenizer is missing, and what to do if the generator reads captions."""
    if not vocabulary:
        return f"{workdir} was not trained on captions"
    place = f"beside {workdir}" if workdir.is_file() else f"in {workdir}"
    source = "from the dataset or from the run that was trained"
    return f"there is no {TOKENIZER_FILE} {place}: copy it there {source}"


def _of_prompts(
    size: int, tokenizer: CaptionTokenizer, prompts: Sequence[str], count: int
) -> ChosenLabels:
    try:
        vectors = tokenizer.encode(prompts, size)
    except UserError as error:
        raise UserError(f"--prompt: {error}") from error
    turns = [place % len(prompts) for place in range(count)]
    facts = [{"prompt": prompts[turn]} for turn in turns]
    columns = len(prompts) if 1 < len(prompts) <= MAX_CLASS_COLUMNS else None
    return ChosenLabels([vectors[turn] for turn in turns], facts, columns)


def _one_condition(
    workdir: pathlib.Path,
    size: int,
    names: Sequence[str] | None,
    condition: str,
    count: int,
) -> ChosenLabels:
    if not size:
        raise UserError("--condition: the generator was trained without conditions")
    if (workdir / CLASSES_FILE).exists():
        raise UserError(f"--condition: {workdir} was trained on classes, use --class")
    known = names or [str(number) for number in range(size)]
    try:
        numbers = parse_condition(condition, known)
    except UserError as error:
        raise UserError(f"--condition {condition}: {error}") from error
    return _conditions([numbers] * count, known, None)


def _drawn_conditions(
    run: pathlib.Path,
    names: Sequence[str],
    tokenizer: CaptionTokenizer | None,
    seeds: Sequence[int],
) -> ChosenLabels:
    from ganformer_jax.evaluate.image_sets import sample_labels  # which read datasets
    from ganformer_jax.experiment.kind_data import open_run

    option, hint = ("prompt", "a caption") if tokenizer else ("condition", expected(names))
    try:
        source = open_run(run, "train")
    except UserError as error:
        raise UserError(
            f"give --{option}, as the dataset of {run} is not available ({error}); {hint}"
        ) from error
    text = tokenizer.text if tokenizer else ""
    if (list(source.condition_names), source.tokenizer) != (list(names), text):
        raise UserError(
            f"give --{option}, as {source.name} has other conditions than {run}; {hint}"
        )
    return _conditions(sample_labels(source, seeds), names, tokenizer)


def _conditions(
    vectors: Sequence[Any], names: Sequence[str], tokenizer: CaptionTokenizer | None
) -> ChosenLabels:
    labels = np.asarray(vectors, np.float32)
    if tokenizer is not None:
        facts = [{"caption": tokenizer.decode(vector)} for vector in labels]
    else:
        facts = [{"condition": _record(names, vector)} for vector in labels]
    return ChosenLabels(list(labels), facts)


def _record(names: Sequence[str], vector: np.ndarray) -> dict[str, float]:
    """Return the numbers by name, as short as float32 allows: 0.1, not 0.10000000149."""
    return {name: float(str(number)) for name, number in zip(names, vector, strict=True)}


def _classes_in_turn(
    workdir: pathlib.Path, size: int, classes: Sequence[str], count: int
) -> ChosenLabels:
    names = load_class_names(workdir, size) if size else []
    try:
        chosen = [find_class(name, names) for name in classes] or list(range(size))
    except UserError as error:
        raise UserError(f"--class: {error}") from error
    if not chosen:
        return ChosenLabels(None, [{}] * count)
    labels = [chosen[place % len(chosen)] for place in range(count)]
    columns = len(chosen) if 1 < len(chosen) <= MAX_CLASS_COLUMNS else None
    return ChosenLabels(labels, [{"class": names[label]} for label in labels], columns)
