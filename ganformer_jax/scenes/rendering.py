"""Rendering of scenes by ray casting, in pure JAX, at any resolution.

Several rays per pixel antialias edges; each uses a different point of the lamp for soft shadows.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from ganformer_jax.scenes import drawing, layout
from ganformer_jax.scenes.layout import STANDARD, Scene, Variant
from ganformer_jax.scenes.raycasting import Solids, normalize, radiance

SAMPLES = 9  # rays per pixel
LAMP_RADIUS = 0.9
BEVEL = 0.09  # radius of rounded edges, over the object's radius
SHOULDER = 0.5  # linear light above which the tone curve compresses


class Batch(NamedTuple):
    """Rendered scenes."""

    images: UInt8[Array, "b h w 3"]  # sRGB
    masks: UInt8[Array, "b h w"]  # 0 for the ground and i + 1 for the object in slot i
    scenes: Scene
    pixel_positions: Float[Array, "b q 3"]  # column, row and depth (`project`) of centers


@functools.partial(jax.jit, static_argnames=("resolution", "samples"))
def render(
    scene: Scene, resolution: int, samples: int = SAMPLES
) -> tuple[Float[Array, "h w 3"], Int[Array, "h w"]]:
    """Render one scene.

    Args:
        scene: One scene, without a batch axis.
        resolution: Height and width in pixels, 32 or more.
        samples: Number of rays per pixel, a square number.

    Returns:
        The sRGB image, float32 in [0, 1], and the instance mask, int32: 0 for the ground and i + 1
        for the object in slot i, by majority of the pixel's rays.

    Raises:
        ValueError: If `samples` is not a positive square number.
    """
    side = round(samples**0.5)
    if side < 1 or side**2 != samples:
        raise ValueError(f"samples must be a positive square number, got {samples}")
    solids = _solids(scene)
    offset_Mx4 = jnp.asarray(_sample_offsets(side))
    rows, columns = jnp.divmod(jnp.arange(resolution**2, dtype=jnp.float32), resolution)
    twist_2xP = _pixel_twist(rows, columns)

    def add_sample(total, offset_4):
        pixels = rows, columns, twist_2xP
        light_3xP, hit_QxP = _trace_pixels(scene, solids, *pixels, offset_4, resolution)
        return (total[0] + light_3xP, total[1] + hit_QxP), None

    count = scene.present.shape[0]
    start = (jnp.zeros((3, resolution**2)), jnp.zeros((count, resolution**2), jnp.int32))
    (light_3xP, hits_QxP), _ = jax.lax.scan(add_sample, start, offset_Mx4)
    image = _encode_srgb(light_3xP / samples).T.reshape(resolution, resolution, 3)
    votes = jnp.concatenate([samples - hits_QxP.sum(0, keepdims=True), hits_QxP])
    return image, jnp.argmax(votes, axis=0).astype(jnp.int32).reshape(resolution, resolution)


@functools.partial(jax.jit, static_argnames=("resolution", "samples", "variant"))
def render_batch(
    indices: Int[Array, " b"],
    seed: int,
    resolution: int,
    samples: int = SAMPLES,
    variant: Variant = STANDARD,
) -> Batch:
    """Sample and render scenes by index; each depends only on its index, seed and variant."""

    def one(index: Array) -> Batch:
        scene = layout.sample_scene(layout.scene_key(seed, index), variant)
        if variant.drawn:
            _, fine = render(scene, drawing.SIDE * resolution, samples=1)
            image, mask = drawing.draw(scene, fine), drawing.vote(fine, variant.max_objects)
        else:
            image, mask = render(scene, resolution, samples)
        pixels = layout.project(scene.position, scene.camera_position, resolution)
        image = jnp.round(image * 255).astype(jnp.uint8)
        return Batch(image, mask.astype(jnp.uint8), scene, pixels)

    return jax.vmap(one)(jnp.asarray(indices))


# Objects and rays


def _solids(scene: Scene) -> Solids:
    radius = scene.radii[scene.size]
    cube = scene.shape == layout.SHAPES.index("cube")
    sphere = scene.shape == layout.SHAPES.index("sphere")
    half = radius * jnp.where(cube, layout.CUBE_HALF_SIDE, 1.0)
    half = jnp.where(scene.present, half, -1.0)
    cosine, sine = jnp.cos(scene.rotation), jnp.sin(scene.rotation)
    color = _decode_srgb(jnp.array(layout.COLOR_VALUES, jnp.float32) / 255)[scene.color]
    metal = (scene.material == layout.MATERIALS.index("metal")).astype(jnp.float32)
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
        ground=scene.ground,
    )


def _sample_offsets(side: int) -> np.ndarray:
    """Return the positions of side**2 rays in a pixel and on the lamp [M, 4].

    The first two columns, in [0, 1), are positions in the pixel. The others are points in the unit
    disc, ordered such that neighboring rays use distant points of the lamp.
    """
    count = side**2
    grid = (np.stack(np.divmod(np.arange(count), side), -1) + 0.5) / side
    index = np.random.RandomState(0).permutation(count)
    radius = np.sqrt((index + 0.5) / count)
    angle = index * (np.pi * (3 - np.sqrt(5)))  # golden angle: covers the disc evenly
    disc = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
    return np.concatenate([grid, disc], axis=1).astype(np.float32)


def _pixel_twist(rows_P: Array, columns_P: Array) -> Array:
    """Return cosine and sine [2, P] of the angle by which each pixel rotates the lamp points.

    The angle is interleaved gradient noise (Jimenez, SIGGRAPH 2014), which avoids banded shadows.
    """
    inner = jnp.mod(0.06711056 * columns_P + 0.00583715 * rows_P, 1.0)
    angle = 2 * jnp.pi * jnp.mod(52.9829189 * inner, 1.0)
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def _trace_pixels(scene, solids, rows_P, columns_P, twist_2xP, offset_4, resolution):
    """Return the light [3, P] along one ray per pixel, and bool [Q, P], the object that it hits."""
    across = (columns_P + offset_4[0])[None] * (2 / resolution) - 1
    down = (rows_P + offset_4[1])[None] * (2 / resolution) - 1
    right, up, forward = layout.camera_axes(scene.camera_position)[:, :, None]
    direction = normalize(forward + layout.HALF_WIDTH * (right * across - up * down))
    origin = jnp.broadcast_to(scene.camera_position[:, None], direction.shape)
    cosine, sine = twist_2xP[:1], twist_2xP[1:]
    first, second = _lamp_axes(scene.lamp_position)
    lamp = scene.lamp_position[:, None] + LAMP_RADIUS * (
        first[:, None] * (cosine * offset_4[2] - sine * offset_4[3])
        + second[:, None] * (sine * offset_4[2] + cosine * offset_4[3])
    )
    return radiance(solids, origin, direction, lamp, bounces=1)


def _lamp_axes(position_3: Array) -> tuple[Array, Array]:
    """Return two orthogonal unit vectors that span the lamp's disc, which faces the origin."""
    axis = position_3 / jnp.linalg.norm(position_3)
    first = jnp.cross(axis, jnp.array([0.0, 0.0, 1.0]))
    first = first / jnp.linalg.norm(first)
    return first, jnp.cross(axis, first)


def _encode_srgb(linear: Array) -> Array:
    """Convert linear light to sRGB in [0, 1]; bright light is compressed smoothly toward white."""
    over = jnp.maximum(linear - SHOULDER, 0.0) / (1 - SHOULDER)
    linear = jnp.minimum(linear, SHOULDER) + (1 - SHOULDER) * (1 - jnp.exp(-over))
    curve = 1.055 * jnp.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return jnp.where(linear <= 0.0031308, 12.92 * linear, curve)


def _decode_srgb(encoded: Array) -> Array:
    return jnp.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
