"""Analytic ray casting: the light that arrives along rays through a scene of solids.

Every solid is the intersection of a box and a quadric, so that one formula intersects rays with all
of them: a cube is a box inside a sphere, a sphere is itself inside its box, and a cylinder is an
infinite cylinder cut off by a box. Light comes from a lamp, a fill light and the walls of a room;
objects block the room's light near them, and metal reflects the scene once. Colors are linear.

Vectors have their coordinates on the first axis, [3, P], and scalars a first axis of length one,
[1, P], so that XLA vectorizes over the P pixels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ganformer_jax.scenes.layout import Ground

LAMP_STRENGTH = 1.22  # at LAMP_DISTANCE
LAMP_DISTANCE = 10.3
FILL_DIRECTION = (0.76, -0.46, 0.46)
FILL_STRENGTH = 0.2
ROOM_STRENGTH = 0.40
GROUND_ALBEDO = (0.44, 0.435, 0.43)
HORIZON = 60.0  # distance where the ground ends, world units
FAR = 1e9
OFFSET = 2e-3  # distance from the surface at which secondary rays start


class Solids(NamedTuple):
    """The objects of one scene in the form of the ray caster; the first axis is the object."""

    center: Array  # [Q, 3]
    cosine: Array  # [Q] of the rotation about the vertical axis
    sine: Array  # [Q]
    half: Array  # [Q, 3] half extents of the box; negative where there is no object
    quadric_radius: Array  # [Q]
    quadric_height: Array  # [Q] 1 for a sphere, 0 for an infinite vertical cylinder
    # For shading [Q, 13]: center (3), cosine, sine, half extent, bevel, whether it is a cube,
    # whether it is a sphere, linear color (3), whether it is metal.
    surface: Array
    ground: Ground | None = None


def radiance(
    solids: Solids, origin: Array, direction: Array, lamp: Array, bounces: int
) -> tuple[Array, Array]:
    """Trace rays through a scene.

    Args:
        solids: The Q objects.
        origin: Origins of the rays [3, P].
        direction: Unit vectors [3, P].
        lamp: Point of the lamp that lights the surface hit by each ray [3, P].
        bounces: Number of reflections in metal; the last one shows the empty room.

    Returns:
        Linear light [3, P] that arrives along the rays, and bool [Q, P], the object each ray hits.
    """
    near_QxP, far_QxP = _intersect(solids, origin, direction)
    distance_QxP = jnp.where((near_QxP < far_QxP) & (near_QxP > 0), near_QxP, FAR)
    falling = jnp.minimum(direction[2:], -1e-4)
    ground = jnp.where(direction[2:] < -1e-4, -origin[2:] / falling, FAR)
    nearest = jnp.min(distance_QxP, axis=0, keepdims=True)
    is_object = nearest < ground
    hit_QxP = (distance_QxP == nearest) & is_object
    distance = jnp.minimum(nearest, ground)
    point = origin + direction * jnp.minimum(distance, HORIZON)
    normal, color, is_metal = _surface(solids, point, hit_QxP, is_object)

    start = point + OFFSET * normal
    light = _diffuse(solids, start, normal, lamp, hit_QxP)
    matte = color * light["diffuse"]
    mirrored = normalize(direction - 2 * _dot(direction, normal) * normal)
    if bounces:
        reflected, _ = radiance(solids, start, mirrored, lamp, bounces - 1)
    else:
        reflected = _room(mirrored)
    fresnel = (1 - jnp.clip(-_dot(direction, normal), 0.0, 1.0)) ** 5
    tint = color + (1 - color) * fresnel
    glint = jnp.maximum(_dot(mirrored, normalize(lamp - start)), 0.0)
    metal = 0.14 * matte + 1.15 * tint * reflected + 1.4 * light["lamp"] * glint**64
    sheen = 0.05 * light["lamp"] * glint**16 + 0.03 * fresnel
    rubber = matte + jnp.where(is_object, sheen, 0.0)
    shaded = jnp.where(is_metal, metal, rubber)
    return jnp.where(distance < HORIZON, shaded, _room(direction)), hit_QxP


def _intersect(solids: Solids, origin: Array, direction: Array) -> tuple[Array, Array]:
    """Return distances [Q, P] at which rays enter and leave solids; entry > exit for a miss."""
    cosine, sine = solids.cosine[:, None], solids.sine[:, None]
    x, y, z = (origin[axis : axis + 1] - solids.center[:, axis, None] for axis in range(3))
    across, deep, along = direction[:1], direction[1:2], direction[2:]
    local = (cosine * x + sine * y, cosine * y - sine * x, z)
    heading = (cosine * across + sine * deep, cosine * deep - sine * across, along)
    near, far = -FAR, FAR
    for axis in range(3):
        inverse = 1 / jnp.where(jnp.abs(heading[axis]) < 1e-6, 1e-6, heading[axis])
        middle, reach = -local[axis] * inverse, jnp.abs(inverse) * solids.half[:, axis, None]
        near, far = jnp.maximum(near, middle - reach), jnp.minimum(far, middle + reach)

    height = solids.quadric_height[:, None]
    a = across**2 + deep**2 + height * along**2
    b = local[0] * heading[0] + local[1] * heading[1] + height * z * along
    c = local[0] ** 2 + local[1] ** 2 + height * z**2 - solids.quadric_radius[:, None] ** 2
    discriminant = b**2 - a * c
    root = jnp.sqrt(jnp.maximum(discriminant, 0.0))
    inverse = 1 / jnp.maximum(a, 1e-6)
    near = jnp.where(discriminant > 0, jnp.maximum(near, (-b - root) * inverse), FAR)
    return near, jnp.minimum(far, (root - b) * inverse)


def _surface(solids: Solids, point, hit_QxP, is_object) -> tuple[Array, Array, Array]:
    """Return normals [3, P], linear colors [3, P] and whether it is metal [1, P] at hit points."""
    table = jnp.einsum("nk,np->kp", solids.surface, hit_QxP.astype(jnp.float32))
    cosine, sine, half, bevel, cube, sphere = table[3:9]
    x, y, z = (point[axis] - table[axis] for axis in range(3))
    x, y = cosine * x + sine * y, cosine * y - sine * x
    # Rounded edges: the normal turns only within the bevel of an edge.
    inner = half - bevel
    reach = jnp.sqrt(x**2 + y**2 + 1e-9)
    rim = jnp.maximum(reach - inner, 0.0) / reach
    edge = tuple(jnp.sign(v) * jnp.maximum(jnp.abs(v) - inner, 0.0) for v in (x, y, z))
    nx = jnp.where(sphere > 0, x, jnp.where(cube > 0, edge[0], x * rim))
    ny = jnp.where(sphere > 0, y, jnp.where(cube > 0, edge[1], y * rim))
    nz = jnp.where(sphere > 0, z, jnp.maximum(edge[2], 0.0))  # sharp where it meets the ground
    local = jnp.stack([cosine * nx - sine * ny, sine * nx + cosine * ny, nz])
    upward = jnp.array([0.0, 0.0, 1.0])[:, None]
    normal = jnp.where(is_object, normalize(local), upward)
    color = jnp.where(is_object, table[9:12], _ground_color(solids.ground, point))
    return normal, color, table[12:] > 0.5


def _ground_color(ground: Ground | None, point: Array) -> Array:
    """Return linear colors [3, P] of points of the ground, or [3, 1] if it has no pattern."""
    if ground is None:
        return jnp.array(GROUND_ALBEDO)[:, None]
    cosine, sine = jnp.cos(ground.rotation), jnp.sin(ground.rotation)
    across = jnp.floor((cosine * point[:1] + sine * point[1:2]) / ground.scale)
    along = jnp.floor((cosine * point[1:2] - sine * point[:1]) / ground.scale)
    sums = jnp.stack([jnp.zeros_like(across), across + along, across])  # as in `PATTERNS`
    second = jnp.mod(sums[ground.pattern], 2) > 0.5
    return jnp.where(second, ground.colors[1][:, None], ground.colors[0][:, None])


# Light


def _diffuse(solids: Solids, point, normal, lamp, hit_QxP) -> dict[str, Array]:
    """Return "lamp" [1, P], 1 if the lamp lights a point, and "diffuse" [3, P], its total light."""
    to_lamp = lamp - point
    distance = jnp.sqrt(_dot(to_lamp, to_lamp))
    to_lamp = to_lamp / distance
    near_QxP, far_QxP = _intersect(solids, point, to_lamp)
    lit = 1.0 - jnp.any((near_QxP < far_QxP) & (far_QxP > 0), axis=0, keepdims=True)
    facing = jnp.maximum(_dot(normal, to_lamp), 0.0)
    direct = LAMP_STRENGTH * lit * facing * (LAMP_DISTANCE / distance) ** 2
    fill = FILL_STRENGTH * jnp.maximum(_dot(normal, _unit(FILL_DIRECTION)), 0.0)
    room = ROOM_STRENGTH * (0.62 + 0.38 * normal[2:])
    visible, bounce = _room_visibility(solids, point, normal, hit_QxP)
    return {"lamp": lit, "diffuse": direct + (room + fill) * visible + ROOM_STRENGTH * bounce}


def _room_visibility(solids: Solids, point, normal, hit_QxP) -> tuple[Array, Array]:
    """Return the visible fraction of the room [1, P] and the light from nearby objects [3, P].

    Each object independently blocks the cosine-weighted solid angle of a ball of its size.
    """
    across = tuple(solids.center[:, axis, None] - point[axis : axis + 1] for axis in range(3))
    cosine = sum(across[axis] * normal[axis : axis + 1] for axis in range(3))
    radius = jnp.maximum(solids.half[:, :1], 0.0)
    square = jnp.maximum(sum(component**2 for component in across), radius**2)
    blocked_QxP = jnp.maximum(cosine, 0.0) * jax.lax.rsqrt(square) * radius**2 / square
    blocked_QxP = jnp.where(hit_QxP, 0.0, blocked_QxP)
    visible = jnp.maximum(1 - 0.9 * jnp.sum(blocked_QxP, axis=0, keepdims=True), 0.12)
    bounce = jnp.einsum("nk,np->kp", solids.surface[:, 9:12], 0.45 * blocked_QxP)
    # Vertical surfaces near the ground also receive light from it, which is dark there.
    foot = jnp.clip(0.95 + 0.9 * point[2:] + 0.5 * normal[2:], 0.35, 1.0)
    return visible * foot, bounce


def _room(direction: Array) -> Array:
    """Return light of the room [3, P]: pale walls, brighter above, and two soft boxes."""
    height = jnp.clip(direction[2:], -1.0, 1.0)
    wall = 0.20 + 0.45 * jnp.clip(height, 0.0, 1.0) ** 2
    above = _smoothstep(0.80, 0.93, _dot(direction, _unit((-0.52, -0.35, 0.78))))
    beside = _smoothstep(0.90, 0.97, _dot(direction, _unit((0.80, -0.30, 0.52))))
    return (wall + 2.2 * above + 1.1 * beside) * jnp.array([1.0, 1.0, 1.02])[:, None]


# Vectors [3, P] or [3, 1]


def _unit(vector: tuple[float, float, float]) -> Array:
    array = np.asarray(vector, np.float32)
    return jnp.asarray(array / np.linalg.norm(array))[:, None]


def _dot(a: Array, b: Array) -> Array:
    """Return scalar products [1, P]."""
    return a[:1] * b[:1] + a[1:2] * b[1:2] + a[2:] * b[2:]


def normalize(vector: Array) -> Array:
    """Scale vectors [3, P] to unit length."""
    return vector * jax.lax.rsqrt(_dot(vector, vector) + 1e-12)


def _smoothstep(low: float, high: float, value: Array) -> Array:
    unit = jnp.clip((value - low) / (high - low), 0.0, 1.0)
    return unit * unit * (3 - 2 * unit)
