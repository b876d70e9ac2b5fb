"""Checks of the options of `evaluate`: refused where they are invalid or have no effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ganformer_jax.cli.options import refuse_without_effect
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.requests import PATHS, Request

if TYPE_CHECKING:
    from ganformer_jax.cli.evaluate import Options
    from ganformer_jax.evaluate.image_sets import ImageSet

WEIGHTS = "inception", "vgg16", "lpips"
"""Options that name files of weights."""
OF_GENERATED = "step", "best", "truncation_psi", "noise"
"""Options that say how a run makes images."""


def check_options(options: Options, requests: Sequence[Request]) -> None:
    """Refuse what is invalid, and options without effect on these metrics, before anything is read.

    Raises:
        UserError: With the first option that is to be changed or left out.
    """
    _check_weights(options, requests)
    _check_ranges(options)
    if options.fake is not None:
        _check_fake(options, requests)
    _check_unread(options, requests)


def _check_fake(options: Options, requests: Sequence[Request]) -> None:
    """Refuse metrics that stored images do not have, and options of generated images."""
    if unfit := [request.name for request in requests if request.needs_generator]:
        raise UserError(f"{unfit[0]} needs a generator: leave out --fake")
    given = {name: getattr(options, name) != getattr(type(options), name) for name in OF_GENERATED}
    refuse_without_effect(given, (), "--fake")


def _check_weights(options: Options, requests: Sequence[Request]) -> None:
    """Refuse files of weights that no metric uses."""
    given = {name: getattr(options, name) is not None for name in WEIGHTS}
    read = {name for request in requests for name in request.weights}
    refuse_without_effect(given, read, options.metrics)


def _check_unread(options: Options, requests: Sequence[Request]) -> None:
    """Refuse options that no metric, or not every metric, reads."""
    compared = any(request.needs_reference for request in requests)
    given = {
        "real_count": options.real_count is not None and not compared,
        "real": options.real is not None and options.fake is not None and not compared,
        "allow_few": options.allow_few and not any(r.kind in ("fid", "rfid") for r in requests),
    }
    refuse_without_effect(given, (), options.metrics)
    paths = [request.name for request in requests if request.kind in PATHS]
    names = ("truncation_psi", "noise") if paths else ()  # the line would record them
    given = {name: getattr(options, name) != getattr(type(options), name) for name in names}
    refuse_without_effect(given, (), ", ".join(paths))


def _check_ranges(options: Options) -> None:
    """Refuse invalid ranges of values, and a range of --fake without --fake."""
    from ganformer_jax.data.spec import check_value_range

    if options.fake is None and options.fake_value_range is not None:
        raise UserError("--fake-value-range is for --fake: leave it out")
    for each in (options.value_range, options.fake_value_range):
        check_value_range(each)


def check_reading(options: Options, sets: Sequence[ImageSet]) -> None:
    """Refuse options without effect on any of the sets, and one range for sets of two depths.

    Labels of generated images depend on the split.
    """
    given = {
        "array": options.array is not None,
        "follow_links": options.follow_links,
        "split": options.split != "train",
        "value_range": options.value_range is not None,
    }
    known = {"split"} if options.fake is None else set()
    known |= {option for images in sets for option in images.options}
    refuse_without_effect(given, known, " or ".join(images.name for images in sets))
    depths = {images.has_8_bits for images in sets} - {None}
    if options.value_range is not None and options.fake_value_range is None and len(depths) > 1:
        raise UserError(
            "one of --real and --fake has 8 bits and the other does not: give the range of --fake "
            "with --fake-value-range, 0 255 for 8-bit images"
        )
