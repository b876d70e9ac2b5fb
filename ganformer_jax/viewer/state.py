"""The state of the viewer, from which an image is made; the page sends it as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np

from ganformer_jax.errors import UserError, did_you_mean

MAX_SEED = 2**32 - 1
MAX_PSI = 2.0
MAX_SHIFT = 2.0
EditKind = Literal["swap", "remove", "interpolate", "move"]
Noise = Literal["const", "random", "none"]
Label = int | tuple[float, ...] | None
GLOBAL, ALL = "global", "all"
Target = int | Literal["global", "all"]
"""Latents that an edit changes: a component, counted from 0, the global latent, or all."""


@dataclasses.dataclass(frozen=True)
class Labels:
    """The labels that a generator takes.

    Attributes:
        kind: Whether it was trained on classes, on conditions, or without labels.
        names: Of the classes, or of the numbers of a condition.
        start: Label to start with.
    """

    kind: Literal["none", "classes", "conditions"] = "none"
    names: tuple[str, ...] = ()
    start: Label = None


@dataclasses.dataclass(frozen=True)
class ViewedEdit:
    """A change of the latents.

    Attributes:
        component: What is changed.
        kind: "swap" takes the latents of another seed, "interpolate" moves toward them, "remove"
            hides a component from attention, "move" moves its place.
        seed: The other seed, for "swap" and "interpolate".
        t: Position of an interpolation, from 0 to 1, the other seed's latents.
        x: How far to move a place to the right, from -2 to 2; the longer side of the image is 2.
        y: How far down.
    """

    component: Target
    kind: EditKind
    seed: int = 0
    t: float = 1.0
    x: float = 0.0
    y: float = 0.0


@dataclasses.dataclass(frozen=True)
class State:
    """All inputs of an image, and the attention layer to show.

    Attributes:
        seed: Seed of the unedited image, and of its noise.
        psi: Truncation psi, for the latents of other seeds too.
        label: Class number or condition, for the latents of other seeds too; None without labels.
        noise: Noise in the synthesis network.
        edits: Changes of the latents, in this order.
        layer: Attention layer, from 0; None for the last.
    """

    seed: int = 0
    psi: float = 0.7
    label: Label = None
    noise: Noise = "const"
    edits: tuple[ViewedEdit, ...] = ()
    layer: int | None = None


def parse_state(
    data: object, labels: Labels, components: int, layers: int, places: bool = False
) -> State:
    """Check a state received from the page; missing fields have their defaults.

    Args:
        data: Decoded JSON: an object with the fields of `State`.
        labels: Labels of the generator.
        components: Number of components that images attend to.
        layers: Number of attention layers.
        places: Whether components have places, which can be moved, and of which all can be removed.

    Raises:
        UserError: If there is an unknown field, or a value is not of its type or range.
    """
    given = _fields(data, "the state", State)
    layer = given.get("layer")
    return State(
        _integer(given.get("seed", 0), "seed", MAX_SEED),
        _number(given.get("psi", State.psi), "psi", -MAX_PSI, MAX_PSI),
        _label(given.get("label"), labels),
        _choice(given.get("noise", State.noise), "noise", get_args(Noise)),
        _edits(given.get("edits", []), components, places),
        None if layer is None else _integer(layer, "layer", layers - 1),
    )


def _edits(given: object, components: int, places: bool) -> tuple[ViewedEdit, ...]:
    most = 3 * components + 4  # the page sends three of a component at most
    if not isinstance(given, list) or len(given) > most:
        raise UserError(f"edits must be a list of at most {most}")
    edits = tuple(_edit(one, components, places) for one in given)
    removed = {edit.component for edit in edits if edit.kind == "remove"}
    if removed and len(removed) >= components and not places:
        raise UserError("edits remove all components: leave one")
    return edits


def _edit(given: object, components: int, places: bool) -> ViewedEdit:
    fields = _fields(given, "an edit", ViewedEdit)
    kind = _choice(fields.get("kind"), "kind of an edit", get_args(EditKind))
    component = fields.get("component")
    if component not in (GLOBAL, ALL):
        if not components:
            raise UserError('component must be "global" or "all": images attend to no components')
        component = _integer(component, 'component ("global" and "all" too)', components - 1)
    elif kind in ("remove", "move"):
        raise UserError(f"only components can be {kind}d")
    if kind == "move":
        if not places:
            raise UserError("components of this generator have no places to move")
        x, y = (_number(fields.get(name, 0), name, -MAX_SHIFT, MAX_SHIFT) for name in "xy")
        return ViewedEdit(component, kind, x=x, y=y)
    seed, t = 0, 1.0
    if kind != "remove":
        seed = _integer(fields.get("seed"), "seed of an edit", MAX_SEED)
    if kind == "interpolate":
        t = _number(fields.get("t"), "t", 0, 1)
    return ViewedEdit(component, kind, seed, t)


def _fields(given: object, what: str, kind: type) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise UserError(f"{what} must be a JSON object")
    known = [field.name for field in dataclasses.fields(kind)]
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known) or f"; known are {', '.join(known)}"
            raise UserError(f"{what} has an unknown field {str(name)[:40]!r}{hint}")
    return given


def _label(given: object, labels: Labels) -> Label:
    if given is None:
        return labels.start
    if labels.kind == "none":
        raise UserError("label: the generator takes none")
    if labels.kind == "classes":
        return _integer(given, "label", len(labels.names) - 1)
    if not isinstance(given, list) or len(given) != len(labels.names):
        raise UserError(f"label must be a list of {len(labels.names)} numbers")
    most = float(np.finfo(np.float32).max)
    return tuple(_number(number, "a number of label", -most, most) for number in given)


def _integer(given: object, name: str, most: int) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= most:
        limits = f"a whole number from 0 to {most}" if most >= 0 else "left out"
        raise UserError(f"{name} must be {limits}")
    return given


def _number(given: object, name: str, least: float, most: float) -> float:
    if isinstance(given, int | float) and not isinstance(given, bool) and least <= given <= most:
        return float(given)  # and not NaN
    raise UserError(f"{name} must be a number from {least:g} to {most:g}")


def _choice(given: object, name: str, known: tuple[Any, ...]) -> Any:
    if not isinstance(given, str) or given not in known:
        raise UserError(f"{name} must be one of {', '.join(known)}")
    return given
