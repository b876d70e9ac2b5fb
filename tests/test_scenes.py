"""The renderer: scenes, masks, light and edges."""

import colorsys
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_scenes import render_scenes

from ganformer_jax.config.training import RENDERED
from ganformer_jax.errors import UserError
from ganformer_jax.scenes import layout as scenes
from ganformer_jax.scenes import rendering
from ganformer_jax.scenes.dataset import BUILDERS, prepare_scenes
from ganformer_jax.scenes.drawing import GLOSS, PAPER
from ganformer_jax.scenes.layout import STANDARD, VARIANTS, Scene, project, sample_scene, scene_key
from ganformer_jax.scenes.rendering import render, render_batch

RESOLUTION, MAX_OBJECTS, HARD = 64, STANDARD.max_objects, VARIANTS["scenes_hard"]


@pytest.fixture(scope="module")
def batch():
    return render_scenes(64)


@functools.cache
def sample_many(seed: int) -> Scene:
    return jax.tree.map(np.asarray, _sample_many(seed, np.arange(3000, dtype=np.uint32)))


@jax.jit
@functools.partial(jax.vmap, in_axes=(None, 0))
def _sample_many(seed, index) -> Scene:
    return sample_scene(scene_key(seed, index))


@pytest.fixture
def many_scenes() -> Scene:
    return sample_many(7)


def make_scene(ground, shape=None, size=None, material=None, color=None) -> Scene:
    """A scene of len(ground) objects at these ground positions; large red rubber spheres."""
    count = len(ground)

    def pad(values, default):
        values = [default] * count if values is None else list(values)
        return jnp.array(values + [0] * (MAX_OBJECTS - count), jnp.int32)

    shape, size = pad(shape, scenes.SHAPES.index("sphere")), pad(size, 1)
    cube = shape == scenes.SHAPES.index("cube")
    height = jnp.array(STANDARD.radii)[size] * jnp.where(cube, scenes.CUBE_HALF_SIDE, 1.0)
    ground = jnp.array(list(ground) + [(0.0, 0.0)] * (MAX_OBJECTS - count), jnp.float32)
    elevation = scenes.CAMERA_ELEVATION
    toward = np.array([0.0, -np.cos(elevation), np.sin(elevation)])
    camera = np.array(scenes.CAMERA_TARGET) + scenes.CAMERA_DISTANCE * toward
    return Scene(
        present=jnp.arange(MAX_OBJECTS) < count,
        shape=shape,
        size=size,
        material=pad(material, scenes.MATERIALS.index("rubber")),
        color=pad(color, scenes.COLORS.index("red")),
        position=jnp.concatenate([ground, height[:, None]], axis=1),
        rotation=jnp.full(MAX_OBJECTS, 0.4),
        camera_position=jnp.array(camera, jnp.float32),
        lamp_position=jnp.array(scenes.LAMP_POSITION, jnp.float32),
        radii=jnp.array(STANDARD.radii),
    )


@functools.cache
def empty_image() -> np.ndarray:
    return np.asarray(render(make_scene([]), RESOLUTION)[0])


def draw(scene: Scene, resolution: int = RESOLUTION, samples: int = 9):
    image, mask = render(scene, resolution, samples)
    return np.asarray(image), np.asarray(mask)


def pixel_of(scene: Scene, points) -> np.ndarray:
    pixels = project(jnp.array(points, jnp.float32), scene.camera_position, RESOLUTION)
    return np.floor(np.asarray(pixels)[:, :2]).astype(int)


def test_a_scene_does_not_depend_on_its_batch(batch, many_scenes):
    found, expected = jax.tree.leaves(sample_many(0)), jax.tree.leaves(batch.scenes)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one[:64], other, atol=2e-6)  # programs round differently
    for row in (3, 40):
        image, mask = render(jax.tree.map(lambda array, row=row: array[row], batch.scenes), 32)
        np.testing.assert_array_equal(np.round(np.asarray(image) * 255), batch.images[row])
        np.testing.assert_array_equal(mask, batch.masks[row])
    assert len({image.tobytes() for image in batch.images}) == 64
    assert not np.array_equal(many_scenes.position[:64], batch.scenes.position), "another seed"


def test_shapes_dtypes_and_padding(batch):
    assert batch.images.shape == (64, 32, 32, 3) and batch.images.dtype == np.uint8
    assert batch.masks.shape == (64, 32, 32) and batch.masks.dtype == np.uint8
    present = batch.scenes.present
    assert np.all(np.diff(present.astype(int), axis=1) <= 0), "present objects come first"
    for mask, row in zip(batch.masks, present, strict=True):
        assert set(np.unique(mask)) <= {0, *(np.flatnonzero(row) + 1)}
    with pytest.raises(ValueError, match="square number, got 5"):
        render(make_scene([]), 32, 5)


