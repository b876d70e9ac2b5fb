"""Datasets of several files: the files of each split, and patterns of file names."""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from ganformer_jax.data.sources.source import HIDDEN, is_hidden, listed
from ganformer_jax.data.sources.walk import FolderWalk
from ganformer_jax.errors import UserError, did_you_mean

MAX_FILES = 1 << 16  # that a pattern may match
WITHOUT_SPLIT = "no split in its name, where others have one"
_OTHER = "another kind of file"
_NUMBERED = re.compile(r"(?P<split>.+?)[-_]\d{3,}(-of-\d{3,})?([-_.].*)?")
_KEYWORD = re.compile(
    r"(?:^|[^a-z])(train|training|validation|valid|val|dev|test|testing|eval)(?:[^a-z]|$)"
)
_SAME = {"training": "train", "valid": "validation", "val": "validation", "dev": "validation"}
_SAME |= {"testing": "test", "eval": "test"}
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def chosen_splits(split: str, available: Iterable[str], where: str) -> list[str]:
    """Return the splits in a string such as "train" or "train+test".

    Raises:
        UserError: If one is not available, or is named twice.
    """
    names, wanted = sorted(available), split.split("+")
    for name in wanted:
        if name not in names:
            hint = did_you_mean(name, names) or f"; choose --split from: {listed(names)}"
            raise UserError(f"{where} has no split {name!r}{hint}")
    if len(set(wanted)) < len(wanted):
        raise UserError(f"--split {split} names a split twice")
    return wanted


def files_by_split(paths: Sequence[Path], root: Path) -> Mapping[str | None, list[Path]]:
    """Group files by the split in their names or folders; None for files without a split.

    The split is the prefix of the number in train-00000-of-00004.parquet, or a usual word such as
    "train" or "val" in the name or in a folder below the root.
    """
    found: dict[str | None, list[Path]] = {}
    for path in paths:
        found.setdefault(_split_of(path.relative_to(root)), []).append(path)
    return found


class Chosen(NamedTuple):
    """The files of the chosen splits."""

    files: list[Path]  # in order
    has_splits: bool  # whether file names contain splits
    skipped: list[tuple[str, str]]  # (name, reason) of files without a split


def choose_files(paths: Sequence[Path], root: Path, split: str) -> Chosen:
    """Choose the files of a split, or of several as "train+test"; all files without splits.

    Raises:
        UserError: If there are splits but not the chosen one, or if the files of a split are in
            several folders, which means that there are several datasets.
    """
    groups = files_by_split(paths, root)
    named = {name: files for name, files in groups.items() if name is not None}
    if not named:
        return Chosen(list(paths), False, [])
    chosen = []
    for name in chosen_splits(split, named, str(root)):
        folders = sorted({str(path.parent) for path in named[name]})
        if len(folders) > 1:
            raise UserError(
                f"{root} holds several datasets, name the folder of one of them: {listed(folders)}"
            )
        chosen += named[name]
    skipped = [(path.relative_to(root).as_posix(), WITHOUT_SPLIT) for path in groups.get(None, ())]
    return Chosen(chosen, True, skipped)


def files_below(
    root: Path, suffixes: tuple[str, ...], follow_links: bool
) -> tuple[list[Path], list[tuple[str, str]]]:
    """List the files below a folder with a suffix, in order, and (name, reason) of skipped ones.

    Links and hidden files are treated as in a folder of images.
    """

    def refusal(name: str) -> str | None:
        if not name.lower().endswith(suffixes):
            return _OTHER
        return HIDDEN if is_hidden(name) else None

    names, skipped = FolderWalk(root, follow_links).files(refusal, with_datasets=True)
    return sorted(root / name for name in names), [pair for pair in skipped if pair[1] != _OTHER]


def is_pattern(where: str) -> bool:
    """Return whether a path contains wildcards or braces."""
    return any(sign in where for sign in "*?[{")


def expand_pattern(where: str) -> list[Path]:
    """Return the files that match a pattern such as x-{000..009}.tar or x-*.tar, in order.

    Raises:
        UserError: If there are none or too many, or if one that braces name does not exist.
    """
    paths: list[Path] = []
    for name in _expand_braces(where):
        if any(sign in name for sign in "*?["):
            paths += [Path(path) for path in sorted(glob.glob(name))]
        elif Path(name).is_file():
            paths.append(Path(name))
        else:
            raise UserError(f"there is no {name}, which {where} names")
        if len(paths) > MAX_FILES:
            raise UserError(f"{where} names more than {MAX_FILES} files")
    files = [path for path in dict.fromkeys(paths) if path.is_file()]
    if not files:
        raise UserError(f"there is no file {where}")
    return files


def common_folder(paths: Sequence[Path]) -> Path:
    """Return the deepest folder that contains all files."""
    return Path(os.path.commonpath([os.path.abspath(path.parent) for path in paths]))


def _expand_braces(where: str) -> list[str]:
    groups = [_alternatives(match[1], where) for match in _BRACES.finditer(where)]
    total = 1
    for group in groups:
        total *= len(group)
    if total > MAX_FILES:
        raise UserError(f"{where} names more than {MAX_FILES} files")
    texts = _BRACES.split(where)[::2]
    return [
        "".join(itertools.chain.from_iterable(zip(texts, (*choice, ""), strict=True)))
        for choice in itertools.product(*groups)
    ]


def _alternatives(inner: str, where: str) -> list[str]:
    match = _RANGE.fullmatch(inner)
    if not match:
        return inner.split(",")
    first, last, width = int(match[1]), int(match[2]), len(match[1])
    if not 0 <= last - first < MAX_FILES:
        raise UserError(f"{where}: {{{inner}}} should go up, by at most {MAX_FILES} files")
    return [f"{number:0{width}d}" for number in range(first, last + 1)]


def _split_of(path: PurePath) -> str | None:
    stem = path.name.partition(".")[0]
    numbered = _NUMBERED.fullmatch(stem)
    if numbered and "-of-" in stem:
        return _SAME.get(numbered["split"], numbered["split"])
    for text in (stem, *reversed(path.parts[:-1])):
        keywords = _KEYWORD.findall(text.lower())
        if keywords:
            return _SAME.get(keywords[-1], keywords[-1])
    return None
