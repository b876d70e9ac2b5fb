"""Random scenes of simple solids on a ground plane: what is where, before any pixel is drawn.

The scenes follow CLEVR (Johnson et al., arXiv 1612.06890): two to six objects, each a cube, a
sphere or a cylinder, in two sizes, two materials and eight colors, standing on the ground
without touching, seen by a slightly jittered camera under a slightly jittered lamp. A scene is a
pytree of small arrays padded to ``MAX_OBJECTS``, so sampling can be jitted and vmapped;
``ganformer_jax.scenes.rendering`` turns it into pixels.

World coordinates are right-handed with ``z`` up and the ground at ``z = 0``; the unit is
arbitrary (a large sphere has radius 0.68).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

SHAPES = ("cube", "sphere", "cylinder")
SIZES = ("small", "large")
MATERIALS = ("rubber", "metal")
COLORS = ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow")

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

MIN_OBJECTS, MAX_OBJECTS = 2, 6
RADII = (0.40, 0.68)  # radius of a sphere or cylinder, by size
CUBE_HALF_SIDE = 0.76  # half the side of a cube over the radius of the sphere of the same size
# A cube reaches half_side * sqrt(2) along its diagonal; every shape keeps that much room.
FOOTPRINT = CUBE_HALF_SIDE * 2**0.5
GAP = 0.14  # least free ground between two footprints
LAYOUT_RADIUS = 2.5  # objects stand within this distance of the world's origin

CAMERA_DISTANCE = 10.5
CAMERA_ELEVATION = 0.56  # radians above the horizon
CAMERA_TARGET = (0.0, 0.0, 0.28)
CAMERA_JITTER = 0.06  # radians of azimuth and elevation, either way
FIELD_OF_VIEW = 0.56  # radians, across the whole (square) image
HALF_WIDTH = math.tan(FIELD_OF_VIEW / 2)  # half the width of the image plane at unit depth
LAMP_POSITION = (-4.6, -3.4, 8.6)
LAMP_JITTER = 0.9
FRAME = 0.95  # objects stay within this fraction of the half image

ATTEMPTS = 4  # whole layouts tried a scene
PROPOSALS = 48  # places tried an object

# Held-out scenes are numbered from here, far from any training index.
HELD_OUT_START = 2**31


class Scene(NamedTuple):
    """One scene, padded to ``MAX_OBJECTS`` objects; the present ones come first.

    Attributes:
        present: Which slots hold an object.
        shape: Class ids into ``SHAPES``.
        size: Class ids into ``SIZES``.
        material: Class ids into ``MATERIALS``.
        color: Class ids into ``COLORS``.
        position: Centers of the objects in world units; they rest on the ground.
        rotation: Radians about the vertical axis, in [0, pi/2).
        camera_position: Where the camera is; it looks at ``CAMERA_TARGET``.
        lamp_position: Center of the key light.
    """

    present: Bool[Array, "*batch objects"]
    shape: Int[Array, "*batch objects"]
    size: Int[Array, "*batch objects"]
    material: Int[Array, "*batch objects"]
    color: Int[Array, "*batch objects"]
    position: Float[Array, "*batch objects 3"]
    rotation: Float[Array, "*batch objects"]
    camera_position: Float[Array, "*batch 3"]
    lamp_position: Float[Array, "*batch 3"]


def scene_key(seed: int | Int[Array, ""], index: int | Int[Array, ""]) -> Key[Array, ""]:
    """The random key of scene ``index`` (0 <= index < 2**32) in the world of ``seed``."""
    return jax.random.fold_in(jax.random.key(seed), index)


def sample_scene(key: Key[Array, ""]) -> Scene:
    """Draws one scene; traceable, so it can be jitted and vmapped.

    The number of objects is uniform on 2..6 and every attribute uniform and independent, except
    that an object is left out in the rare case (well under one scene in a thousand) where no
    room was found for it. Large objects are listed first, which makes room easier to find.
    """
    keys = jax.random.split(key, 8)
    slots = (MAX_OBJECTS,)
    count = jax.random.randint(keys[0], (), MIN_OBJECTS, MAX_OBJECTS + 1)
    present = jnp.arange(MAX_OBJECTS) < count
    size = jax.random.randint(keys[1], slots, 0, len(SIZES))
    size = jnp.maximum(-jnp.sort(-jnp.where(present, size, -1)), 0)
    shape = jax.random.randint(keys[2], slots, 0, len(SHAPES))
    camera_position = _sample_camera(keys[3])
    lamp_offset = jax.random.uniform(keys[4], (3,), minval=-LAMP_JITTER, maxval=LAMP_JITTER)

    attempts = jax.random.split(keys[5], ATTEMPTS)
    place = jax.vmap(_place_objects, in_axes=(0, None, None, None))
    ground_AxNx2, placed_AxN = place(attempts, radius_of(size), present, camera_position)
    chosen = jnp.argmax(placed_AxN.sum(axis=1))  # the first complete layout, or the fullest
    height = radius_of(size) * jnp.where(shape == SHAPES.index("cube"), CUBE_HALF_SIDE, 1.0)
    position_Nx3 = jnp.concatenate([ground_AxNx2[chosen], height[:, None]], axis=1)

    material_key, color_key = jax.random.split(keys[6])
    placed = placed_AxN[chosen] & present
    order = jnp.argsort(~placed, stable=True)
    return Scene(
        present=placed[order],
        shape=shape[order],
        size=size[order],
        material=jax.random.randint(material_key, slots, 0, len(MATERIALS)),
        color=jax.random.randint(color_key, slots, 0, len(COLORS)),
        position=position_Nx3[order],
        rotation=jax.random.uniform(keys[7], slots, maxval=jnp.pi / 2),
        camera_position=camera_position,
        lamp_position=jnp.array(LAMP_POSITION) + lamp_offset,
    )


def radius_of(size: Int[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Radius in world units of the sphere or cylinder of each size id."""
    return jnp.array(RADII)[size]


