"""Edits of the latents of images: one component, the global latent, or a direction."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ganformer_jax.directions import (
    Direction,
    TargetChange,
    component_name,
    property_names,
    region_properties,
    target_change,
)
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.figures.context import FigureContext
from ganformer_jax.experiment.regions import component_regions
from ganformer_jax.sampling import ImageLatents, Synthesized, swap_components

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


WEAK_R2 = 0.1
"""R2 below which a direction hardly has the effect that its name says."""


@dataclasses.dataclass(frozen=True)
class LatentEdit:
    """Edited latents.

    Attributes:
        latents: One for each image.
        component: The component that was edited, from 0; None for the global or all latents.
        words: Description of the edit, for the record.
        facts: Further entries of each image's record.
    """

    latents: ImageLatents
    component: int | None
    words: str
    facts: Sequence[Mapping[str, Any]]

    def take(self, rows: range) -> LatentEdit:
        """Return the edit of these images, counted from 0."""
        facts = self.facts[rows.start : rows.stop]
        return dataclasses.replace(self, latents=self.latents.take(rows), facts=facts)

    def with_history(self) -> LatentEdit:
        """Return the edit with its description after those of earlier edits of each image."""
        known = self.latents.facts or [{}] * len(self.latents)
        facts = tuple(_with_edit(one, self.words) for one in known)
        return dataclasses.replace(self, latents=dataclasses.replace(self.latents, facts=facts))


def remove(latents: ImageLatents, component: int) -> LatentEdit:
    """Hide a component from the attention of all images.

    Raises:
        UserError: If an image would have no visible component, and components have no places.
    """
    if latents.components < 2 and not latents.places:
        raise UserError("--remove: a single component cannot be hidden")
    try:
        edited = latents.without(component)
    except ValueError as error:
        raise UserError(f"--remove: {error}: edit other --latents, or --seeds") from error
    return LatentEdit(edited, component, f"remove {component_name(component)}", [{}] * len(latents))


def swap(
    latents: ImageLatents, other: ImageLatents, component: int | None, seed: int
) -> LatentEdit:
    """Take the latent of a component, or the global one, of the image of another seed.

    Args:
        latents: Latents of the images.
        other: Latents of the other seed, one for each image or one for all.
        component: Number of the component, from 0; None for the global latent.
        seed: The seed, for the record.
    """
    place = -1 if component is None else component
    w_BxKxLxD = swap_components(latents.w_BxKxLxD, other.w_BxKxLxD, [place])
    name = "global latent" if component is None else component_name(component)
    edited = dataclasses.replace(latents, w_BxKxLxD=w_BxKxLxD)
    return LatentEdit(edited, component, f"swap {name} with seed {seed}", [{}] * len(latents))


def move_along(
    latents: ImageLatents, direction: Direction, amount: float, component: int | None = None
) -> LatentEdit:
    """Move along a direction, in standard deviations of w.

    Args:
        latents: Latents of the images.
        direction: The direction.
        amount: Distance, in standard deviations of w.
        component: The component that it moves, from 0; None for the global or all latents.
    """
    amounts_B = np.full(len(latents), amount)
    w_BxKxLxD = direction.moved(latents.w_BxKxLxD, amounts_B, component, latents.words)
    edited = dataclasses.replace(latents, w_BxKxLxD=w_BxKxLxD)
    words = f"{direction.name} {amount:+g}"
    if component is not None and component_name(component) != direction.latent:
        words = f"{component_name(component)}: {words}"
    return LatentEdit(edited, component, words, [{}] * len(latents))


def move_place(
    latents: ImageLatents, component: int, move: tuple[float, float], size: tuple[int, int]
) -> LatentEdit:
    """Move the place of a component in all images, for generators with `attention.places`.

    Args:
        latents: Latents of the images.
        component: Number of the component, from 0.
        move: Rows and columns, in fractions of the height and the width.
        size: Height and width of the images.
    """
    rows, columns = (2 * part * side / max(size) for part, side in zip(move, size, strict=True))
    words = f"move {component_name(component)} {move[0]:g} {move[1]:g}"
    edited = latents.moved(component, columns, rows)
    return LatentEdit(edited, component, words, [{}] * len(latents))


def change_region(
    context: FigureContext,
    component: int,
    directions: Mapping[str, Direction],
    targets: Mapping[str, float],
    *,
    relative: bool,
    limit: float,
    layer: int | None = None,
) -> LatentEdit:
    """Change properties of a component's region, as `target_change` does.

    Images where the component has no region stay as they are.

    Args:
        context: The generator and the images.
        component: Number of the component, from 0.
        directions: Directions of the component, by property.
        targets: New value of each property to change or, if `relative`, the amount to add to it.
        relative: Whether targets are amounts to add.
        limit: Longest change, in standard deviations of w; longer ones are shortened.
        layer: Attention layer of the regions, from 0; by default the last.

    Raises:
        UserError: If a property has no direction.
    """
    _need_directions(directions, component, targets)
    now_BxA = _properties(context, component, layer, list(targets))
    goals_A = np.array(list(targets.values()), np.float64)
    targets_BxA = np.where(np.isnan(now_BxA), 0, goals_A - (0 if relative else now_BxA))
    change = target_change(directions, list(targets), targets_BxA, limit)
    w_BxKxLxD = context.latents.w_BxKxLxD.copy()
    w_BxKxLxD[:, component] += change.changes_BxD[:, None]
    edited = dataclasses.replace(context.latents, w_BxKxLxD=w_BxKxLxD)
    values = " ".join(f"{value:g}" for value in targets.values())
    words = f"{'move' if relative else 'recolor'} {component_name(component)} {values}"
    return LatentEdit(edited, component, words, _facts(list(targets), targets_BxA, change))


def _need_directions(
    directions: Mapping[str, Direction], component: int, names: Iterable[str]
) -> None:
    """Raise `UserError` if a property has no direction."""
    missing = [name for name in names if name not in directions]
    if missing:
        raise UserError(
            f"there is no direction of {component_name(component)} {missing[0]}: run `directions` "
            "with more images, or edit another component"
        )


def _properties(
    context: FigureContext, component: int, layer: int | None, names: Sequence[str]
) -> Float[np.ndarray, "b a"]:
    """Return properties of a component's region in each image; NaN without a region."""
    properties_BxA = np.concatenate(
        [
            region_properties(some.made.images, region_of(some.made, component, layer))
            for some in context.batches()
        ]
    )
    every = property_names(context.config.image_channels)
    return properties_BxA[:, [every.index(name) for name in names]]


