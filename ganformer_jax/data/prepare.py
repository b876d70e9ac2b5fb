"""Pictures from any source to a dataset that TFDS reads: ArrayRecord shards of equal pictures.

TFDS's own writer would keep every picture three times while it works, and start over after a
kill. Here shards are written once, under their final names, in a folder that gets the dataset's
name when all is in it (dataset_folder.py); TFDS writes the description.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import PIL
import tensorflow_datasets as tfds
from PIL import Image
from tqdm.auto import tqdm

from ganformer_jax.data.dataset_folder import (
    REPORT,
    alone,
    begin,
    check_place,
    find_finished,
    make_folder,
    publish,
    tidy,
)
from ganformer_jax.data.description import VERSION, describe, summary
from ganformer_jax.data.parts import Part, Recipe, Tally, divide, write_parts, write_whole
from ganformer_jax.data.sources.shared import nothing_in
from ganformer_jax.data.sources.source import Labels, Source, checksum
from ganformer_jax.data.stored_png import encode_stored
from ganformer_jax.data.wish import Wish, check_wish
from ganformer_jax.errors import UserError

SKIPPED = "skipped.csv"
FORMAT = 1
"""Number of this way to prepare: datasets of another one are not continued."""
COMPRESSION = 3  # of PNG: higher levels take much longer for little


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A finished dataset.

    Attributes:
        folder: That holds it.
        report: What `report.json` says.
        made: False if it was there already.
    """

    folder: pathlib.Path
    report: dict[str, Any]
    made: bool


