"""Random layouts of simple solids on a ground plane, the camera, and the ground truth.

The scenes follow CLEVR (Johnson et al., arXiv 1612.06890): cubes, spheres and cylinders in two
sizes, two materials and eight colors stand on the ground without touching, and are seen by a
slightly jittered camera under a slightly jittered lamp. A `Variant` sets the number and size of the
objects, and whether the ground has a pattern. A scene is a pytree of small arrays padded to the
largest number of objects, so sampling can be jitted and vmapped; `ganformer_jax.scenes.rendering`
renders it.

World coordinates are right-handed with z up and the ground at z = 0. The unit is arbitrary: a large
sphere has radius 0.68.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from ganformer_jax.random_keys import seeded_key

SHAPES = ("cube", "sphere", "cylinder")
SIZES = ("small", "large")
MATERIALS = ("rubber", "metal")
COLORS = ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow")
OBJECT_ATTRIBUTES = {"shape": SHAPES, "size": SIZES, "material": MATERIALS, "color": COLORS}
"""Attributes of an object, and the names of their classes."""
IMAGE_ATTRIBUTES = (
    "objects",
    *(f"{name} {label}" for name, labels in OBJECT_ATTRIBUTES.items() for label in labels),
    "mean row",
    "mean column",
    "foreground",
)
"""Attributes of an image: the number of objects, in total and per class, the mean position of their
pixels, and the fraction of the image that they cover."""

# sRGB values of CLEVR's eight colors, 0..255.
COLOR_VALUES = (
    (87, 87, 87),
    (173, 35, 35),
    (42, 75, 215),
    (29, 105, 20),
    (129, 74, 25),
    (129, 38, 192),
    (41, 208, 208),
    (255, 238, 51),
)

PATTERNS = ("plain", "checks", "stripes")
"""Patterns of the ground."""
CUBE_HALF_SIDE = 0.76  # half the side of a cube, over the radius of a sphere of the same size
# A cube extends to half_side * sqrt(2) along its diagonal; all shapes keep that distance.
FOOTPRINT = CUBE_HALF_SIDE * 2**0.5
GAP = 0.14  # smallest distance between two footprints

CAMERA_DISTANCE = 10.5
CAMERA_ELEVATION = 0.56  # radians above the horizon
CAMERA_TARGET = (0.0, 0.0, 0.28)
CAMERA_JITTER = 0.06  # largest change of azimuth and elevation, radians
FIELD_OF_VIEW = 0.56  # radians, across the whole (square) image
HALF_WIDTH = math.tan(FIELD_OF_VIEW / 2)  # half the width of the image plane at unit depth
LAMP_POSITION = (-4.6, -3.4, 8.6)
LAMP_JITTER = 0.9
FRAME = 0.95  # objects stay within this fraction of the image, measured from its center

ATTEMPTS = 4  # number of layouts that are tried for a scene

HELD_OUT_START = 2**31  # index of the first held-out scene, above every training index


@dataclasses.dataclass(frozen=True)
class Variant:
    """Distribution and appearance of scenes.

    Attributes:
        min_objects: Smallest number of objects.
        max_objects: Largest number of objects.
        radii: Radius of a sphere or cylinder, by size.
        layout_radius: Largest distance of an object from the world's origin.
        proposals: Number of positions that are tried for an object.
        patterned: Whether the ground has one of `PATTERNS` in two random colors.
        drawn: Whether images are drawings (`drawing.draw`) instead of renderings.
    """

    min_objects: int = 2
    max_objects: int = 6
    radii: tuple[float, float] = (0.40, 0.68)
    layout_radius: float = 2.5
    proposals: int = 48
    patterned: bool = False
    drawn: bool = False


STANDARD = Variant()
VARIANTS = {
    "scenes": STANDARD,
    "scenes_hard": Variant(
        min_objects=3,
        max_objects=10,
        radii=(0.32, 0.56),
        layout_radius=2.9,
        proposals=96,
        patterned=True,
    ),
    "scenes_drawn": Variant(drawn=True),
}
"""Variants by the name of their dataset."""


class Ground(NamedTuple):
    """The pattern of a scene's ground."""

    pattern: Int[Array, "..."]  # id into `PATTERNS`
    colors: Float[Array, "... 2 3"]  # linear; a plain ground has the first
    scale: Float[Array, "..."]  # width of a check or stripe in world units
    rotation: Float[Array, "..."]  # radians about the vertical axis


class Scene(NamedTuple):
    """One scene, padded to the variant's `max_objects`; the present objects come first."""

    present: Bool[Array, "... q"]  # which slots hold an object
    shape: Int[Array, "... q"]  # class ids into `SHAPES`, and so on
    size: Int[Array, "... q"]
    material: Int[Array, "... q"]
    color: Int[Array, "... q"]
    position: Float[Array, "... q 3"]  # centers in world units; objects rest on the ground
    rotation: Float[Array, "... q"]  # radians about the vertical axis, in [0, pi/2)
    camera_position: Float[Array, "... 3"]  # the camera looks at `CAMERA_TARGET`
    lamp_position: Float[Array, "... 3"]  # center of the lamp
    radii: Float[Array, "... 2"]  # of the variant
    ground: Ground | None = None  # None for the standard gray


