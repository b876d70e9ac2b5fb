"""Paths between the images: in z, in w, and of one component at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from ganformer_jax.experiment.figures.context import (
    FigureContext,
    Still,
    Unsuitable,
    Video,
    lay_out,
)
from ganformer_jax.pixels import as_rgb
from ganformer_jax.sampling import (
    ImageLatents,
    check_labels,
    interpolate,
    label_vectors,
    slerp,
    swap_components,
)

STEPS, ROWS, POINTS = 8, 4, 6
SIDE = 256
"""Smallest side of a video, in pixels."""


def z_path(context: FigureContext) -> Iterator[Still | Video]:
    """Draw spherical interpolations in z (linear in labels), and a video through the images.

    A caption changes to the next one halfway.
    """
    context.need_images(2)
    if context.z_BxKxD is None:
        raise Unsuitable("latents of a file have no z")
    yield Still("interpolation-z", _strips(context, _between_z))
    yield _video(context, "interpolation-z", _between_z)


def w_path(context: FigureContext) -> Iterator[Still | Video]:
    """Draw linear interpolations in w, and a video through the images.

    The words of a caption change to those of the next one halfway.
    """
    context.need_images(2)
    yield Still("interpolation-w", _strips(context, _between_w))
    yield _video(context, "interpolation-w", _between_w)


def component_paths(context: FigureContext) -> Iterator[Still]:
    """Interpolate one component after the other from the first image to the second."""
    components = context.components()
    context.need_images(2)
    a, b = context.latents.w_BxKxLxD[:2]
    rows = []
    for component in components:
        target = swap_components(a, b, [component])
        t = _positions()[:, None, None, None]
        rows.append(context.images(context.latents.take([0]).with_w(interpolate(a, target, t))))
    names = [f"component {component + 1}" for component in components]
    yield Still("interpolation-components", lay_out(rows, _headings(), names))


def _positions() -> np.ndarray:
    return np.linspace(0, 1, STEPS)


def _headings() -> list[str]:
    return [f"{t:.2f}" for t in _positions()]


def _on_path(
    context: FigureContext, start: int, end: int, t: np.ndarray, w_BxKxLxD: np.ndarray
) -> ImageLatents:
    """Return w with the noise of the first image, and the mask and shift between those of two.

    Masks, of which there is nothing between, are those of the nearer image.
    """
    latents = context.latents
    mask_BxK, shift_BxKx2 = latents.mask_BxK, latents.shift_BxKx2
    if mask_BxK is not None:
        mask_BxK = mask_BxK[np.where(t < 0.5, start, end)]
    if shift_BxKx2 is not None:
        shift_BxKx2 = interpolate(shift_BxKx2[start], shift_BxKx2[end], t[:, None, None])
    between = latents.take([0]).with_w(w_BxKxLxD)
    return dataclasses.replace(between, mask_BxK=mask_BxK, shift_BxKx2=shift_BxKx2)


def _between_w(context: FigureContext, start: int, end: int, t: np.ndarray) -> ImageLatents:
    w_BxKxLxD = context.latents.w_BxKxLxD
    t_Bx1x1x1 = t[:, None, None, None]
    between = interpolate(w_BxKxLxD[start], w_BxKxLxD[end], t_Bx1x1x1)
    words = context.latents.words
    if words:  # there is nothing between a word and padding, which is zeros
        own = slice(-1 - words, -1)
        between[:, own] = np.where(t_Bx1x1x1 < 0.5, w_BxKxLxD[start, own], w_BxKxLxD[end, own])
    return _on_path(context, start, end, t, between)


def _between_z(context: FigureContext, start: int, end: int, t: np.ndarray) -> ImageLatents:
    assert context.z_BxKxD is not None
    z_BxKxD = slerp(context.z_BxKxD[start], context.z_BxKxD[end], t[:, None, None])
    labels = None
    if context.labels is not None:
        config = context.config
        size = config.label_size
        known = label_vectors(size, check_labels(size, context.labels, len(context.latents)))
        labels = interpolate(known[start], known[end], t[:, None])
        if config.text.vocabulary:  # there is nothing between the tokens of two captions
            labels = np.where(t[:, None] < 0.5, known[start], known[end])
    psi, cutoff = context.truncation_psi, context.truncation_cutoff
    w_BxKxLxD = context.synthesizer.map(context.variables, z_BxKxD, labels, psi, cutoff)
    return _on_path(context, start, end, t, w_BxKxLxD)


def _strips(context: FigureContext, between) -> np.ndarray:
    """Draw a row for each pair of neighboring images."""
    rows = []
    for start in range(min(ROWS, len(context.latents) - 1)):
        rows.append(context.images(between(context, start, start + 1, _positions())))
    return lay_out(rows, _headings())


def _video(context: FigureContext, name: str, between) -> Video:
    """Return a video from image to image and back to the first."""
    points, frames = min(POINTS, len(context.latents)), context.frames

    def draw() -> Iterator[np.ndarray]:
        batch = context.synthesizer.batch_size
        t = np.arange(frames) / frames
        for start in range(points):
            for first in range(0, frames, batch):
                part = t[first : first + batch]
                latents = between(context, start, (start + 1) % points, part)
                for image in as_rgb(context.images(latents)):
                    scale = max(1, -(-SIDE // min(image.shape[:2])))
                    yield image.repeat(scale, 0).repeat(scale, 1)

    return Video(name, draw(), points * frames)