def prepare(
    source: Source,
    wish: Wish,
    data_dir: str | os.PathLike[str],
    *,
    labels: Labels | None = None,
    threads: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Prepared:
    """Writes `data_dir/NAME/1.0.0`, or finds it written already.

    It may be killed at any time: the same call goes on with the next part. The dataset depends on
    the source and the wish alone, byte for byte, not on threads or interruptions.

    Args:
        source: Where pictures come from.
        wish: What they should become.
        data_dir: Folder of prepared datasets; made if absent.
        labels: Classes of the entries.
        threads: That decode and encode; by default one a core.
        say: Receives lines for the user.

    Raises:
        UserError: If the wish makes no sense, another dataset or another process is in the way,
            nothing can be read, or the disk is full.
    """
    check_wish(wish)
    home = pathlib.Path(data_dir) / wish.name
    check_place(source, home)
    _check_names(labels)
    plan, parts = _plan(source, wish, labels), _divide(source, wish)
    make_folder(home)
    with alone(home):
        finished = find_finished(home, plan)
        if finished is not None:
            tidy(home / VERSION)
            return Prepared(home / VERSION, finished, made=False)
        unfinished = begin(home, plan)
        recipe = _recipe(source, wish, labels)
        _write(recipe, parts, unfinished, wish.name, threads or _cores(), say)
        report = _finish(recipe, wish, parts, unfinished, plan)
        if _plan(source, wish, labels) != plan:
            raise UserError(
                f"{source.description} changed while it was read: delete {unfinished}, and the "
                "same command starts over"
            )
        publish(unfinished, home / VERSION, report, labels)
        tidy(home / VERSION)
        return Prepared(home / VERSION, report, made=True)


def _check_names(labels: Labels | None) -> None:
    """Refuses names of classes that TFDS, which writes one a line, would not read back."""
    names = [] if labels is None else list(labels.names)
    for name in names:
        if not name.strip() or len(name.splitlines()) != 1 or not _is_text(name):
            raise UserError(f"{name!r} cannot be the name of a class")
    stripped = sorted(name.strip() for name in names)
    same = [a for a, b in zip(stripped, stripped[1:], strict=False) if a == b]
    if same:
        raise UserError(f"two classes have the same name, {same[0]}")


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:  # of a file name in another encoding
        return False
    return True


def _plan(source: Source, wish: Wish, labels: Labels | None) -> dict[str, Any]:
    """Everything that decides the dataset, as JSON."""
    named = None
    if labels is not None:
        named = {"classes": list(labels.names), "origin": labels.origin}
    facts = {
        "format": FORMAT,
        "pillow": PIL.__version__,  # of whose resizing another version may round otherwise
        "source": source.description.encode("utf-8", "replace").decode(),
        **dataclasses.asdict(wish.geometry),
        **{k: v for k, v in vars(wish).items() if k not in ("name", "geometry")},
        "labels": named,
        "entries": checksum([source.fingerprint(), labels and labels.classes.tobytes()]),
    }
    return json.loads(json.dumps(facts))


def _divide(source: Source, wish: Wish) -> list[Part]:
    """Draws splits and divides them into parts; every split keeps the source's order."""
    count = len(source)
    if not count:
        raise nothing_in(source)
    used = min(count, wish.max_images or count)
    if wish.held_out >= used:
        raise UserError(f"--held-out {wish.held_out} of {used} pictures leaves none to train on")
    order = np.random.default_rng(0).permutation(count)[:used]
    test, train = np.sort(order[: wish.held_out]), np.sort(order[wish.held_out :])
    return [*divide(train.tolist(), "train"), *divide(test.tolist(), "test")]


def _recipe(source: Source, wish: Wish, labels: Labels | None) -> Recipe:
    geometry = wish.geometry
    shape = geometry.height, geometry.width, geometry.channels
    features: dict[str, Any] = {
        "image": tfds.features.Image(shape=shape, encoding_format="png"),
        "name": tfds.features.Text(doc="where the picture was in its source"),
    }
    if labels is not None:
        features["label"] = tfds.features.ClassLabel(names=labels.names)

    encode = encode_stored if wish.storage == "raw" else _encode_png
    described = tfds.features.FeaturesDict(features)
    return Recipe(source, labels, geometry, encode, wish.value_range, described)


def _encode_png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.save(buffer, format="PNG", compress_level=COMPRESSION)
    return buffer.getvalue()


def _paths(
    part: Part, parts: Sequence[Part], folder: pathlib.Path, name: str
) -> tuple[pathlib.Path, pathlib.Path]:
    of = sum(other.split == part.split for other in parts)
    shard = f"{name}-{part.split}.array_record-{part.number:05d}-of-{of:05d}"
    return folder / shard, folder / f"{shard}.json"


def _write(
    recipe: Recipe,
    parts: Sequence[Part],
    folder: pathlib.Path,
    name: str,
    threads: int,
    say: Callable[[str], None],
) -> None:
    placed = [(part, *_paths(part, parts, folder, name)) for part in parts]
    missing = [
        (part, shard, note)
        for part, shard, note in placed
        if _read_note(note) is None or not shard.exists()
    ]
    total = sum(len(part.entries) for part in parts)
    left = sum(len(part.entries) for part, _, _ in missing)
    if left < total:
        say(f"going on: {total - left} of {total} entries are done")
    with tqdm(total=total, initial=total - left, unit=" pictures", desc="Preparing") as bar:
        write_parts(recipe, missing, threads, bar.update)


def _read_note(path: pathlib.Path) -> Tally | None:
    try:
        return Tally.from_json(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _finish(
    recipe: Recipe,
    wish: Wish,
    parts: Sequence[Part],
    folder: pathlib.Path,
    plan: dict[str, Any],
) -> dict[str, Any]:
    """Writes the description and the report."""
    notes = [_paths(part, parts, folder, wish.name)[1] for part in parts]
    tallies = [_read_note(note) for note in notes]
    assert all(tally is not None for tally in tallies)
    told: dict[str, list[Tally]] = {}
    for part, tally in zip(parts, tallies, strict=True):
        told.setdefault(part.split, []).append(tally)  # pyright: ignore[reportArgumentType]
    whole = Tally.total(tally for of_split in told.values() for tally in of_split)
    if not told["train"] or not Tally.total(told["train"]).pictures:
        raise nothing_in(recipe.source, (reason for _, reason in whole.skipped))
    if "test" in told and not Tally.total(told["test"]).pictures:
        raise UserError("none of the pictures that --held-out drew can be read: hold out more")
    skipped = [*recipe.source.skipped, *whole.skipped]
    report = summary(recipe, wish, told, whole, skipped) | {"plan": plan}
    describe(recipe, wish, told, folder, report)
    table = io.StringIO()
    csv.writer(table).writerows([("name", "reason"), *skipped])
    write_whole(folder / SKIPPED, table.getvalue().encode("utf-8", "replace"))
    write_whole(folder / REPORT, json.dumps(report, indent=2).encode("utf-8", "replace"))
    return report


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