class SceneLabels(NamedTuple):
    """Scenes and their ground truth."""

    images: UInt8[np.ndarray, "b h w 3"]
    masks: UInt8[np.ndarray, "b h w"]  # 0 for the ground, i for object i
    classes: Int[np.ndarray, "b q a"]  # class ids of object i in row i - 1; 0 if there is none


def scene_key(seed: int | Int[Array, ""], index: int | Int[Array, ""]) -> Key[Array, ""]:
    """Return the random key of scene `index`, 0 <= index < 2**32, for a seed."""
    return jax.random.fold_in(seeded_key(seed), index)


def sample_scene(key: Key[Array, ""], variant: Variant = STANDARD) -> Scene:
    """Draw one scene; the function can be jitted and vmapped.

    The number of objects, between the variant's limits, and all attributes are uniform and
    independent, except that an object without a free position is left out (in well under one
    standard scene in a thousand). Large objects are placed first, so that fewer are left out.
    """
    keys = jax.random.split(key, 8)
    slots = (variant.max_objects,)
    count = jax.random.randint(keys[0], (), variant.min_objects, variant.max_objects + 1)
    present = jnp.arange(variant.max_objects) < count
    size = jax.random.randint(keys[1], slots, 0, len(SIZES))
    size = jnp.maximum(-jnp.sort(-jnp.where(present, size, -1)), 0)
    shape = jax.random.randint(keys[2], slots, 0, len(SHAPES))
    camera_position = _sample_camera(keys[3])
    lamp_offset = jax.random.uniform(keys[4], (3,), minval=-LAMP_JITTER, maxval=LAMP_JITTER)

    attempts = jax.random.split(keys[5], ATTEMPTS)
    place = jax.vmap(functools.partial(_place_objects, variant), in_axes=(0, None, None, None))
    radii = jnp.array(variant.radii)
    ground_BxQx2, placed_BxQ = place(attempts, radii[size], present, camera_position)
    chosen = jnp.argmax(placed_BxQ.sum(axis=1))  # the first complete layout, or the fullest
    height = radii[size] * jnp.where(shape == SHAPES.index("cube"), CUBE_HALF_SIDE, 1.0)
    position_Qx3 = jnp.concatenate([ground_BxQx2[chosen], height[:, None]], axis=1)

    material_key, color_key = jax.random.split(keys[6])
    ground_key = jax.random.fold_in(key, len(keys))  # fold_in(key, i) may equal keys[i] for i < 8
    placed = placed_BxQ[chosen] & present
    order = jnp.argsort(~placed, stable=True)
    return Scene(
        present=placed[order],
        shape=shape[order],
        size=size[order],
        material=jax.random.randint(material_key, slots, 0, len(MATERIALS)),
        color=jax.random.randint(color_key, slots, 0, len(COLORS)),
        position=position_Qx3[order],
        rotation=jax.random.uniform(keys[7], slots, maxval=jnp.pi / 2),
        camera_position=camera_position,
        lamp_position=jnp.array(LAMP_POSITION) + lamp_offset,
        radii=radii,
        ground=_sample_ground(ground_key) if variant.patterned else None,
    )


def _sample_ground(key: Array) -> Ground:
    """Draw a pattern in two shades of gray, each with its own faint tint."""
    keys = jax.random.split(key, 5)
    shades_2 = jax.random.uniform(keys[1], (2, 1), minval=0.15, maxval=0.6)
    tints_2x3 = jax.random.uniform(keys[2], (2, 3), minval=0.75, maxval=1.25)
    return Ground(
        pattern=jax.random.randint(keys[0], (), 0, len(PATTERNS)),
        colors=shades_2 * tints_2x3,
        scale=jax.random.uniform(keys[3], (), minval=0.6, maxval=1.6),
        rotation=jax.random.uniform(keys[4], (), maxval=jnp.pi),
    )


def camera_axes(camera_position: Float[Array, "3"]) -> Float[Array, "3 3"]:
    """Return the camera's unit vectors right, up and forward, as rows in world coordinates."""
    forward = jnp.array(CAMERA_TARGET) - camera_position
    forward = forward / jnp.linalg.norm(forward)
    right = jnp.cross(forward, jnp.array([0.0, 0.0, 1.0]))
    right = right / jnp.linalg.norm(right)
    return jnp.stack([right, jnp.cross(right, forward), forward])


def project(
    points_Px3: Float[Array, "p 3"], camera_position: Float[Array, "3"], resolution: int
) -> Float[Array, "p 3"]:
    """Project world points to (column, row, depth).

    Columns and rows are in pixels of a square image, from the top left corner (the center of the
    first pixel is at 0.5, 0.5); depth is the distance along the viewing axis in world units.
    """
    frame_Px3 = _project_to_frame(points_Px3, camera_position)
    pixels_Px2 = (frame_Px3[:, :2] * jnp.array([[1.0, -1.0]]) + 1.0) * (resolution / 2)
    return jnp.concatenate([pixels_Px2, frame_Px3[:, 2:]], axis=1)


