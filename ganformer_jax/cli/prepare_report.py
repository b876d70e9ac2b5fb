"""The report of `prepare`: what is in a dataset, and the command that trains on it."""

from __future__ import annotations

import os
import pathlib
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ganformer_jax.cli.options import program
from ganformer_jax.config.ganformer2 import CHANNELED, GANformer2Config
from ganformer_jax.config.text import TextEncoderConfig
from ganformer_jax.data.catalog import find_entry
from ganformer_jax.data.decode import SCALED
from ganformer_jax.data.depth import narrow_range_warning
from ganformer_jax.data.spec import DatasetSpec, base_grid
from ganformer_jax.pixels import channel_words

if TYPE_CHECKING:
    from ganformer_jax.cli.prepare import Options
    from ganformer_jax.data.prepare import PreparedDataset

_COLORS = {1: "gray", 3: "color", 4: "color and opacity"}
OWN_IMAGES = "scenes_ganformer"
"""Config of the printed command, for images that have no built-in config of their own."""


def report_lines(
    prepared: PreparedDataset, spec: DatasetSpec, sheet: pathlib.Path, options: Options
) -> list[str]:
    """Return lines of text: what is in the dataset, what was changed, and how to train on it."""
    report, geometry = prepared.report, spec.geometry
    done = "prepared" if prepared.is_new else "was prepared already"
    held = report["splits"].get("test", 0)
    lines = [
        f"{prepared.folder} {done}: {report['splits']['train']} images to train on"
        + (f", {held} held out" if held else ""),
        f"  from {report['source']}, {geometry.width} wide and {geometry.height} high, "
        f"{_COLORS.get(geometry.channels, f'{geometry.channels} channels')}, "
        f"{geometry.filter} filter, {report['megabytes']:.1f} MB",
        *_counts("stored as", report["stored_kinds"]),
        *_counts("sizes (width x height)", report["stored_sizes"]),
        *_counts("changed", report["notes"]),
        *_counts("classes", report["classes"], most=20),
    ]
    if tokens := report.get("tokens"):
        length = len(report["conditions"])
        lines.append(f"  captions of up to {length} tokens, of {tokens} different ones")
    elif conditions := report.get("conditions"):
        lines += _ranges(conditions)
    elif not report["classes"]:
        lines.append(_no_classes(report, options))
    skipped = sum(report["skipped"].values())
    if skipped:
        lines += _counts(f"skipped {skipped} of {report['entries']} entries", report["skipped"])
        lines.append(f"  all of them: {prepared.folder / 'skipped.csv'}")
    if report["labels_of_no_picture"]:
        lines.append(f"  labels that name no image: {report['labels_of_no_picture']}")
    if report["left_out"]:
        lines.append(f"  left out by --max-images: {report['left_out']}")
    if words := channel_words(geometry.channels):
        lines.append(f"  {words}")
    lines += _range_warnings(report, spec)
    if geometry.channels == 3 and _all_gray(report["stored_kinds"]):
        lines.append("  all images are gray: consider --channels 1")
    return [
        *lines,
        f"a training batch: {sheet}",
        "to train on it:",
        _train_command(spec, prepared, options),
    ]


def _no_classes(report: Mapping[str, Any], options: Options) -> str:
    """Return why there are no classes."""
    if options.labels != "auto":
        return "  no classes"
    columns = ", ".join(report.get("class_columns", ()))
    advice = f": of the columns {columns}, rename one to label, or give --labels a .csv file"
    return "  no classes were found" + (advice if columns else "")


def _range_warnings(report: Mapping[str, Any], spec: DatasetSpec) -> list[str]:
    """Return warnings about the range of values, as stored or as given by --value-range."""
    if spec.value_range is None:
        warning = narrow_range_warning(report.get("range_of_16_bits"))
        return [f"  warning: {warning} (with another --name)"] if warning else []
    if SCALED in report["notes"] or any(map(_is_deep_array, report["stored_kinds"])):
        return []
    return ["  warning: --value-range changed no image, as all have 8 bits or fewer: leave it out"]