def camera_axes(camera_position: Float[Array, "3"]) -> Float[Array, "3 3"]:
    """Unit vectors to the right, up and forward of the camera, as rows, in world coordinates."""
    forward = jnp.array(CAMERA_TARGET) - camera_position
    forward = forward / jnp.linalg.norm(forward)
    right = jnp.cross(forward, jnp.array([0.0, 0.0, 1.0]))
    right = right / jnp.linalg.norm(right)
    return jnp.stack([right, jnp.cross(right, forward), forward])


def project(
    points_Nx3: Float[Array, "N 3"], camera_position: Float[Array, "3"], resolution: int
) -> Float[Array, "N 3"]:
    """Projects world points to (column, row, depth).

    Columns and rows are in pixels of a ``resolution`` x ``resolution`` image, from the top left
    corner (the center of the first pixel is at 0.5, 0.5); depth is the distance along the
    viewing axis in world units.
    """
    frame_Nx3 = _project_to_frame(points_Nx3, camera_position)
    pixels_Nx2 = (frame_Nx3[:, :2] * jnp.array([[1.0, -1.0]]) + 1.0) * (resolution / 2)
    return jnp.concatenate([pixels_Nx2, frame_Nx3[:, 2:]], axis=1)


def _project_to_frame(points_Nx3: Array, camera_position: Array) -> Array:
    """Projects to (right, up, depth), the first two in [-1, 1] inside the image."""
    axes = camera_axes(camera_position)
    local_Nx3 = jnp.einsum("nc,dc->nd", points_Nx3 - camera_position[None], axes)
    depth_Nx1 = local_Nx3[:, 2:]
    return jnp.concatenate([local_Nx3[:, :2] / (depth_Nx1 * HALF_WIDTH), depth_Nx1], axis=1)


def _sample_camera(key: Array) -> Array:
    """A camera position [3] near the standard one; its azimuth is centered on -y."""
    azimuth, elevation = jax.random.uniform(key, (2,), minval=-CAMERA_JITTER, maxval=CAMERA_JITTER)
    elevation = CAMERA_ELEVATION + elevation
    direction = jnp.stack(
        [
            jnp.sin(azimuth) * jnp.cos(elevation),
            -jnp.cos(azimuth) * jnp.cos(elevation),
            jnp.sin(elevation),
        ]
    )
    return jnp.array(CAMERA_TARGET) + CAMERA_DISTANCE * direction


def _place_objects(
    key: Array, radius_N: Array, present_N: Array, camera_position: Array
) -> tuple[Array, Array]:
    """Finds room for the objects one after the other.

    Returns:
        Ground positions [N, 2], and [N] whether each object found a place (absent ones do).
    """
    angle_key, distance_key = jax.random.split(key)
    grid = (MAX_OBJECTS, PROPOSALS)
    angle_NxK = jax.random.uniform(angle_key, grid, maxval=2 * jnp.pi)
    distance_NxK = LAYOUT_RADIUS * jnp.sqrt(jax.random.uniform(distance_key, grid))
    ground_NxKx2 = jnp.stack([jnp.cos(angle_NxK), jnp.sin(angle_NxK)], -1) * distance_NxK[..., None]
    radius_NxK = jnp.broadcast_to(radius_N[:, None], grid)
    centers = jnp.concatenate([ground_NxKx2, radius_NxK[..., None]], axis=-1).reshape(-1, 3)
    frame_NxKx3 = _project_to_frame(centers, camera_position).reshape(*grid, 3)
    apparent_NxK = radius_NxK / (frame_NxKx3[..., 2] * HALF_WIDTH)
    inside_NxK = jnp.all(jnp.abs(frame_NxKx3[..., :2]) + 1.25 * apparent_NxK[..., None] < FRAME, -1)

    taken = (jnp.zeros((MAX_OBJECTS, 2)), jnp.zeros((MAX_OBJECTS, 3)), jnp.zeros(MAX_OBJECTS, bool))
    for slot in range(MAX_OBJECTS):
        ground_Nx2, frame_Nx3, used_N = taken
        apart_KxN = _distance(ground_NxKx2[slot], ground_Nx2)
        clear_KxN = apart_KxN > FOOTPRINT * (radius_N[slot] + radius_N[None]) + GAP
        # An object's center stays outside the larger one's outline, so each is mostly visible.
        apparent_N = radius_N / (jnp.maximum(frame_Nx3[:, 2], 1.0) * HALF_WIDTH)
        seen_KxN = _distance(frame_NxKx3[slot, :, :2], frame_Nx3[:, :2]) > 1.2 * jnp.maximum(
            apparent_NxK[slot][:, None], apparent_N[None]
        )
        free_K = inside_NxK[slot] & jnp.all(clear_KxN & seen_KxN | ~used_N[None], axis=1)
        pick = jnp.argmax(free_K)
        taken = (
            ground_Nx2.at[slot].set(ground_NxKx2[slot, pick]),
            frame_Nx3.at[slot].set(frame_NxKx3[slot, pick]),
            used_N.at[slot].set(free_K[pick] & present_N[slot]),
        )
    return taken[0], taken[2] | ~present_N


def _distance(a_Kx2: Array, b_Nx2: Array) -> Array:
    """Euclidean distances [K, N] between two sets of points in the plane."""
    return jnp.linalg.norm(a_Kx2[:, None] - b_Nx2[None], axis=-1)
