"""Checks, before any computation, that a metric can be measured on images or on a generator."""

from __future__ import annotations

from collections.abc import Iterable

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.requests import PATHS, Request
from ganformer_jax.metrics.dci import MIN_ROWS
from ganformer_jax.metrics.inception_features import WIDTHS
from ganformer_jax.metrics.lpips import SMALLEST

RANK = WIDTHS["2048"] + 1
"""Number of images from which the covariances of a Fréchet distance can have full rank."""
_LEAST = {"kid": 2, "is": 10, "pr": 4, "prdc": 6}


def check_measurable(
    requests: Iterable[Request],
    fake: int | None = None,
    real: int | None = None,
    *,
    fake_name: str = "the folder",
    allow_few: bool = False,
) -> None:
    """Raise `UserError` if there are too few images for a metric of images.

    Args:
        requests: Metrics.
        fake: Number of images to evaluate; None if it is unlimited.
        real: Number of reference images to use; None for as many as are evaluated.
        fake_name: Name of the images to evaluate, for messages.
        allow_few: Accept Fréchet distances with rank-deficient covariances.
    """
    for request in requests:
        if fake is not None and request.count > fake:
            raise UserError(f"{request.name} needs {request.count} images; {fake_name} has {fake}")
        if request.feature is None:
            continue
        compared = request.needs_reference and real is not None
        images = min(request.count, real) if compared and real is not None else request.count
        least = _least(request, allow_few)
        if images < least:
            kind = request.kind.removeprefix("r")
            few = "; `evaluate --allow-few` measures it, mostly bias" if kind == "fid" else ""
            which, more = "images", f"as in {request.kind}{max(-(-least // 1000), 1)}k"
            if compared and images < request.count:
                which, more = "real images", "as of the training split"
            raise UserError(
                f"{request.name} needs {least} {which} or more, not {images}: take more, {more}, "
                f"or another metric{few}"
            )


def check_generator(
    requests: Iterable[Request], config: GeneratorConfig, has_captions: bool
) -> None:
    """Raise `UserError` if a generator cannot have a metric of generators.

    Args:
        requests: Metrics; those of images are not checked.
        config: Config of the generator.
        has_captions: Whether it was trained on captions of scenes.
    """
    for request in requests:
        if reason := _unfit(request, config, has_captions):
            raise UserError(f"{request.name}: {reason}")


def _unfit(request: Request, config: GeneratorConfig, has_captions: bool) -> str | None:
    """Return why a generator cannot have a metric; None if it can."""
    kind, count = request.kind, request.count
    size = "x".join(map(str, config.image_size))
    if kind in PATHS and min(config.image_size) < SMALLEST:
        return f"LPIPS needs images of {SMALLEST}x{SMALLEST} or more, not {size}"
    if kind == "edit" and config.merge.images:
        return "images that are merged have no components to edit"
    if kind in ("seg", "edit") and not (config.attended_resolutions or config.merge.images):
        return "the generator has no attention layers"
    if kind == "edit" and count < 2:
        return "needs two images or more, which swap components"
    if kind == "dci" and count < MIN_ROWS:
        return f"needs {MIN_ROWS} images or more, not {count}"
    if kind == "caption" and not has_captions:
        return "needs a generator that was trained on captions of scenes"
    return None


def lacks_rank(request: Request, real: int) -> bool:
    """Return whether a metric is a Fréchet distance with rank-deficient covariances."""
    return request.kind in ("fid", "rfid") and min(request.count, real) < RANK


def _least(request: Request, allow_few: bool) -> int:
    kind = request.kind.removeprefix("r")
    if kind == "fid":
        return 2 if allow_few else RANK
    return _LEAST[kind]
