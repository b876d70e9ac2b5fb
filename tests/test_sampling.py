"""Samples depend on their seeds only, and `sample` writes them to a folder."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from command_line import call, complaint
from exports import export
from PIL import Image
from tiny import tiny_config

from ganformer_jax import Generator
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.sample_files import (
    figure_paths,
    make_records,
    prepare_folder,
    read_records,
)
from ganformer_jax.experiment.samples import draw_grid
from ganformer_jax.models.by_seed import draw_z
from ganformer_jax.sampling import ALL_LAYERS, Sampler
from ganformer_jax.scenes.layout import scene_key

GENERATOR = dataclasses.replace(tiny_config().generator, label_size=3)
SEEDS, LABELS = [4, 0, 2**32 - 1, 7, 11], [0, 1, 2, 0, 1]


@pytest.fixture(scope="module")
def variables():
    z_1xKxD = np.zeros((1, GENERATOR.num_latents, GENERATOR.z_size), np.float32)
    streams = {"params": jax.random.key(3), "noise": jax.random.key(4)}
    found = jax.jit(Generator(GENERATOR).init)(streams, z_1xKxD, np.eye(1, 3, dtype=np.float32))

    def strengthen_noise(path, leaf):  # its strength starts at 0
        return leaf + 0.5 if "strength" in jax.tree_util.keystr(path) else leaf

    return jax.tree_util.tree_map_with_path(strengthen_noise, found)


def test_an_image_depends_on_its_seed_only(variables):
    five = Sampler(GENERATOR, 5, attention=True)(variables, SEEDS, LABELS, 0.7)
    pairs = Sampler(GENERATOR, 2, attention=True)(variables, SEEDS[::-1], LABELS[::-1], 0.7)
    for one, other in zip(jax.tree.leaves(five), jax.tree.leaves(pairs), strict=True):
        assert one.shape[0] == other.shape[0] == len(SEEDS)
        close = 1 if one.dtype == np.uint8 else 1e-5
        np.testing.assert_allclose(one.astype(float), other[::-1].astype(float), atol=close)
    images = Sampler(GENERATOR, 5, attention=True).images(variables, SEEDS, LABELS)
    same = Sampler(GENERATOR, 5, attention=True)(variables, SEEDS, LABELS).images
    np.testing.assert_array_equal(images, same)
    assert five.images.dtype == np.uint8 and five.attention[0].shape[1] == GENERATOR.components


def test_images_alone_are_those_of_a_call(variables):
    sampler, given = Sampler(GENERATOR, 5), (SEEDS, LABELS, 0.3, 1)
    images = sampler(variables, *given).images
    np.testing.assert_array_equal(sampler.images(variables, *given), images)
    assert (images != sampler.images(variables, *given[:3])).any()


def test_every_transfer_of_sampling_is_explicit(variables):
    sampler, given = Sampler(GENERATOR, 5), (SEEDS, LABELS, 0.3, 1)
    images = sampler.images(variables, *given)
    with jax.transfer_guard("disallow"):
        np.testing.assert_array_equal(sampler.images(variables, *given), images)


def test_noise_depends_on_the_seed(variables):
    """With the mean latent for all, images differ by noise only, and repeat with their seed."""
    sampler = Sampler(GENERATOR, 4)
    images = sampler(variables, [0, 1, 0, 2], [0] * 4, truncation_psi=0.0).images.astype(int)
    assert np.abs(images[0] - images[2]).max() <= 1
    for other in (1, 3):
        assert np.abs(images[0] - images[other]).mean() > 1
    still = Sampler(GENERATOR, 4, noise="const")
    images = still(variables, [0, 1, 0, 2], [0] * 4, truncation_psi=0.0).images.astype(int)
    assert np.abs(images - images[0]).max() <= 1


@pytest.mark.parametrize(
    ("seeds", "labels", "complaint"),
    [
        ([], [], "no seeds"),
        ([1], None, "label_size is 3"),
        ([1], [3], "from 0 to 2"),
        ([1], [0, 1], "1"),
        ([1], [0.5], "1 whole numbers"),
        ([1], [[0.5, 1]], "1 rows of 3 finite"),
        ([1, 2], [[0.5, 1, 2]], "2 rows of 3 finite"),
        ([1], [[0.5, 1, np.nan]], "1 rows of 3 finite"),
    ],
)
def test_invalid_seeds_and_labels_are_refused(variables, seeds, labels, complaint):
    with pytest.raises(ValueError, match=complaint):
        Sampler(GENERATOR)(variables, seeds, labels)


def test_a_program_made_ahead_of_time_draws_the_same(variables):
    sampler = Sampler(GENERATOR, len(SEEDS))
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), variables)
    compiled = sampler.lower(shapes).compile()
    arguments = np.asarray(SEEDS, np.uint32), np.eye(3, dtype=np.float32)[LABELS]
    images = compiled(variables, *arguments, np.float32(1.0), np.int32(ALL_LAYERS))[0]
    np.testing.assert_array_equal(images, sampler.images(variables, SEEDS, LABELS))


def test_a_one_hot_condition_draws_the_image_of_its_class(variables):
    sampler = Sampler(GENERATOR, 5)
    images = sampler.images(variables, SEEDS, LABELS)
    one_hot = np.eye(3, dtype=np.float32)[LABELS]
    for conditions in (one_hot, one_hot.tolist(), list(one_hot)):
        np.testing.assert_array_equal(sampler.images(variables, SEEDS, conditions), images)
    between = sampler.images(variables, SEEDS, [[0.5, 0.5, -1.0]] * 5)
    assert all((between[i] != images[i]).any() for i in range(5))


# The folder


@pytest.mark.parametrize("stored", [np.zeros((5, 5, 3)), np.zeros((8, 8)), b"damaged", None])
def test_an_image_that_was_changed_is_named(tmp_path, stored):
    paths = [tmp_path / name for name in ("0.png", "1.png")]
    for path in paths:
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    draw_grid(tmp_path / "grid.png", paths, (8, 8, 3), None)
    paths[1].unlink()
    if isinstance(stored, bytes):
        paths[1].write_bytes(stored)
    elif stored is not None:
        Image.fromarray(stored.astype(np.uint8)).save(paths[1])
    with pytest.raises(UserError, match="1.png .*delete it, and run the command again"):
        draw_grid(tmp_path / "grid.png", paths, (8, 8, 3), None)


def test_records_of_files_of_any_name_come_back(tmp_path):
    names = ["caf\udce9", "line\u2028end", "größe", 'quote"\n']
    records = [{"file": f"{name}.png", "image": name} for name in names]
    prepare_folder(tmp_path, records, overwrite=False)
    assert read_records(tmp_path) == records
    for name in names[:3]:
        (tmp_path / f"{name}.png").touch()
    prepare_folder(tmp_path, records, overwrite=False)


@pytest.mark.parametrize("text", ['{"file": [1]}', '{"seed": 1}', "[]", "{", "[" * 100_000])
def test_damaged_records_are_named(tmp_path, text):
    (tmp_path / "samples.jsonl").write_text(text)
    with pytest.raises(UserError, match=r"samples.jsonl is damaged: move it away"):
        read_records(tmp_path)


def test_files_that_were_cut_off_are_removed(tmp_path):
    """Those of these images and figures; another command may be writing others."""
    folder = tmp_path / "s"
    folder.mkdir()
    left = [folder / f".{name}.j93jtl7w.writing" for name in ("000001.png", "000001.npy")]
    left += [tmp_path / ".s-grid.png.a_b.writing", folder / ".samples.jsonl.x.writing"]
    others = [folder / ".000009.png.x.writing", folder / "mine.writing"]
    for path in (*left, *others):
        path.touch()
    records = make_records([0, 1], None, {})
    prepare_folder(folder, records, overwrite=False, figures=figure_paths(folder, "grid"))
    assert not any(path.exists() for path in left) and all(path.exists() for path in others)


def test_a_folder_above_has_figures_beside_it(tmp_path, capsys, monkeypatch):
    path = export(tmp_path, tiny_config(0).generator)
    below = tmp_path / "out" / "a"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    sample = ["sample", "--workdir", path, "--count", "1", "--batch-size", "1", "--out"]
    assert call(capsys, *sample, "..")[0] == 0
    assert (tmp_path / "out" / "000000.png").exists() and (tmp_path / "out-grid.png").exists()
    assert call(capsys, *sample, "../a/..")[0] == 0
    assert not list(below.iterdir())
    record = json.loads((tmp_path / "out" / "samples.jsonl").read_text())
    assert record["file"] == "000000.png"
    said = complaint(capsys, *sample, "/")
    assert "/ has no name for figures beside it: choose another --out" in said


@pytest.mark.parametrize(
    ("command", "option", "message"),
    [
        ("sample", "--attention-rows", "--attention-rows must be 0 or more"),
        ("sample", "--truncation-cutoff", "--truncation-cutoff must be 0 or more"),
        ("visualize", "--truncation-cutoff", "--truncation-cutoff must be 0 or more"),
        ("edit", "--truncation-cutoff", "--truncation-cutoff must be 0 or more"),
    ],
)
def test_numbers_below_0_are_refused(tmp_path, capsys, command, option, message):
    more = ["--component", "global", "--swap", "1"] if command == "edit" else []
    path = export(tmp_path, tiny_config(0).generator)
    assert message in complaint(capsys, command, "--workdir", path, *more, f"{option}=-1")


@pytest.mark.parametrize("seeds", [[-1], [2**32], [1.5], np.array([-1, 2]), np.array([2**32])])
def test_seeds_that_are_none_are_refused(variables, seeds):
    """They would be wrapped or cut to others."""
    sampler = Sampler(GENERATOR, 4)
    with pytest.raises(ValueError, match=r"seeds must be integers from 0 to 2\^32 - 1"):
        sampler(variables, seeds, [0] * len(seeds))
    with pytest.raises(ValueError, match=r"seeds must be integers from 0 to 2\^32 - 1"):
        sampler.images(variables, seeds, [0] * len(seeds))


@pytest.mark.parametrize("implementation", ["rbg", "unsafe_rbg"])
def test_images_do_not_depend_on_how_jax_draws_numbers(implementation):
    """By these, numbers of an item would depend on the others of its batch."""
    seeds = np.array(SEEDS, np.uint32)
    expected = draw_z(GENERATOR, seeds)
    scenes = jax.random.key_data(scene_key(0, 5))
    with jax.default_prng_impl(implementation):
        np.testing.assert_array_equal(draw_z(GENERATOR, seeds), expected)
        np.testing.assert_array_equal(draw_z(GENERATOR, seeds[2:3])[0], expected[2])
        np.testing.assert_array_equal(jax.random.key_data(scene_key(0, 5)), scenes)
