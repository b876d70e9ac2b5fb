"""Generated images in a folder with a record of each; existing images are not made again."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from ganformer_jax import hosts
from ganformer_jax.errors import UserError, one_line, os_reason
from ganformer_jax.files import atomic_path, json_line, remove_cut_off, write_atomically
from ganformer_jax.pixels import channel_words
from ganformer_jax.train.checkpoints.checksums import checksums
from ganformer_jax.visualize import save_png

RECORDS_FILE = "samples.jsonl"
"""A line of JSON for each image: file, seed, class, condition, prompt or caption, truncation, noise
and weights."""
WRITERS = 4
"""Images that are compressed and written at once."""

Record = Mapping[str, Any]
Batch = tuple[Sequence[int], UInt8[np.ndarray, "b h w c"]]
"""Images, and the places of their records."""


def make_records(
    seeds: Sequence[int], own: Sequence[Mapping[str, Any]] | None, facts: Mapping[str, Any]
) -> list[Record]:
    """Return each image's record: its file, its seed, its own facts and the facts of all."""
    records: list[dict[str, Any]] = [{"file": f"{seed:06d}.png", "seed": seed} for seed in seeds]
    if own is not None:
        records = [{**record, **more} for record, more in zip(records, own, strict=True)]
    return [{**record, **facts} for record in records]


def weights_digest(variables: Any) -> str:
    """Return a checksum of a generator's variables, 16 hexadecimal digits."""
    text = json.dumps(checksums(variables), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _claim_folder(
    folder: pathlib.Path,
    records: Sequence[Record],
    figures: Sequence[pathlib.Path],
    overwrite: bool,
    say: Callable[[str], None],
) -> list[int]:
    """Write the records of images that are about to be made; all processes call it together.

    Args:
        folder: Folder of the images.
        records: Records of all images.
        figures: Files beside the folder that will be written too.
        overwrite: Whether to replace files that do not match these records.
        say: Receives a line about how many of the images exist.

    Returns:
        The places of the records whose image is to be made.

    Raises:
        UserError: If a file would be replaced, or cannot be written.
    """

    def prepare() -> None:
        if not (overwrite or (folder / RECORDS_FILE).exists()):
            _check_free(figures)
        prepare_folder(folder, records, overwrite, figures)

    hosts.first(prepare)
    hosts.check_shared(folder)
    missing = _missing_places(folder, records)
    hosts.all_of(True)  # from here on the folder changes
    if len(missing) < len(records):
        say(f"{len(records) - len(missing)} of {len(records)} images are in {folder} already")
    return missing


def _check_free(paths: Sequence[pathlib.Path]) -> None:
    """Raise `UserError` if a file that is not known to be a figure of samples would be replaced."""
    existing = [path for path in paths if path.exists()]
    if existing:
        raise UserError(f"{existing[0]} would be replaced; choose another --out, or --overwrite")


def prepare_folder(
    folder: pathlib.Path,
    records: Sequence[Record],
    overwrite: bool,
    figures: Sequence[pathlib.Path] = (),
) -> None:
    """Write the records of images that are about to be made, beside those of existing images.

    With `overwrite`, files that do not match these records are deleted first. Incomplete
    files that an interrupted command left of these images and figures are deleted.

    Raises:
        UserError: If there are such files, without `overwrite`; or the folder cannot be written.
    """
    known = {record["file"]: record for record in read_records(folder)}
    there = _files(folder)
    others = [r["file"] for r in records if r["file"] in there and known.get(r["file"]) != r]
    if others and not overwrite:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise UserError(
            f"{folder / others[0]}{more} would be replaced by other images; choose another --out, "
            "or --overwrite"
        )
    try:
        for name in others:
            (folder / name).unlink()
        images = [folder / record["file"] for record in records]
        arrays = [path.with_suffix(".npy") for path in images]
        remove_cut_off([*images, *arrays, *figures, folder / RECORDS_FILE])
    except OSError as error:
        raise UserError(f"cannot replace images in {folder}: {os_reason(error)}") from error
    kept = {name: record for name, record in known.items() if name in there}
    merged = kept | {record["file"]: record for record in records}
    # Names of files need not be text, and may have characters that end lines elsewhere.
    lines = "".join(map(json_line, merged.values()))
    write_atomically(folder / RECORDS_FILE, lines)


def read_records(folder: pathlib.Path) -> list[Record]:
    """Return the records in a folder; none where there are none.

    Raises:
        UserError: If the file is damaged or cannot be read.
    """
    path = folder / RECORDS_FILE
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        records = [json.loads(line) for line in lines if line]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"cannot read {path}: {os_reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: move it away ({one_line(error)})") from error
    if not all(isinstance(each, dict) and isinstance(each.get("file"), str) for each in records):
        raise UserError(f"{path} is damaged: move it away")
    return records


