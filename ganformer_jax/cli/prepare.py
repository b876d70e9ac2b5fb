"""`prepare`: turn stored images into a dataset to train on."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from ganformer_jax.cli.options import refuse_without_effect
from ganformer_jax.cli.prepare_report import report_lines
from ganformer_jax.data.catalog import CATALOG, find_entry, open_entry
from ganformer_jax.data.fit import Geometry
from ganformer_jax.data.label_tables import check_table
from ganformer_jax.data.labeling import check_choice, find_labels
from ganformer_jax.data.segments import SegmentFolder, check_folder
from ganformer_jax.data.spec import (
    LARGEST_DEFAULT,
    DatasetSpec,
    check_ratio,
    check_spec,
    image_size,
    usual_resolution,
)
from ganformer_jax.errors import UserError
from ganformer_jax.pixels import from_uint8, to_uint8

if TYPE_CHECKING:
    from ganformer_jax.data.prepare import PreparedDataset
    from ganformer_jax.data.sources.conditions import Conditions
    from ganformer_jax.data.sources.source import Labels, Source

SHEET = "contact-sheet.png"
SHEET_PIXELS = 32 * 256 * 256
"""Pixels of the contact sheet: 32 images of up to 256x256, fewer of larger ones."""
SMALLEST_LAYOUT = 8
"""Smallest height and width of a GANformer2's images, in pixels."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Turn images into a dataset to train on, or resume where the command stopped."""

    source: Annotated[
        str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE", help_behavior_hint="")
    ] = ""
    """A folder; a zip or tar, also of tars; npy, npz or HDF5; an LMDB; StyleGAN
    TFRecords; WebDataset shards; Parquet; CIFAR; MNIST's IDX files; a dataset of
    TensorFlow Datasets (TFDS) by folder or name (tfds:NAME if a file has that
    name); or a dataset of the paper: clevr, ffhq, bedrooms, cityscapes."""
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
    channels: int | None = None
    """Color channels: 1 (gray), 3 (color) or 4 (color and opacity). By default 3;
    arrays of 2, or of 5 to 32, keep theirs."""
    labels: str = "auto"
    """Classes or conditions: auto (from the source, or its dataset.json), none,
    folders (names of subfolders as classes), or a .csv or .json file of file names
    and classes, or, in .json, lists of numbers."""
    captions: pathlib.Path | None = None
    """Captions to train on instead of labels: a .csv file of file names and captions, or
    a .json file of the form that --labels reads. Every image needs one."""
    segments: pathlib.Path | None = None
    """Folder of label images, to train a GANformer2 on: for every image a gray PNG of the
    same name and size, whose values are segment numbers, 0 for the background."""
    held_out: int = 0
    """Number of images to hold out for evaluation (the `test` split), drawn at
    random, of those with a label, before unreadable ones are skipped."""
    max_images: int | None = None
    """Largest number of images to use, drawn at random, of those with a label,
    before unreadable ones are skipped."""
    storage: Literal["png", "raw"] = "png"
    """Storage of the images; raw is PNG without compression, larger and faster to
    read."""
    array: str | None = None
    """Name of the array of images in an npz or HDF5 file, or of the column in
    Parquet."""
    value_range: tuple[float, float] | None = None
    """Values of black and white: needed for 32-bit and floating-point images and
    arrays, and where 16-bit ones use fewer bits, such as 0 4095. Images of 8 bits
    keep their values unless the second is at most 255."""
    follow_links: bool = False
    """Follow symbolic links in a folder, also to files outside of it."""
    split: str = "train"
    """Split of a TFDS dataset, of CIFAR, or of a folder whose files have one in
    their names; train+test for both."""
    tfds_dir: pathlib.Path | None = None
    """Folder of TFDS datasets; by default TFDS's own."""
    downloads: pathlib.Path = pathlib.Path("data/downloads")
    """Folder of the downloaded files of the paper's datasets."""
    threads: int | None = None
    """Threads that decode and encode images; by default one per core."""


def run(options: Options) -> None:
    """Prepare a dataset, report what was done and draw a training batch."""
    from ganformer_jax.data.prepare import prepare

    _check_options(options)
    with open_images(options) as source:
        _refuse_without_effect(options, source)
        labels = _find_labels(source, options)
        segments = None if options.segments is None else SegmentFolder(options.segments, source)
        spec = _checked_spec(options, source)
        more = {"labels": labels, "segments": segments, "threads": options.threads}
        prepared = prepare(source, spec, options.data_dir, **more, say=print)
    sheet = _draw(prepared, spec)
    print("\n".join(report_lines(prepared, spec, sheet, options)))


