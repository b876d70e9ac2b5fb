"""`prepare`: pictures, whatever they are stored in, to a dataset to train on."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from ganformer_jax.errors import UserError
from ganformer_jax.pixels import from_uint8, to_uint8

if TYPE_CHECKING:
    from ganformer_jax.data.prepare import Prepared, Wish
    from ganformer_jax.data.sources.source import Source

SHEET = "contact-sheet.png"
SHEET_PIXELS = 32 * 256 * 256
"""Of the contact sheet: 32 pictures of up to 256x256, fewer of larger ones."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Turn images into a dataset to train on, or resume where the command stopped."""

    source: Annotated[str, tyro.conf.Positional] = ""
    """A folder; a zip or tar; npy, npz or HDF5; an LMDB; StyleGAN TFRecords; a
    dataset of TensorFlow Datasets (TFDS) by folder or name (tfds:NAME if a file
    has that name); or a dataset of the paper: clevr, ffhq, bedrooms, cityscapes."""
    name: str | None = None
    """Dataset name: lowercase letters, digits and underscores."""
    data_dir: pathlib.Path = pathlib.Path("data")
    """Folder of prepared datasets."""
    resolution: int | None = None
    """Longer side of the images in pixels; by default the power of two nearest to
    that of most images, at most 256."""
    ratio: float | None = None
    """Height / width of the centered rectangle to cut out; by default 1, a square."""
    fit: Literal["crop", "pad"] | None = None
    """crop: the images are that rectangle. pad: they are black squares with the
    rectangle in the center, as in the published code; the default for the
    paper's datasets."""
    filter: Literal["lanczos", "box", "bicubic", "bilinear"] = "lanczos"
    """Resampling filter. FID depends on it."""
    channels: Literal[1, 3, 4] = 3
    """Color channels: 1 (gray), 3 (color) or 4 (color and opacity)."""
    labels: str = "auto"
    """Classes: auto (from the source, or its dataset.json), none, folders (names
    of subfolders), or a .csv or .json file of file names and classes."""
    held_out: int = 0
    """Number of images to hold out for evaluation (the `test` split), drawn at
    random before unreadable ones are skipped."""
    max_images: int | None = None
    """Largest number of images to use, drawn at random before unreadable ones are
    skipped."""
    storage: Literal["png", "raw"] = "png"
    """Storage of the images; raw is PNG without compression, larger and faster to
    read."""
    array: str | None = None
    """Name of the array of images in an npz or HDF5 file."""
    value_range: tuple[float, float] | None = None
    """Values of black and white, for arrays of other types than uint8 and uint16."""
    split: str = "train"
    """Split of a TFDS dataset."""
    tfds_dir: pathlib.Path | None = None
    """Folder of TFDS datasets; by default that of TFDS."""
    downloads: pathlib.Path = pathlib.Path("data/downloads")
    """Folder of the downloaded files of the paper's datasets."""
    threads: int | None = None
    """Threads that decode and encode images; by default one per core."""


def run(options: Options) -> None:
    """Prepares, then reports and draws a batch as the network will see it."""
    _check(options)

    from ganformer_jax.data.labeling import find_labels
    from ganformer_jax.data.prepare import prepare
    from ganformer_jax.data.wish import check_wish

    with _open(options) as source:
        _refuse_without_effect(options, source)
        labels = find_labels(source, options.labels)
        wish = _wish(options, source)
        check_wish(wish)
        prepared = prepare(
            source, wish, options.data_dir, labels=labels, threads=options.threads, say=print
        )
    sheet = _draw(prepared, wish)
    print("\n".join(_lines(prepared, wish, sheet, options)))


def _check(options: Options) -> None:
    if not options.source:
        raise UserError("name the pictures: a folder, a file, or a dataset")
    if not options.name and not _published(options):
        raise UserError("name the dataset to make with --name")
    if options.threads is not None and options.threads < 1:
        raise UserError("--threads must be 1 or more")


def _refuse_without_effect(options: Options, source: Source) -> None:
    """Refuses options that this kind of source has no use for."""
    from ganformer_jax.data.sources.arrays import ArraySource
    from ganformer_jax.data.sources.prepared import TfdsSource

    of_arrays, of_tfds = isinstance(source, ArraySource), isinstance(source, TfdsSource)
    given = {
        "--array": options.array is not None and not of_arrays,
        "--value-range": options.value_range is not None and not (of_arrays or of_tfds),
        "--split": options.split != "train" and not of_tfds,
        "--tfds-dir": options.tfds_dir is not None and not of_tfds,
    }
    for name in (name for name, useless in given.items() if useless):
        raise UserError(f"{name} has no effect on a {source.description.split()[0]}: leave it out")


def _published(options: Options) -> bool:
    """Whether the source is one of the paper's datasets, and no folder of that name."""
    from ganformer_jax.data.catalog import CATALOG

    return options.source in CATALOG and not pathlib.Path(options.source).exists()


def _open(options: Options) -> Source:
    from ganformer_jax.data.catalog import open_catalogd
    from ganformer_jax.data.sources.open import open_source

    if _published(options):
        return open_catalogd(options.source, options.downloads)
    return open_source(
        options.source, array=options.array, split=options.split, data_dir=options.tfds_dir
    )