def _project_to_frame(points_Px3: Array, camera_position: Array) -> Array:
    """Project to (right, up, depth), the first two in [-1, 1] inside the image."""
    axes = camera_axes(camera_position)
    local_Px3 = jnp.einsum("nc,dc->nd", points_Px3 - camera_position[None], axes)
    depth_Px1 = local_Px3[:, 2:]
    return jnp.concatenate([local_Px3[:, :2] / (depth_Px1 * HALF_WIDTH), depth_Px1], axis=1)


def _sample_camera(key: Array) -> Array:
    """Draw a camera position [3] near the standard one; its azimuth is centered on -y."""
    azimuth, elevation = jax.random.uniform(key, (2,), minval=-CAMERA_JITTER, maxval=CAMERA_JITTER)
    elevation = CAMERA_ELEVATION + elevation
    x, y = jnp.sin(azimuth) * jnp.cos(elevation), -jnp.cos(azimuth) * jnp.cos(elevation)
    return jnp.array(CAMERA_TARGET) + CAMERA_DISTANCE * jnp.stack([x, y, jnp.sin(elevation)])


def _place_objects(
    variant: Variant, key: Array, radius_Q: Array, present_Q: Array, camera_position: Array
) -> tuple[Array, Array]:
    """Place the objects one after another, each at its first free proposal.

    Returns:
        Ground positions [Q, 2], and bool [Q], which is False for objects without a free proposal.
    """
    angle_key, distance_key = jax.random.split(key)
    count = variant.max_objects
    grid = (count, variant.proposals)
    angle_QxP = jax.random.uniform(angle_key, grid, maxval=2 * jnp.pi)
    distance_QxP = variant.layout_radius * jnp.sqrt(jax.random.uniform(distance_key, grid))
    ground_QxPx2 = jnp.stack([jnp.cos(angle_QxP), jnp.sin(angle_QxP)], -1) * distance_QxP[..., None]
    radius_QxP = jnp.broadcast_to(radius_Q[:, None], grid)
    centers = jnp.concatenate([ground_QxPx2, radius_QxP[..., None]], axis=-1).reshape(-1, 3)
    frame_QxPx3 = _project_to_frame(centers, camera_position).reshape(*grid, 3)
    apparent_QxP = radius_QxP / (frame_QxPx3[..., 2] * HALF_WIDTH)
    inside_QxP = jnp.all(jnp.abs(frame_QxPx3[..., :2]) + 1.25 * apparent_QxP[..., None] < FRAME, -1)

    state = (jnp.zeros((count, 2)), jnp.zeros((count, 3)), jnp.zeros(count, bool))
    for slot in range(count):
        ground_Qx2, frame_Qx3, used_Q = state
        apart_PxQ = _distance(ground_QxPx2[slot], ground_Qx2)
        clear_PxQ = apart_PxQ > FOOTPRINT * (radius_Q[slot] + radius_Q[None]) + GAP
        # In the image, an object's center stays outside other outlines, so each is mostly visible.
        apparent_Q = radius_Q / (jnp.maximum(frame_Qx3[:, 2], 1.0) * HALF_WIDTH)
        seen_PxQ = _distance(frame_QxPx3[slot, :, :2], frame_Qx3[:, :2]) > 1.2 * jnp.maximum(
            apparent_QxP[slot][:, None], apparent_Q[None]
        )
        free_P = inside_QxP[slot] & jnp.all(clear_PxQ & seen_PxQ | ~used_Q[None], axis=1)
        pick = jnp.argmax(free_P)
        state = (
            ground_Qx2.at[slot].set(ground_QxPx2[slot, pick]),
            frame_Qx3.at[slot].set(frame_QxPx3[slot, pick]),
            used_Q.at[slot].set(free_P[pick] & present_Q[slot]),
        )
    return state[0], state[2] | ~present_Q


def _distance(a_Px2: Array, b_Qx2: Array) -> Array:
    """Return Euclidean distances [P, Q] between two sets of points in the plane."""
    return jnp.linalg.norm(a_Px2[:, None] - b_Qx2[None], axis=-1)


def image_attributes(
    objects_HxW: Int[np.ndarray, "h w"], classes_QxA: Int[np.ndarray, "q a"]
) -> Float[np.ndarray, " a"]:
    """Return `IMAGE_ATTRIBUTES`, given a mask and class ids; only visible objects count."""
    visible = np.unique(objects_HxW[objects_HxW > 0])
    counts = [
        np.bincount(classes_QxA[visible - 1, column], minlength=len(labels))
        for column, labels in enumerate(OBJECT_ATTRIBUTES.values())
    ]
    pixels_Px2 = np.argwhere(objects_HxW > 0)
    position = (pixels_Px2.mean(0) + 0.5) / objects_HxW.shape if len(pixels_Px2) else (0.5, 0.5)
    covered = len(pixels_Px2) / objects_HxW.size
    return np.array([len(visible), *np.concatenate(counts), *position, covered], np.float32)