def _facts(
    names: Sequence[str], targets_BxA: Float[np.ndarray, "b a"], change: TargetChange
) -> list[dict[str, Any]]:
    """Return entries of each image's record about a change of properties."""
    rows = zip(targets_BxA.tolist(), change.lengths_B, change.shares_B, strict=True)
    return [
        {
            "target_change": dict(zip(names, target_A, strict=True)),
            "change_of_w": float(length * share),
            "share_made": float(share),
        }
        for target_A, length, share in rows
    ]


def region_of(
    made: Synthesized, component: int, layer: int | None = None
) -> Bool[np.ndarray, "b h w"]:
    """Return the pixels of each image that attend most to a component."""
    segments = component_regions(made, layer)
    assert segments is not None, "edits of components need attention"
    return segments == component


def _with_edit(known: Mapping[str, Any], words: str) -> dict[str, Any]:
    """Return the facts about an image with one more edit."""
    known = known if isinstance(known, dict) else {}  # of a file of another program
    earlier = known.get("edits")
    return {**known, "edits": [*(earlier if isinstance(earlier, list) else []), words]}


def of_component(directions: Mapping[str, Direction], component: int) -> dict[str, Direction]:
    """Return the directions of a component's region, by the property that each changes."""
    name = component_name(component)
    found = [direction for direction in directions.values() if direction.latent == name]
    return {direction.facts["property"]: direction for direction in found}


def describe_fit(directions: Mapping[str, Direction], names: Sequence[str]) -> str:
    """Return a line on how well w predicts properties of a component's region."""
    scores = [directions[name].facts["r2"] for name in names]
    text = ", ".join(f"{name} {score:.2f}" for name, score in zip(names, scores, strict=True))
    text = f"R2 of the directions on held-out images: {text}"
    weak = min(scores) < WEAK_R2
    return f"{text}; below {WEAK_R2} expect little effect" if weak else text