def _wish(options: Options, source: Source) -> Wish:
    """Fills in what the options leave open."""
    from ganformer_jax.data.catalog import CATALOG
    from ganformer_jax.data.pictures import Geometry
    from ganformer_jax.data.sizes import image_size, usual_resolution
    from ganformer_jax.data.wish import Wish, check_ratio

    entry = CATALOG[options.source] if _published(options) else None
    fit = options.fit or ("pad" if entry else "crop")
    ratio = options.ratio if options.ratio is not None or entry is None else entry.ratio
    if ratio is None and fit == "crop":
        ratio = 1.0
    check_ratio(ratio)
    resolution = options.resolution
    if resolution is None:
        resolution = 256 if entry else usual_resolution(source, ratio, options.value_range)
    height, width = image_size(resolution, 1.0 if fit == "pad" else ratio or 1.0)
    geometry = Geometry(
        height, width, options.channels, options.filter, fit, ratio if fit == "pad" else None
    )
    return Wish(
        options.name or options.source,
        geometry,
        options.storage,
        options.held_out,
        options.max_images,
        options.value_range,
    )


def _draw(prepared: Prepared, wish: Wish) -> pathlib.Path:
    """Writes the first batch of a training run, through the network's range and back."""
    from ganformer_jax import visualize
    from ganformer_jax.data.batches import open_dataset, train_batches

    geometry, sheet = wish.geometry, prepared.folder / SHEET
    if sheet.exists() and not prepared.made:
        return sheet
    source = open_dataset(
        prepared.folder,
        prepared.folder,
        size=(geometry.height, geometry.width),
        channels=geometry.channels,
    )
    count = min(32, max(1, SHEET_PIXELS // (geometry.height * geometry.width)))
    batch = next(iter(train_batches(source, batch_size=count, seed=0, threads=0)))
    seen = to_uint8(from_uint8(batch["images"]))
    scale = max(1, 64 // max(geometry.height, geometry.width))
    visualize.save_png(sheet, visualize.image_grid(seen, columns=min(8, count), scale=scale))
    return sheet


def _lines(prepared: Prepared, wish: Wish, sheet: pathlib.Path, options: Options) -> list[str]:
    """The report, for people."""
    report, geometry = prepared.report, wish.geometry
    made = "prepared" if prepared.made else "was prepared already"
    held = report["splits"].get("test", 0)
    lines = [
        f"{prepared.folder} {made}: {report['splits']['train']} pictures to train on"
        + (f", {held} held out" if held else ""),
        f"  of {report['source']}, {geometry.width} wide and {geometry.height} high, "
        f"{ {1: 'gray', 3: 'color', 4: 'color and opacity'}[geometry.channels] }, "
        f"{geometry.filter} filter, {report['megabytes']:.1f} MB",
        *_counts("stored as", report["stored_kinds"]),
        *_counts("sizes (width x height)", report["stored_sizes"]),
        *_counts("changed", report["notes"]),
        *_counts("classes", report["classes"], most=20),
    ]
    if not report["classes"]:
        lines.append("  no classes" + (" were found" if options.labels == "auto" else ""))
    skipped = sum(report["skipped"].values())
    if skipped:
        lines += _counts(f"skipped {skipped} of {report['entries']} entries", report["skipped"])
        lines.append(f"  each of them: {prepared.folder / 'skipped.csv'}")
    if report["labels_of_no_picture"]:
        lines.append(f"  labels that name no picture: {report['labels_of_no_picture']}")
    if report["left_out"]:
        lines.append(f"  left out by --max-images: {report['left_out']}")
    if geometry.channels == 3 and _all_gray(report["stored_kinds"]):
        lines.append("  all pictures are gray: --channels 1 would do")
    return [
        *lines,
        f"a batch as the network sees it: {sheet}",
        "train on it with",
        _train(wish, prepared, options),
    ]


def _counts(title: str, counts: Mapping[str, int], most: int = 6) -> list[str]:
    if not counts:
        return []
    shown = [f"{count:9d}  {name}" for name, count in list(counts.items())[:most]]
    if len(counts) > most:
        rest = sum(list(counts.values())[most:])
        shown.append(f"{rest:9d}  of {len(counts) - most} other kinds")
    return [f"  {title}:", *shown]


def _all_gray(kinds: Mapping[str, int]) -> bool:
    return all(kind.split()[-1] in ("L", "1", "I;16", "I;16B", "I;16L") for kind in kinds)


def _train(wish: Wish, prepared: Prepared, options: Options) -> str:
    """The command that trains on it."""
    from ganformer_jax.data.sizes import base_grid

    geometry, home = wish.geometry, str(prepared.folder.parent)
    grid = base_grid((geometry.height, geometry.width))
    published = _published(options) and geometry.fit == "pad"
    words = ["python", "run.py", "train", "--workdir", f"runs/{wish.name}"]
    words += ["--config", f"configs/{options.source}.py"] if published else []
    words += ["--data.name", os.path.join(os.curdir, home) if os.sep not in home else home]
    words += ["--generator.resolution", str(max(geometry.height, geometry.width))]
    words += ["--generator.base-grid", *map(str, grid)] if grid and grid != (4, 4) else []
    if geometry.channels != 3:
        words += ["--generator.image-channels", str(geometry.channels)]
    if prepared.report["classes"]:
        words += ["--generator.label-size", str(len(prepared.report["classes"]))]
    return "  " + shlex.join(words)