def _check_options(options: Options) -> None:
    """Raise `UserError` for mistakes that show before the source is opened, or downloaded."""
    if not options.source:
        raise UserError("name the source of the images: a folder, a file, or a dataset")
    entry = find_entry(options.source)
    if not options.name and not entry:
        raise UserError("name the dataset with --name")
    if options.threads is not None and options.threads < 1:
        raise UserError("--threads must be 1 or more")
    if entry is None and options.downloads != Options.downloads:
        raise UserError(f"--downloads is for {', '.join(CATALOG)}: leave it out")
    if options.captions is not None and options.labels != "auto":
        raise UserError("--captions cannot be combined with --labels: leave one of them out")
    check_choice(options.labels)
    if options.captions is not None:
        check_table(options.captions, "captions")
    if options.segments is not None:
        check_folder(options.segments)
    _checked_spec(options)


def _checked_spec(options: Options, source: Source | None = None) -> DatasetSpec:
    spec = dataset_spec(options, source)
    check_spec(spec)
    if options.segments is not None:
        _check_layouts(spec.geometry.height, spec.geometry.width)
    return spec


def _check_layouts(height: int, width: int) -> None:
    """Raise `UserError` for sizes that a GANformer2 cannot have."""
    if height != width or height < SMALLEST_LAYOUT or height.bit_count() != 1:
        raise UserError(
            f"--segments is for a GANformer2, whose images are square with a side of a power of "
            f"two from {SMALLEST_LAYOUT} up, not {width}x{height}: give --resolution and "
            "--ratio 1"
        )


def open_images(options: Options) -> Source:
    """Open the source that the options name."""
    from ganformer_jax.data.sources.open import open_source

    entry = find_entry(options.source)
    if entry:
        return open_entry(entry, options.downloads)
    return open_source(
        options.source,
        array=options.array,
        split=options.split,
        data_dir=options.tfds_dir,
        follow_links=options.follow_links,
    )


def _find_labels(source: Source, options: Options) -> Labels | Conditions | None:
    """Return the classes, conditions or captions of the images."""
    if options.captions is None:
        return find_labels(source, options.labels)
    from ganformer_jax.data.captions import find_captions

    return find_captions(source, options.captions)


def dataset_spec(options: Options, source: Source | None = None) -> DatasetSpec:
    """Return the specification of the dataset.

    The source decides what the options leave open. Without it, valid values stand for that.
    """
    entry = find_entry(options.source)
    fit = options.fit or ("pad" if entry else "crop")
    ratio = options.ratio if options.ratio is not None or entry is None else entry.ratio
    if ratio is None and fit == "crop":
        ratio = 1.0
    check_ratio(ratio)
    resolution = options.resolution
    if resolution is None and source is not None and entry is None:
        resolution = usual_resolution(source, ratio, options.value_range)
    longer = LARGEST_DEFAULT if resolution is None else resolution
    height, width = image_size(longer, 1.0 if fit == "pad" else ratio or 1.0)
    padded = ratio if fit == "pad" else None
    of_source = None if source is None else source.channels
    channels = (of_source or 3) if options.channels is None else options.channels
    return DatasetSpec(
        options.name or options.source,
        Geometry(height, width, channels, options.filter, fit, padded),
        options.storage,
        options.held_out,
        options.max_images,
        options.value_range,
    )


def _refuse_without_effect(options: Options, source: Source) -> None:
    """Raise `UserError` for options that have no effect on this kind of source."""
    given = {
        "array": options.array is not None,
        "follow_links": options.follow_links,
        "split": options.split != "train",
        "tfds_dir": options.tfds_dir is not None,
    }
    refuse_without_effect(given, source.options, f"a {source.description.split()[0]}")


def _draw(prepared: PreparedDataset, spec: DatasetSpec) -> pathlib.Path:
    """Draw the first batch of a training run, converted to the network's range and back."""
    from ganformer_jax import visualize
    from ganformer_jax.data.batches import open_dataset, train_batches

    geometry, sheet = spec.geometry, prepared.folder / SHEET
    if sheet.exists() and not prepared.is_new:
        return sheet
    folder, size = prepared.folder, (geometry.height, geometry.width)
    source = open_dataset(folder, folder, size=size, channels=geometry.channels)
    count = min(32, max(1, SHEET_PIXELS // (geometry.height * geometry.width)))
    batch = next(iter(train_batches(source, batch_size=count, seed=0, threads=0)))
    images = to_uint8(from_uint8(batch["images"]))
    visualize.save_png(sheet, visualize.image_grid(images, columns=min(8, count), scale=None))
    return sheet
