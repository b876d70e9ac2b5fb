"""Translations of images in a folder, each with a record; existing translations are kept."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ganformer_jax import visualize
from ganformer_jax.config.translation import TranslationConfig
from ganformer_jax.data.fit import Geometry
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.sample_files import Batch, figure_paths, weights_digest, write_set
from ganformer_jax.experiment.targets import content_digest, entries, read_fitted
from ganformer_jax.sampling.translations import ImageTranslator
from ganformer_jax.train.devices import Placement
from ganformer_jax.train.run_reading import read_kind

SHOWN = 8
"""Images in the figure, at most."""


class LoadedTranslators(NamedTuple):
    """Both generators of a checkpoint, and its progress in training."""

    config: TranslationConfig
    params: Mapping[str, Any]
    """By the set that a generator makes, "source" or "target"."""
    step: int
    images_seen: int


def load_translators(
    run: pathlib.Path,
    step: int | None = None,
    best: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> LoadedTranslators:
    """Load the generators of a run of a translation, as `read_kind` does."""
    read = read_kind(run, "translation", ("generators",), step, best, say)
    return LoadedTranslators(read.config, read.fields["generators"], read.step, read.images_seen)


def write_translations(
    translators: LoadedTranslators,
    paths: Sequence[pathlib.Path],
    kind: str,
    folder: pathlib.Path,
    placement: Placement,
    batch_size: int = 16,
    *,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Write a translation of each image, `samples.jsonl`, and figures beside the folder.

    Images are read and written batch by batch, so memory does not grow with their number.
    Translations that an earlier call made with the same weights are kept; processes divide the
    rest.

    Args:
        translators: Both generators.
        paths: Images, as `targets.entries` takes them; cropped and resized as `prepare` does.
        kind: The set to translate into, "target" or "source".
        folder: Where to write; figures are `<folder>-grid.png` and, with components,
            `<folder>-attention.png`.
        placement: Devices of this process.
        batch_size: Images per batch; rounded up to a multiple of the devices.
        overwrite: Replace files that are not images of this set.
        say: Receives lines for the user.

    Raises:
        UserError: If a file would be replaced, or cannot be read or written.
    """
    options = translators.config.generator
    found = list(entries(paths))
    facts = {"into": kind, "weights": weights_digest(translators.params[kind])}
    files = file_names([entry.name for entry in found])
    records = [
        {"file": file, "image": entry.name, "content": content_digest(entry), **facts}
        for file, entry in zip(files, found, strict=True)
    ]
    figures = figure_paths(folder, "grid", *(["attention"] if options.components else []))
    batch = placement.rounded(batch_size)
    translator = ImageTranslator(options, batch, batch_sharding=placement.batch)
    attends = dataclasses.replace(translator, attention=options.components > 0)
    params = jax.device_put(translators.params[kind], placement.replicated)
    geometry = Geometry(*options.image_size, options.image_channels)

    def make(places: Sequence[int]) -> Iterator[Batch]:
        read = ((place, read_fitted(found[place], geometry, say)) for place in places)
        good = ((place, pixels) for place, pixels in read if pixels is not None)
        while rows := list(itertools.islice(good, batch)):
            pixels = np.stack([each for _, each in rows])
            yield [place for place, _ in rows], translator(params, pixels).images

    def draw() -> None:
        read = (read_fitted(entry, geometry, lambda line: None) for entry in found)
        shown = list(itertools.islice((p for p in read if p is not None), SHOWN))
        if not shown:
            raise UserError(f"no image could be read: {', '.join(map(str, paths))}")
        _draw(attends, params, np.stack(shown), figures)

    channels = options.image_channels
    write_set(folder, records, figures, make, draw, channels=channels, overwrite=overwrite, say=say)


def file_names(names: Sequence[str]) -> list[str]:
    """Return the name of a PNG file for each image: its own, with a number if that is taken.

    Names that differ only in case count as taken, since they are one file on some systems.
    """
    files: list[str] = []
    taken: set[str] = set()
    for stem in (pathlib.PurePath(name).stem for name in names):
        numbered = (f"{stem}-{number}.png" for number in itertools.count(1))
        free = (f for f in itertools.chain([f"{stem}.png"], numbered) if f.lower() not in taken)
        files.append(next(free))
        taken.add(files[-1].lower())
    return files


def _draw(
    translator: ImageTranslator, params: Any, images: np.ndarray, figures: Sequence[pathlib.Path]
) -> None:
    """Draw images above their translations, and what they attend to."""
    translated = translator(params, images)
    rows = np.concatenate([images, translated.images])
    headings = "image", "translated"
    grid = visualize.image_grid(rows, len(images), scale=None, row_headings=headings)
    visualize.save_png(figures[0], grid)
    if translated.attention:
        figure = visualize.attention_figure(images, translated.attention, len(images))
        visualize.save_png(figures[1], figure)