def _is_deep_array(kind: str) -> bool:
    """Return whether a kind is that of arrays of more than 8 bits, such as "uint16 array"."""
    return " array" in kind and not kind.startswith(("uint8 ", "bool "))


def _counts(title: str, counts: Mapping[str, int], most: int = 6) -> list[str]:
    if not counts:
        return []
    shown = [f"{count:9d}  {name}" for name, count in list(counts.items())[:most]]
    if len(counts) > most:
        rest = sum(list(counts.values())[most:])
        shown.append(f"{rest:9d}  of {len(counts) - most} other kinds")
    return [f"  {title}:", *shown]


def _ranges(conditions: Mapping[str, tuple[float, float]], most: int = 20) -> list[str]:
    first = list(conditions.items())[:most]
    shown = [f"{low:9.4g} to {high:<9.4g}  {name}" for name, (low, high) in first]
    if len(conditions) > most:
        shown.append(f"{'':22}  and {len(conditions) - most} more")
    return ["  conditions, smallest to largest value:", *shown]


def _all_gray(kinds: Mapping[str, int]) -> bool:
    return all(kind.split()[-1] in ("L", "1", "I;16", "I;16B", "I;16L") for kind in kinds)


def _train_command(spec: DatasetSpec, prepared: PreparedDataset, options: Options) -> str:
    geometry, folder = spec.geometry, str(prepared.folder.parent)
    grid = base_grid((geometry.height, geometry.width))
    published = find_entry(options.source) and geometry.fit == "pad"
    words = ["train", "--workdir", f"runs/{spec.name}"]
    words += ["--config", options.source] if published else []
    words += ["--data.name", folder if os.sep in folder else os.path.join(os.curdir, folder)]
    if options.segments is not None:
        words += _ganformer2_options(geometry.height, geometry.channels)
        return f"  {program()} {shlex.join(words)}"
    words += [] if published else ["--config", OWN_IMAGES]
    words += ["--generator.resolution", str(max(geometry.height, geometry.width))]
    words += ["--generator.base-grid", *map(str, grid)] if grid and grid != (4, 4) else []
    if geometry.channels != 3:
        words += ["--generator.image-channels", str(geometry.channels)]
    if prepared.report["classes"]:
        words += ["--generator.label-size", str(len(prepared.report["classes"]))]
    if conditions := prepared.report.get("conditions"):
        words += ["--generator.label-size", str(len(conditions))]
        words += ["--discriminator.label-logit", "projection"]
        words += _text_options(len(conditions), prepared.report.get("tokens", 0))
    return f"  {program()} {shlex.join(words)}"


def _ganformer2_options(resolution: int, channels: int) -> list[str]:
    """Return the options for images of this size, with as many channels there as at 32x32."""
    usual = GANformer2Config()
    words = ["--config", "scenes_ganformer2", "--execution.resolution", str(resolution)]
    larger = resolution // usual.execution.resolution
    for name in CHANNELED if larger > 1 else ():
        base = getattr(usual, name).channel_base * larger
        words += [f"--{name.replace('_', '-')}.channel-base", str(base)]
    return words + (["--execution.image-channels", str(channels)] if channels != 3 else [])


def _text_options(length: int, tokens: int) -> list[str]:
    """Return the options of networks and losses for captions of this length."""
    if not tokens:
        return []
    # Centroids of duplex attention would stand for places in the caption, not for its words; and
    # without the contrastive loss images hardly follow their captions (docs/text.md).
    words = ["--generator.attention.kmeans-iterations", "0", "--loss.contrastive-weight", "1"]
    for network in ("generator", "discriminator"):
        words += [f"--{network}.text.vocabulary", str(tokens)]
        if length > TextEncoderConfig.longest:
            words += [f"--{network}.text.longest", str(length)]
    return words
