"""Captions of scenes say what is there, in known words."""

import re

import numpy as np
import pytest

from ganformer_jax.scenes.captions import (
    SceneObjects,
    caption,
    object_words,
    relation,
    scene_objects,
    vocabulary,
)
from ganformer_jax.scenes.layout import COLORS, MATERIALS, SHAPES, SIZES

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