def test_numbers_and_classes_are_evenly_spread(many_scenes):
    counts = np.bincount(many_scenes.present.sum(axis=1), minlength=8) / 3000
    np.testing.assert_allclose(counts, [0, 0, 0.2, 0.2, 0.2, 0.2, 0.2, 0], atol=0.03)
    for name, classes in [("shape", 3), ("size", 2), ("material", 2), ("color", 8)]:
        values = getattr(many_scenes, name)[many_scenes.present]
        shares = np.bincount(values, minlength=classes) / len(values)
        np.testing.assert_allclose(shares, 1 / classes, atol=0.03, err_msg=name)


def check_layout(many: Scene, variant: scenes.Variant) -> None:
    """Objects stand apart on the ground, inside the frame."""
    position, present = many.position, many.present
    radius = np.asarray(variant.radii)[many.size]
    apart = np.linalg.norm(position[:, :, None, :2] - position[:, None, :, :2], axis=-1)
    # A cube's corners reach furthest: sqrt(2) times its half side.
    cube = many.shape == scenes.SHAPES.index("cube")
    reach = radius * np.where(cube, scenes.CUBE_HALF_SIDE * 2**0.5, 1.0)
    both = present[:, :, None] & present[:, None] & ~np.eye(variant.max_objects, dtype=bool)
    assert np.all((apart > reach[:, :, None] + reach[:, None])[both])
    bottom = position[..., 2] - radius * np.where(cube, scenes.CUBE_HALF_SIDE, 1.0)
    np.testing.assert_allclose(bottom, 0, atol=1e-6)
    pixels = np.asarray(jax.vmap(project, (0, 0, None))(position, many.camera_position, 1))
    assert np.all((pixels[present, :2] > 0.05) & (pixels[present, :2] < 0.95))


def test_objects_stand_apart_on_the_ground_inside_the_frame(many_scenes):
    check_layout(many_scenes, STANDARD)


def test_every_dataset_of_scenes_can_be_named():
    assert set(RENDERED) == set(VARIANTS) == set(BUILDERS)
    with pytest.raises(UserError, match="choose from scenes, scenes_hard"):
        prepare_scenes("unused", name="scene")


def test_drawings_show_the_same_scenes_in_flat_colors():
    indices = np.arange(8, dtype=np.uint32)
    rendered, drawn = (
        jax.tree.map(np.asarray, render_batch(indices, 7, 32, variant=VARIANTS[name]))
        for name in ("scenes", "scenes_drawn")
    )
    np.testing.assert_array_equal(rendered.masks, drawn.masks)
    jax.tree.map(np.testing.assert_array_equal, rendered.scenes, drawn.scenes)
    # Inside an object, two pixels from its edge, all pixels have its color; the ground is paper.
    for image, mask, colors, metal, present in zip(
        drawn.images,
        drawn.masks,
        np.asarray(scenes.COLOR_VALUES)[drawn.scenes.color],
        drawn.scenes.material,
        drawn.scenes.present,
        strict=True,
    ):
        flat = np.where(metal[:, None], GLOSS * 255 + (1 - GLOSS) * colors, colors)
        flat = np.concatenate([[PAPER], flat])
        shifts = [np.roll(mask, (i, j), (0, 1)) for i in range(-2, 3) for j in range(-2, 3)]
        inside = np.all([shift == mask for shift in shifts], axis=0)
        np.testing.assert_allclose(image[inside], flat[mask[inside]], atol=0.51)
        assert inside.mean() > 0.4 and set(mask.ravel()) <= {0, *(np.flatnonzero(present) + 1)}


def test_hard_scenes_have_three_to_ten_objects_on_patterned_ground():
    draw = jax.jit(jax.vmap(lambda index: sample_scene(scene_key(7, index), HARD)))
    many = jax.tree.map(np.asarray, draw(np.arange(3000, dtype=np.uint32)))
    check_layout(many, HARD)
    shares = np.bincount(many.present.sum(1), minlength=11) / 3000
    np.testing.assert_allclose(shares[3:], 1 / 8, atol=0.03)
    assert not shares[:3].any()
    patterns = np.bincount(many.ground.pattern) / 3000
    np.testing.assert_allclose(patterns, 1 / len(scenes.PATTERNS), atol=0.03)
    assert many.ground.colors.min() > 0.1 and many.ground.colors.max() < 0.8


@pytest.mark.parametrize(("pattern", "colors"), [("plain", 1), ("checks", 2), ("stripes", 2)])
def test_the_ground_has_its_pattern_and_objects_keep_their_masks(pattern, colors):
    ground = scenes.Ground(
        pattern=jnp.asarray(scenes.PATTERNS.index(pattern)),
        colors=jnp.array([[0.1, 0.1, 0.1], [0.5, 0.5, 0.5]]),
        scale=jnp.asarray(1.5),
        rotation=jnp.asarray(0.0),
    )
    scene = make_scene([(0.0, 0.0)])
    plain, expected = draw(scene)
    image, mask = draw(scene._replace(ground=ground))
    np.testing.assert_array_equal(mask, expected)
    nearest = image[-1].mean(-1)  # the last row, from left to right
    changes = np.count_nonzero(np.abs(np.diff(nearest)) > 0.1)
    assert (changes > 0) == (colors == 2)
    assert np.abs(image - plain)[mask == 0].max() > 0.1


