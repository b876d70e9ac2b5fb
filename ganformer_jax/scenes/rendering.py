"""Draws scenes by ray casting: pure JAX, jitted and vmapped, at any resolution.

Several rays a pixel smooth the edges; each looks at another point of the lamp, which softens the
shadows. ``ganformer_jax.scenes.raycasting`` follows the rays.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from ganformer_jax.scenes.raycasting import Solids, normalize, radiance
from ganformer_jax.scenes.world import (
    COLOR_VALUES,
    CUBE_HALF_SIDE,
    HALF_WIDTH,
    MATERIALS,
    SHAPES,
    Scene,
    camera_axes,
    project,
    radius_of,
    sample_scene,
    scene_key,
)

SAMPLES = 9  # rays a pixel
LAMP_RADIUS = 0.9
BEVEL = 0.09  # rounding of edges in the shading, over the object's radius
SHOULDER = 0.5  # linear light above this is compressed


class Batch(NamedTuple):
    """Rendered scenes.

    Attributes:
        images: SRGB.
        masks: Instance ids, 0 for the ground and i + 1 for the object in slot i.
        scenes: The objects' attributes, padded to ``MAX_OBJECTS``.
        pixel_positions: (column, row, depth) of the objects' centers; pixels and world units.
    """

    images: UInt8[Array, "B H W 3"]
    masks: UInt8[Array, "B H W"]
    scenes: Scene
    pixel_positions: Float[Array, "B objects 3"]


@functools.partial(jax.jit, static_argnames=("resolution", "samples"))
def render(
    scene: Scene, resolution: int, samples: int = SAMPLES
) -> tuple[Float[Array, "H W 3"], Int[Array, "H W"]]:
    """Draws one scene.

    Args:
        scene: One scene, without a batch axis.
        resolution: Height and width in pixels; 32 or more looks good.
        samples: Rays a pixel, a square number.

    Returns:
        The sRGB image, float32 in [0, 1], and the int32 instance mask: 0 for the ground and i + 1
        for the object in slot i, by the majority of the pixel's rays.

    Raises:
        ValueError: If ``samples`` is not a positive square number.
    """
    side = round(samples**0.5)
    if side < 1 or side**2 != samples:
        raise ValueError(f"samples must be a positive square number, got {samples}")
    solids = _solids(scene)
    offset_Sx4 = jnp.asarray(_sample_offsets(side))
    rows, columns = jnp.divmod(jnp.arange(resolution**2, dtype=jnp.float32), resolution)
    twist_2xP = _pixel_twist(rows, columns)

    def add_sample(total, offset_4):
        light_3xP, hit_NxP = _trace_pixels(
            scene, solids, rows, columns, twist_2xP, offset_4, resolution
        )
        return (total[0] + light_3xP, total[1] + hit_NxP), None

    count = scene.present.shape[0]
    start = (jnp.zeros((3, resolution**2)), jnp.zeros((count, resolution**2), jnp.int32))
    (light_3xP, hits_NxP), _ = jax.lax.scan(add_sample, start, offset_Sx4)
    image = _encode_srgb(light_3xP / samples).T.reshape(resolution, resolution, 3)
    votes = jnp.concatenate([samples - hits_NxP.sum(0, keepdims=True), hits_NxP])
    return image, jnp.argmax(votes, axis=0).astype(jnp.int32).reshape(resolution, resolution)


@functools.partial(jax.jit, static_argnames=("resolution", "samples"))
def render_batch(
    indices: Int[Array, "B"], seed: int, resolution: int, samples: int = SAMPLES
) -> Batch:
    """Samples and draws the scenes with these indices; each depends on (seed, index) alone."""

    def one(index: Array) -> Batch:
        scene = sample_scene(scene_key(seed, index))
        image, mask = render(scene, resolution, samples)
        pixels = project(scene.position, scene.camera_position, resolution)
        image = jnp.round(image * 255).astype(jnp.uint8)
        return Batch(image, mask.astype(jnp.uint8), scene, pixels)

    return jax.vmap(one)(jnp.asarray(indices))


# Setting up


def _solids(scene: Scene) -> Solids:
    radius = radius_of(scene.size)
    cube = scene.shape == SHAPES.index("cube")
    sphere = scene.shape == SHAPES.index("sphere")
    half = radius * jnp.where(cube, CUBE_HALF_SIDE, 1.0)
    half = jnp.where(scene.present, half, -1.0)
    cosine, sine = jnp.cos(scene.rotation), jnp.sin(scene.rotation)
    color = _decode_srgb(jnp.array(COLOR_VALUES, jnp.float32) / 255)[scene.color]
    metal = (scene.material == MATERIALS.index("metal")).astype(jnp.float32)
    columns = [scene.position.T, cosine, sine, half, radius * BEVEL, cube, sphere, color.T, metal]
    surface = jnp.concatenate([jnp.atleast_2d(column).astype(jnp.float32) for column in columns])
    return Solids(
        center=scene.position,
        cosine=cosine,
        sine=sine,
        half=jnp.broadcast_to(half[:, None], (*half.shape, 3)),
        quadric_radius=jnp.where(cube, 2 * radius, radius),  # this sphere contains the cube
        quadric_height=(cube | sphere).astype(jnp.float32),
        surface=surface.T,
    )


def _sample_offsets(side: int) -> np.ndarray:
    """For each of side**2 rays of a pixel: its place in the pixel and on the lamp [S, 4].

    The first two numbers are in [0, 1); the others lie in the unit disc, and are paired with the
    places so that neighboring rays see distant parts of the lamp.
    """
    count = side**2
    grid = (np.stack(np.divmod(np.arange(count), side), -1) + 0.5) / side
    index = np.random.RandomState(0).permutation(count)
    radius = np.sqrt((index + 0.5) / count)
    angle = index * (np.pi * (3 - np.sqrt(5)))  # a sunflower covers the disc evenly
    disc = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
    return np.concatenate([grid, disc], axis=1).astype(np.float32)


def _pixel_twist(rows_P: Array, columns_P: Array) -> Array:
    """Cosine and sine [2, P] of each pixel's turn of the lamp's pattern, so shadows do not band.

    Interleaved gradient noise (Jimenez, SIGGRAPH 2014): neighboring pixels differ the most.
    """
    inner = jnp.mod(0.06711056 * columns_P + 0.00583715 * rows_P, 1.0)
    angle = 2 * jnp.pi * jnp.mod(52.9829189 * inner, 1.0)
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)])


# Following rays


def _trace_pixels(scene, solids, rows_P, columns_P, twist_2xP, offset_4, resolution):
    """Light [3, P] along one ray of every pixel, and [N, P] which object each ray meets."""
    across = (columns_P + offset_4[0])[None] * (2 / resolution) - 1
    down = (rows_P + offset_4[1])[None] * (2 / resolution) - 1
    right, up, forward = camera_axes(scene.camera_position)[:, :, None]
    direction = normalize(forward + HALF_WIDTH * (right * across - up * down))
    origin = jnp.broadcast_to(scene.camera_position[:, None], direction.shape)
    cosine, sine = twist_2xP[:1], twist_2xP[1:]
    first, second = _lamp_axes(scene.lamp_position)
    lamp = scene.lamp_position[:, None] + LAMP_RADIUS * (
        first[:, None] * (cosine * offset_4[2] - sine * offset_4[3])
        + second[:, None] * (sine * offset_4[2] + cosine * offset_4[3])
    )
    return radiance(solids, origin, direction, lamp, bounces=1)


def _lamp_axes(position_3: Array) -> tuple[Array, Array]:
    """Two orthogonal unit vectors that span the lamp's disc, which faces the origin."""
    axis = position_3 / jnp.linalg.norm(position_3)
    first = jnp.cross(axis, jnp.array([0.0, 0.0, 1.0]))
    first = first / jnp.linalg.norm(first)
    return first, jnp.cross(axis, first)


def _encode_srgb(linear: Array) -> Array:
    """Linear light to sRGB in [0, 1]; bright light bends smoothly toward white, like film."""
    over = jnp.maximum(linear - SHOULDER, 0.0) / (1 - SHOULDER)
    linear = jnp.minimum(linear, SHOULDER) + (1 - SHOULDER) * (1 - jnp.exp(-over))
    curve = 1.055 * jnp.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return jnp.where(linear <= 0.0031308, 12.92 * linear, curve)


def _decode_srgb(encoded: Array) -> Array:
    return jnp.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
