"""Pictures from any source to a dataset that TFDS reads: ArrayRecord shards of equal pictures.

TFDS's own writer would keep every picture three times while it works, and start over after a
kill. Here shards are written once, under their final names, in a folder that gets the dataset's
name when all is in it; TFDS writes the description.

    data/NAME/1.0.0/        the dataset; absent until it is whole
    data/NAME/unfinished/   shards so far, and notes of what went into them
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import fcntl
import io
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tqdm.auto import tqdm

from ganformer_jax.data.description import VERSION, describe, summary
from ganformer_jax.data.parts import Part, Recipe, Tally, divide, write_parts, write_whole
from ganformer_jax.data.sources.folder import FolderSource
from ganformer_jax.data.sources.source import Labels, Source, checksum
from ganformer_jax.data.stored_png import encode_stored
from ganformer_jax.data.wish import Wish, check_wish
from ganformer_jax.errors import UserError

REPORT = "report.json"
SKIPPED = "skipped.csv"
_PLAN = "plan.json"
COMPRESSION = 3  # of PNG: higher levels take much longer for little


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A finished dataset.

    Attributes:
        folder: that holds it.
        report: what `report.json` says.
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
        source: where pictures come from.
        wish: what they should become.
        data_dir: folder of prepared datasets; made if absent.
        labels: classes of the entries.
        threads: that decode and encode; by default one a core.
        say: receives lines for the user.

    Raises:
        UserError: if the wish makes no sense, another dataset or another process is in the way,
            nothing can be read, or the disk is full.
    """
    check_wish(wish)
    home = pathlib.Path(data_dir) / wish.name
    _check_place(source, home)
    _check_names(labels)
    plan = _plan(source, wish, labels)
    _make_folder(home)
    with _alone(home):
        finished = _finished(home, plan)
        if finished is not None:
            _tidy(home / VERSION)
            return Prepared(home / VERSION, finished, made=False)
        unfinished = _start(home, plan, say)
        parts = _divide(source, wish)
        recipe = _recipe(source, wish, labels)
        _write(recipe, parts, unfinished, wish.name, threads or _cores(), say)
        report = _finish(recipe, wish, parts, unfinished, plan)
        os.replace(unfinished, home / VERSION)
        _tidy(home / VERSION)
        return Prepared(home / VERSION, report, made=True)


def _check_place(source: Source, home: pathlib.Path) -> None:
    """Refuses to write where pictures are read: they would be taken for more of them."""
    if isinstance(source, FolderSource) and home.resolve().is_relative_to(source.root.resolve()):
        raise UserError(f"{home} is inside {source.description}: choose another --data-dir")


def _check_names(labels: Labels | None) -> None:
    """Refuses names of classes that TFDS, which writes one a line, would not read back."""
    names = [] if labels is None else list(labels.names)
    for name in names:
        if not name.strip() or len(name.splitlines()) != 1:
            raise UserError(f"{name!r} cannot be the name of a class")
    if len(set(names)) != len(names):
        raise UserError("two classes have the same name")


def _plan(source: Source, wish: Wish, labels: Labels | None) -> dict[str, Any]:
    """Everything that decides the dataset, as JSON."""
    named = None
    if labels is not None:
        named = {"classes": list(labels.names), "origin": labels.origin}
    facts = {
        "source": source.description,
        **{k: v for k, v in dataclasses.asdict(wish).items() if k != "name"},
        "labels": named,
        "entries": checksum([source.fingerprint(), labels and labels.classes.tobytes()]),
    }
    return json.loads(json.dumps(facts))


def _make_folder(home: pathlib.Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {home}: {error.strerror or error}") from error


@contextlib.contextmanager
def _alone(home: pathlib.Path) -> Iterator[None]:
    """Locks a dataset's folder; a lock dies with its process."""
    handle = os.open(home, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"another process is preparing {home}: wait until it ends") from error
        yield
    finally:
        os.close(handle)


def _finished(home: pathlib.Path, plan: dict[str, Any]) -> dict[str, Any] | None:
    """The report of the same dataset, if it is there; UserError if another one is."""
    folder = home / VERSION
    if not folder.exists():
        return None
    try:
        report = json.loads((folder / REPORT).read_text())
        other = report["plan"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder} is in the way: choose another --name") from error
    changed = [
        f"{k} was {_short(other.get(k))}, now {_short(v)}"
        for k, v in plan.items()
        if other.get(k) != v
    ]
    if changed:
        raise UserError(
            f"{folder} holds another dataset ({'; '.join(changed)}): choose another --name, or "
            "delete that folder"
        )
    return report


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _start(home: pathlib.Path, plan: dict[str, Any], say: Callable[[str], None]) -> pathlib.Path:
    """The folder to work in: what an earlier call left, if it wanted the same, or a new one."""
    unfinished = home / "unfinished"
    if unfinished.exists():
        try:
            if json.loads((unfinished / _PLAN).read_text()) == plan:
                for cut in unfinished.glob("*.writing"):
                    cut.unlink()
                return unfinished
        except (OSError, ValueError):
            pass
        say(f"{unfinished} is of another source or other options: starting over")
        shutil.rmtree(unfinished)
    unfinished.mkdir()
    write_whole(unfinished / _PLAN, json.dumps(plan).encode())
    return unfinished


def _divide(source: Source, wish: Wish) -> list[Part]:
    """Draws splits and divides them into parts; every split keeps the source's order."""
    count = len(source)
    if not count:
        skipped = f", {len(source.skipped)} other entries" if source.skipped else ""
        raise UserError(f"no pictures in {source.description}{skipped}")
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
        reasons = sorted({reason for _, reason in whole.skipped})
        raise UserError(
            f"no picture in {recipe.source.description} can be read: {'; '.join(reasons[:3])}"
        )
    skipped = [*recipe.source.skipped, *whole.skipped]
    report = summary(recipe, wish, told, whole, skipped) | {"plan": plan}
    describe(recipe, wish, told, folder, report)
    table = io.StringIO()
    csv.writer(table).writerows([("name", "reason"), *skipped])
    write_whole(folder / SKIPPED, table.getvalue().encode("utf-8", "replace"))
    write_whole(folder / REPORT, json.dumps(report, indent=2).encode("utf-8", "replace"))
    return report


def _tidy(folder: pathlib.Path) -> None:
    """Removes what only an unfinished dataset needs."""
    for note in (*folder.glob("*.array_record-*.json"), folder / _PLAN):
        note.unlink(missing_ok=True)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
