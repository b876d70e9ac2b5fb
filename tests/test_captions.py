"""Captions of scenes say what is there, in known words."""

import re

import numpy as np
import pytest

from ganformer_jax.scenes.caption_scores import SCORES, caption_scores
from ganformer_jax.scenes.captions import (
    FACTS,
    SceneObjects,
    caption,
    facts,
    object_words,
    relation,
    scene_objects,
    vocabulary,
)
from ganformer_jax.scenes.layout import COLORS, MATERIALS, SHAPES, SIZES
from ganformer_jax.scenes.panoptic import ReadScene

RESOLUTION = 32


def random_objects(count, seed):
    random = np.random.default_rng(seed)
    kinds = [random.integers(0, len(names), count) for names in (SHAPES, SIZES, MATERIALS, COLORS)]
    return SceneObjects(*kinds, random.uniform((0, 0, 8), (32, 32, 13), (count, 3)))


def two(column=0.0, depth=0.0):
    """Two objects at these distances, the first less the second."""
    zeros = np.zeros(2, int)
    positions = np.array([[16.0 + column, 16.0, 10.0 + depth], [16.0, 16.0, 10.0]])
    return SceneObjects(zeros, zeros, zeros, zeros, positions)


def test_every_word_is_known_and_every_object_may_be_described():
    words, described = set(vocabulary()), set()
    assert len(words) == len(vocabulary())
    for index in range(200):
        objects = random_objects(index % 11, index)
        text = caption(objects, index, RESOLUTION)
        assert set(re.findall(r"\w+|,", text)) <= words
        described |= {
            number
            for number in range(len(objects.shape_Q))
            if object_words(objects, number) in text
        }
    assert described == set(range(10))


def test_the_caption_of_a_scene_is_always_the_same_and_depends_on_its_index():
    objects = random_objects(5, 0)
    texts = [caption(objects, index, RESOLUTION) for index in (7, 7, *range(50))]
    assert texts[0] == texts[1] and len(set(texts)) > 10
    assert all(text.startswith("five objects, a ") for text in texts)


@pytest.mark.parametrize(
    ("distances", "words"),
    [
        ({"column": -8.0}, "left of"),
        ({"column": 8.0}, "right of"),
        ({"depth": -2.0}, "in front of"),
        ({"depth": 2.0}, "behind"),
        ({"column": 8.0, "depth": 3.0}, "right of"),
        ({"column": 4.0, "depth": 3.0}, "behind"),
    ],
)
def test_the_relation_is_the_one_that_differs_more(distances, words):
    assert relation(two(**distances), 0, 1, RESOLUTION) == words


def test_few_objects():
    assert caption(random_objects(0, 0), 0, RESOLUTION) == "no objects"
    alone = random_objects(1, 0)
    assert caption(alone, 0, RESOLUTION) == f"one object, {object_words(alone, 0)}"


def test_objects_are_read_as_they_are_stored():
    stored = {"shape": [1], "size": [0], "material": [1], "colour": [2]}
    objects = scene_objects({**stored, "pixel_position": [[1.0, 2.0, 9.0]]})
    assert object_words(objects, 0) == "a small blue metal sphere"


def test_facts_are_what_the_caption_says():
    for index in range(100):
        objects = random_objects(index % 11, index)
        vector = facts(objects, index, RESOLUTION)
        said = [name for name, one in zip(FACTS, vector, strict=True) if one]
        words = " ".join(said).replace("first ", "").replace("second ", "").replace("objects ", "")
        text = caption(objects, index, RESOLUTION).replace(",", "").replace(" a ", " ")
        assert sorted(words.split()) == sorted(re.sub(" objects?", "", text).split())
        assert len(FACTS) == len(set(FACTS))


# What is seen of captions


def seen(objects, places=None):
    """What a network without faults sees: a pixel of each object, where it is."""
    count = len(objects.shape_Q)
    places = objects.pixel_position_Qx3 if places is None else places
    grid = np.zeros((RESOLUTION, RESOLUTION), int)
    for number, (column, row, _) in enumerate(places):
        grid[int(row), int(column)] = number + 1
    kinds = objects.shape_Q, objects.size_Q, objects.material_Q, objects.color_Q
    return ReadScene(grid, np.stack(kinds, 1).reshape(count, 4))


def apart(count, seed):
    """Objects in cells of their own, nearer ones lower in the image."""
    objects = random_objects(count, seed)
    random = np.random.default_rng(seed)
    columns, rows = (3 * random.permutation(10)[:count] for _ in range(2))
    positions = np.stack([columns, rows, 13 - 0.1 * rows], 1).astype(float)
    return objects._replace(pixel_position_Qx3=positions)


def scores(scenes, found):
    return caption_scores(scenes, found, RESOLUTION)


def test_an_image_that_shows_the_scene_has_full_scores():
    scenes = [(apart(1 + index % 9, index), index) for index in range(40)]
    found = scores(scenes, [seen(objects) for objects, _ in scenes])
    assert found == dict.fromkeys(SCORES, 1.0)
    other = [seen(objects) for objects, _ in scenes[1:] + scenes[:1]]
    chance = scores(scenes, other)
    low = ("count", "color", "pair", "object", "relation", "held_out_pair")
    assert all(chance[name] < 0.75 for name in low) and chance["object"] < 0.2


def test_what_is_wrong_is_counted_alone():
    objects = apart(2, 3)
    red = objects._replace(color_Q=(objects.color_Q + 1) % len(COLORS))
    found = scores([(objects, 0)], [seen(red, objects.pixel_position_Qx3)])
    assert (found["color"], found["pair"], found["object"]) == (0, 0, 0)
    assert {found[name] for name in ("count", "shape", "size", "material", "relation")} == {1}
    turned = [[31.0, 31.0, 1.0], [31.0, 31.0, 1.0]] - objects.pixel_position_Qx3
    found = scores([(objects, 0)], [seen(objects, turned)])
    assert found["relation"] == 0 and found["object"] == 1


def test_what_is_not_there_is_wrong_and_what_is_not_said_does_not_count():
    nothing = ReadScene(np.zeros((RESOLUTION, RESOLUTION), int), np.zeros((0, 4), int))
    found = scores([(apart(2, 0), 0)], [nothing])
    assert {found[n] for n in ("count", "color", "pair", "object", "relation")} == {0}
    found = scores([(random_objects(0, 0), 0)], [nothing])
    assert found["count"] == 1 and np.isnan(found["color"]) and np.isnan(found["relation"])


def test_an_object_without_a_pixel_is_not_seen():
    objects = apart(2, 0)
    read = seen(objects)
    hidden = ReadScene(np.where(read.objects_HxW == 1, 0, read.objects_HxW), read.classes_QxA)
    found = scores([(objects, 0)], [hidden])
    assert found["count"] == 0 and found["object"] == 0.5 and found["relation"] == 0


def test_pairs_that_may_be_held_out_are_counted_apart():
    objects = apart(2, 0)
    red_cube = np.array([COLORS.index("red"), 0]), np.array([SHAPES.index("cube"), 0])
    objects = objects._replace(color_Q=red_cube[0], shape_Q=red_cube[1])
    blue = seen(objects._replace(color_Q=np.array([COLORS.index("blue"), 0])))
    assert scores([(objects, 0)], [seen(objects)])["held_out_pair"] == 1
    found = scores([(objects, 0)], [blue])
    assert found["held_out_pair"] == 0 and found["pair"] == 0.5
