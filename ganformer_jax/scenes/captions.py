"""Captions of scenes: the number of objects, and a description of one or two of them.

For example "three objects, a large red metal cube behind a small blue rubber sphere".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ganformer_jax.scenes.layout import COLORS, MATERIALS, SHAPES, SIZES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float, Int

COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
RELATIONS = ("left of", "right of", "in front of", "behind")
"""Positions of one object relative to another, as seen by the camera."""
DEPTH_SCALE = 16.0
"""Difference in depth, in world units, that counts as much as the width of the image when a
relation is chosen."""
HELD_OUT_PAIRS = (("red", "cube"), ("blue", "sphere"), ("green", "cylinder"), ("yellow", "cube"))
"""Pairs of a color and a shape that may be held out; each of them occurs in other pairs too."""


class SceneObjects(NamedTuple):
    """The Q objects of a scene, as stored in a dataset."""

    shape_Q: Int[np.ndarray, " q"]
    size_Q: Int[np.ndarray, " q"]
    material_Q: Int[np.ndarray, " q"]
    color_Q: Int[np.ndarray, " q"]
    pixel_position_Qx3: Float[np.ndarray, "q 3"]
    """Column, row and depth."""


def scene_objects(objects: Mapping[str, np.ndarray]) -> SceneObjects:
    """Return the objects of a stored scene."""
    names = ("shape", "size", "material", "colour", "pixel_position")
    return SceneObjects(*(np.asarray(objects[name]) for name in names))


def object_words(objects: SceneObjects, number: int) -> str:
    """Describe one object: "a large red metal cube"."""
    size, color = SIZES[objects.size_Q[number]], COLORS[objects.color_Q[number]]
    material, shape = MATERIALS[objects.material_Q[number]], SHAPES[objects.shape_Q[number]]
    return f"a {size} {color} {material} {shape}"


def relation(objects: SceneObjects, one: int, other: int, resolution: int) -> str:
    """Return the position of one object relative to another: to a side, in front or behind.

    It is chosen by the larger difference: of columns, as a share of the image's width, or of depth.

    Args:
        objects: Objects of the scene.
        one: Index of an object.
        other: Index of the object that it is compared with.
        resolution: Width of the image in pixels, which positions are given in.
    """
    column, _, depth = objects.pixel_position_Qx3[one] - objects.pixel_position_Qx3[other]
    aside, away = column / resolution, depth / DEPTH_SCALE
    if abs(aside) >= abs(away):
        return RELATIONS[int(aside > 0)]
    return RELATIONS[2 + int(away > 0)]


def described(objects: SceneObjects, index: int) -> list[int]:
    """Return the indices of the objects that the caption of a scene describes, at most two."""
    return np.random.default_rng(index).permutation(len(objects.shape_Q))[:2].tolist()


def held_out(objects: SceneObjects, index: int) -> bool:
    """Return whether the caption of a scene contains one of `HELD_OUT_PAIRS`."""
    pairs = {
        (COLORS[objects.color_Q[number]], SHAPES[objects.shape_Q[number]])
        for number in described(objects, index)
    }
    return not pairs.isdisjoint(HELD_OUT_PAIRS)


def caption(objects: SceneObjects, index: int, resolution: int) -> str:
    """Describe a scene: the number of objects, and two of them, or the only one.

    Args:
        objects: Objects of the scene.
        index: Index of the scene, which determines the described objects and their order.
        resolution: Width of the image.
    """
    count = len(objects.shape_Q)
    text = f"{COUNTS[count]} object{'s' * (count != 1)}"
    if not count:
        return text
    chosen = described(objects, index)
    text += f", {object_words(objects, chosen[0])}"
    if len(chosen) < 2:
        return text
    one, other = chosen
    where = relation(objects, one, other, resolution)
    return f"{text} {where} {object_words(objects, other)}"


FACTS = (
    *(f"objects {count}" for count in COUNTS),
    *(f"first {word}" for word in (*SIZES, *COLORS, *MATERIALS, *SHAPES)),
    *RELATIONS,
    *(f"second {word}" for word in (*SIZES, *COLORS, *MATERIALS, *SHAPES)),
)
"""Statements that a caption may contain; `facts` has a number for each."""


def facts(objects: SceneObjects, index: int, resolution: int) -> Float[np.ndarray, " y"]:
    """Return, for each of `FACTS`, 1 if the caption of a scene states it, else 0."""
    said = {f"objects {COUNTS[len(objects.shape_Q)]}"}
    chosen = described(objects, index)
    for place, number in zip(("first", "second"), chosen, strict=False):
        said |= {f"{place} {word}" for word in object_words(objects, number).split()[1:]}
    if len(chosen) == 2:
        said.add(relation(objects, chosen[0], chosen[1], resolution))
    return np.array([name in said for name in FACTS], np.float32)


def longest_caption() -> str:
    """Return a caption with the largest possible number of words."""
    thing = " ".join(("a", SIZES[0], COLORS[0], MATERIALS[0], SHAPES[0]))
    where = max(RELATIONS, key=lambda words: len(words.split()))
    return f"{COUNTS[2]} objects, {thing} {where} {thing}"


def vocabulary() -> tuple[str, ...]:
    """Return all words of captions, and the comma, in a fixed order."""
    places = dict.fromkeys(word for words in RELATIONS for word in words.split())
    return (*COUNTS, "object", "objects", ",", "a", *SIZES, *COLORS, *MATERIALS, *SHAPES, *places)