def _missing_places(folder: pathlib.Path, records: Sequence[Record]) -> list[int]:
    """Return the places of the records whose image is not in the folder."""
    there = _files(folder)
    return [place for place, record in enumerate(records) if record["file"] not in there]


def figure_paths(folder: pathlib.Path, *names: str) -> list[pathlib.Path]:
    """Return the files of figures beside a folder of images, `<folder>-<name>.png`.

    Raises:
        UserError: If the folder's path does not end in a name, as that of `/`.
    """
    if folder.name in ("", ".."):
        raise UserError(f"{folder} has no name for figures beside it: choose another --out")
    return [folder.with_name(f"{folder.name}-{name}.png") for name in names]


def write_set(
    folder: pathlib.Path,
    records: Sequence[Record],
    figures: Sequence[pathlib.Path],
    make: Callable[[Sequence[int]], Iterable[Batch]],
    draw: Callable[[], None],
    *,
    channels: int,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Write the missing images of a set as they are made, and figures of the set.

    All processes call this and divide the images; memory holds one batch at a time.

    Args:
        folder: Folder of the images.
        records: Records of all images.
        figures: Files that `draw` writes.
        make: Makes the images at some places, in batches; it may skip images that cannot be made.
        draw: Draws figures once all images are written; the first process calls it.
        channels: Number of channels of the images.
        overwrite: Whether to replace files that are not images of this set.
        say: Receives lines for the user.

    Raises:
        UserError: If a file would be replaced, or cannot be written.
    """
    say = say if hosts.is_first() else lambda line: None
    missing = _claim_folder(folder, records, figures, overwrite, say)
    if words := channel_words(channels):
        say(f"{words}; all channels are in the .npy files")
    if missing:
        own = [missing[row] for row in hosts.own_rows(len(missing))]
        batches = (
            ([folder / records[place]["file"] for place in places], images)
            for places, images in make(own)
        )
        write_images(batches, len(own), hosts.is_first())
    hosts.all_of(True)
    if hosts.is_first():
        with hosts.single_process():
            draw()
    done = len(records) - len(_missing_places(folder, records))
    kind = "figure" if len(figures) == 1 else "figures"
    say(f"{done} images in {folder}, {kind}: {', '.join(map(str, figures))}")


def in_turn(
    places: Sequence[int], stream: Iterable[UInt8[np.ndarray, "b h w c"]]
) -> Iterator[Batch]:
    """Yield batches of images with their places, in the order of the places."""
    rest = iter(places)
    return (([next(rest) for _ in images], images) for images in stream)


def write_images(
    batches: Iterable[tuple[Sequence[pathlib.Path], UInt8[np.ndarray, "b h w c"]]],
    total: int,
    progress: bool = True,
) -> None:
    """Write images to their paths as their batches arrive, several at once.

    A PNG cannot hold images of 2 channels, or of 5 or more; they are also written as .npy files
    beside it, uint8 [H, W, C].
    """
    with (
        ThreadPoolExecutor(WRITERS, "write") as pool,
        tqdm(total=total, unit=" images", desc="sampling", disable=not progress) as bar,
    ):
        for paths, images in batches:
            for _ in pool.map(_write, paths, images):
                bar.update()


def _write(path: pathlib.Path, image: UInt8[np.ndarray, "h w c"]) -> None:
    if channel_words(image.shape[-1]):  # a PNG shows three of the channels
        with atomic_path(path.with_suffix(".npy")) as temporary, temporary.open("wb") as file:
            np.save(file, image)
    save_png(path, image)


def _files(folder: pathlib.Path) -> set[str]:
    try:
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    except OSError as error:
        raise UserError(f"cannot read {folder}: {os_reason(error)}") from error