def test_centers_lie_in_their_masks_or_behind_nearer_objects(batch):
    hidden = total = 0
    for mask, scene_pixels, present in zip(
        batch.masks, batch.pixel_positions, batch.scenes.present, strict=True
    ):
        for index in np.flatnonzero(present):
            column, row, depth = scene_pixels[index]
            owner = mask[int(row), int(column)]
            assert owner > 0
            assert owner == index + 1 or scene_pixels[owner - 1, 2] < depth
            hidden += not np.any(mask == index + 1)
            total += 1
    assert hidden <= 0.02 * total


@pytest.mark.parametrize("shape", range(3))
def test_mask_centroid_is_the_projected_center(shape):
    scene = make_scene([(-1.1, 0.6)], shape=[shape])
    _, mask = draw(scene)
    rows, columns = np.nonzero(mask == 1)
    expected = project(scene.position[:1], scene.camera_position, RESOLUTION)[0, :2]
    centroid = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
    np.testing.assert_allclose(centroid, expected, atol=1.2)
    assert 80 < len(rows) < 400


def test_colors_are_the_named_ones():
    places = [(-1.8, 0.0), (0.0, 0.0), (1.8, 0.0), (0.0, 2.0)]
    for first in (0, 4):
        image, mask = draw(make_scene(places, color=range(first, first + 4)))
        for slot in range(4):
            seen = colorsys.rgb_to_hsv(*image[mask == slot + 1].mean(axis=0))
            value = scenes.COLOR_VALUES[first + slot]
            wanted = colorsys.rgb_to_hsv(*(channel / 255 for channel in value))
            if scenes.COLORS[first + slot] == "gray":
                assert seen[1] < 0.1
            else:
                turn = abs(seen[0] - wanted[0])
                assert min(turn, 1 - turn) < 0.04, scenes.COLORS[first + slot]
                assert seen[1] > 0.4


def test_metal_shines_and_mirrors():
    places = [(-1.0, 0.0), (1.0, 0.0)]
    image, mask = draw(make_scene(places, material=[0, 1], color=[2, 2]))
    rubber, metal = image[mask == 1], image[mask == 2]
    assert metal.max(axis=0)[0] > rubber.max(axis=0)[0] + 0.2  # a white glint on blue
    # A red neighbor shows in the metal: next to it, the blue sphere's red channel changes.
    alone, alone_mask = draw(make_scene(places[1:], material=[1], color=[2]))
    both = (mask == 2) & (alone_mask == 1)
    assert np.abs(image - alone)[both].max() > 0.1


def test_a_shadow_falls_away_from_the_lamp_only():
    scene = make_scene([(0.0, 0.0)])
    ratio = draw(scene)[0].mean(axis=-1) / empty_image().mean(axis=-1)
    center, lamp = np.asarray(scene.position[0]), np.asarray(scene.lamp_position)
    shaded = lamp + (center - lamp) * lamp[2] / (lamp[2] - center[2])
    behind, before = (center + sign * 2.2 * (shaded - center) for sign in (1.0, -2.5))
    behind, before = behind * [1, 1, 0], before * [1, 1, 0]
    for point, low, high in [(behind, 0.3, 0.85), (before, 0.95, 1.05)]:
        column, row = pixel_of(scene, [point])[0]
        assert draw(scene)[1][row, column] == 0, "the point must be ground"
        assert low < ratio[row, column] < high


@pytest.mark.parametrize("near", [0, 1])
def test_the_nearer_object_hides_the_farther(near):
    ground = [(0.0, 1.0), (0.0, 1.0)]
    ground[near] = (0.0, -0.1)
    size = [1, 1]
    size[near] = 0
    scene = make_scene(ground, size=size, color=[1, 2])
    _, mask = draw(scene)
    column, row = pixel_of(scene, scene.position)[near]
    assert mask[row, column] == near + 1
    _, alone = draw(make_scene(ground[1 - near : 2 - near]))
    covered = alone[mask == near + 1]
    assert np.any(covered == 1), "the two must overlap in the image"


def test_more_rays_approach_the_exact_average():
    scene = make_scene([(-0.8, 0.0), (1.1, 0.4)], shape=[0, 2], color=[1, 7])
    fine = draw(scene, 64, 9)[0] ** 2.2
    exact = fine.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3)) ** (1 / 2.2)
    smooth = np.abs(draw(scene, 32, 9)[0] - exact)
    jagged = np.abs(draw(scene, 32, 1)[0] - exact)
    assert smooth.mean() < 0.006
    assert jagged.max() > 0.25 and smooth.max() < 0.6 * jagged.max()


def test_images_use_the_range_without_burning_out(batch):
    assert 100 < batch.images.mean() < 200
    assert np.percentile(batch.images, 1) < 70
    assert np.mean(np.all(batch.images >= 254, axis=-1)) < 0.01
    assert rendering.SAMPLES == 9
