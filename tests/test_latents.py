"""Latents: edits of them, and the files that hold them."""

import contextlib
import dataclasses

import jax
import numpy as np
import pytest
from tiny import tiny_config

from ganformer_jax.errors import UserError
from ganformer_jax.models import num_layers
from ganformer_jax.models.noise_maps import noise_shapes
from ganformer_jax.sampling import (
    ImageLatents,
    interpolate,
    read_latents,
    save_latents,
    slerp,
    swap_components,
    swap_layers,
)

CONFIG = tiny_config().generator
SHAPE = (CONFIG.num_latents, num_layers(CONFIG), CONFIG.w_size)


def latents(count=3, seed=0, **changes):
    random = np.random.default_rng(seed)
    w_BxKxLxD = random.standard_normal((count, *SHAPE)).astype(np.float32)
    facts = tuple({"seed": number} for number in range(count))
    found = ImageLatents(w_BxKxLxD, np.arange(count, dtype=np.uint32) + 7, facts=facts)
    return dataclasses.replace(found, **changes)


# Edits


@pytest.mark.parametrize("way", [interpolate, slerp])
def test_ends_of_a_path_are_its_latents(way):
    a, b = np.random.default_rng(0).standard_normal((2, 5, 4, 8)).astype(np.float32)
    np.testing.assert_array_equal(way(a, b, 0.0), a)
    np.testing.assert_array_equal(way(a, b, 1.0), b)
    both = way(a[None], b[None], np.array([0.0, 0.5, 1.0])[:, None, None, None])
    assert both.shape == (3, 5, 4, 8) and both.dtype == np.float32
    np.testing.assert_array_equal(both[[0, 2]], [a, b])


def test_arcs_turn_evenly_and_keep_the_length():
    a, b = np.float32([2, 0, 0]), np.float32([0, 2, 0])
    np.testing.assert_allclose(
        slerp(a, b, 1 / 3), [2 * np.cos(np.pi / 6), 2 * np.sin(np.pi / 6), 0], atol=1e-6
    )
    random = np.random.default_rng(1)
    a, b = random.standard_normal((2, 20, 64))
    a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    steps = np.stack([slerp(a, b, t) for t in np.linspace(0, 1, 6)])
    np.testing.assert_allclose(np.linalg.norm(steps, axis=-1), 1, atol=1e-6)
    turns = (steps[1:] * steps[:-1]).sum(-1)
    np.testing.assert_allclose(turns, turns[:1].repeat(5, 0), atol=1e-5)


@pytest.mark.parametrize("factor", [1.0, 3.0, 0.0, -1.0])
def test_vectors_on_one_line_are_interpolated_linearly(factor):
    a = np.float32([[1, 2, -2]])
    np.testing.assert_allclose(slerp(a, factor * a, 0.25), (0.75 + 0.25 * factor) * a, atol=1e-6)


def test_swaps_take_what_they_name_and_nothing_else():
    w, other = latents(1).w_BxKxLxD, latents(4, seed=1).w_BxKxLxD
    mixed = swap_components(w, other, [1])
    np.testing.assert_array_equal(mixed[:, 1], other[:, 1])
    np.testing.assert_array_equal(
        mixed[:, [0, 2]], np.broadcast_to(w[:, [0, 2]], (4, 2, *SHAPE[1:]))
    )
    np.testing.assert_array_equal(swap_components(w, other, [-1])[:, 2], other[:, 2])
    layered = swap_layers(w, other, [0, 2])
    np.testing.assert_array_equal(layered[:, :, [0, 2]], other[:, :, [0, 2]])
    np.testing.assert_array_equal(
        layered[:, :, 1], np.broadcast_to(w[:, :, 1], layered[:, :, 1].shape)
    )
    np.testing.assert_array_equal(w, latents(1).w_BxKxLxD)  # which were not changed


def test_latents_of_other_images_and_without_a_component():
    found = latents()
    taken = found.take([2, 0, 2])
    np.testing.assert_array_equal(taken.w_BxKxLxD, found.w_BxKxLxD[[2, 0, 2]])
    assert taken.noise_seeds_B.tolist() == [9, 7, 9]
    assert [fact["seed"] for fact in taken.facts] == [2, 0, 2]
    hidden = found.without(1)
    assert hidden.mask_BxK is not None and hidden.mask_BxK.tolist() == [[1, 0]] * 3
    with pytest.raises(ValueError, match="component 1 is the last visible one in 3 of 3 images"):
        hidden.without(0)
    again = hidden.without(1).take([1])
    assert again.mask_BxK is not None and again.mask_BxK.tolist() == [[1, 0]]
    assert found.mask_BxK is None
    for component in (-1, 2):
        with pytest.raises(ValueError, match="component must be in 0..1"):
            found.without(component)
    changed = found.take([0]).with_w(latents(5).w_BxKxLxD)
    assert len(changed) == 5 and changed.noise_seeds_B.tolist() == [7] * 5 and not changed.facts


# Files


def noise(count=3):
    random = np.random.default_rng(2)
    shapes = noise_shapes(CONFIG).items()
    return {n: random.standard_normal((count, *s)).astype(np.float32) for n, s in shapes}


@pytest.mark.parametrize("hidden", [False, True])
def test_latents_come_back(tmp_path, hidden):
    saved = latents().without(0) if hidden else latents(noise_maps=noise())
    save_latents(tmp_path / "l.npz", saved, "abc", "const")
    lines: list[str] = []
    found = read_latents(tmp_path / "l.npz", CONFIG, weights="abc", noise="const", say=lines.append)
    for field in dataclasses.fields(saved):
        one, other = getattr(saved, field.name), getattr(found, field.name)
        assert type(one) is type(other)
        jax.tree.map(np.testing.assert_array_equal, one, other)
    assert lines == []


def test_other_weights_and_noise_are_said(tmp_path):
    save_latents(tmp_path / "l.npz", latents(), "abc", "const")
    lines: list[str] = []
    read_latents(tmp_path / "l.npz", CONFIG, weights="abd", noise="none", say=lines.append)
    assert [line.partition("saved with other ")[2] for line in lines] == [
        "weights: images will differ",
        "noise: images will differ",
    ]


def test_arrays_of_other_programs(tmp_path):
    """w alone, for all layers at once; a bare array too."""
    w_BxKxD = latents().w_BxKxLxD[:, :, 0].astype(np.float64)
    np.savez(tmp_path / "l.npz", w=w_BxKxD)
    np.save(tmp_path / "l.npy", w_BxKxD)
    for name in ("l.npz", "l.npy"):
        found = read_latents(tmp_path / name, CONFIG)
        assert found.w_BxKxLxD.dtype == np.float32 and found.w_BxKxLxD.shape == (3, *SHAPE)
        for layer in range(SHAPE[1]):
            np.testing.assert_array_equal(found.w_BxKxLxD[:, :, layer], w_BxKxD.astype(np.float32))
        assert found.noise_seeds_B.tolist() == [0, 1, 2] and found.mask_BxK is None


W = latents().w_BxKxLxD
NOISE = {name: maps.astype(np.float64) for name, maps in noise().items()}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": W}, "has no latents: an array w is needed, it has z"),
        ({"w": W[:, :2]}, r"w is \[B, 3, 4\] or \[B, 3, \d, 4\], not float32 \[3, 2, "),
        ({"w": W[..., :3]}, r"not float32"),
        ({"w": W[:0]}, r"not float32 \[0, "),
        ({"w": W[0, 0]}, r"not float32"),
        ({"w": np.array("x")}, r"not <U1"),
        ({"w": np.where(np.arange(SHAPE[-1]) == 1, np.nan, W)}, "not finite"),
        ({"w": 1e39 * W.astype(np.float64)}, "not finite in float32"),
        ({"w": W, "noise_seeds": np.arange(2)}, "noise_seeds must be 3 integers"),
        ({"w": W, "noise_seeds": np.arange(3) - 1}, "noise_seeds must be 3 integers"),
        ({"w": W, "noise_seeds": np.arange(3) + 2**32}, "noise_seeds must be 3 integers"),
        ({"w": W, "noise_seeds": np.arange(3) / 2}, "noise_seeds must be 3 integers"),
        ({"w": W, "mask": np.ones((3, 3))}, r"mask must be zeros and ones, \[3, 2\]"),
        ({"w": W, "mask": np.full((3, 2), 0.5)}, "mask must be zeros and ones"),
        ({"w": W, "noise/other": np.ones((3, 8, 8))}, "noise/other is not noise of this"),
        ({"w": W} | {f"noise/{k}": 1e39 * v for k, v in NOISE.items()}, "is not noise of this"),
        ({"w": W, f"noise/{next(iter(noise()))}": np.ones((2, 4, 4))}, "is not noise of this"),
        ({"w": W, "about": np.array("{")}, "about is not JSON"),
        ({"w": W, "about": np.array("[]")}, "about is not of latents"),
        ({"w": W, "about": np.array('{"version": 2}')}, "later version of ganformer_jax"),
    ],
)
def test_files_that_do_not_fit(tmp_path, arrays, message):
    np.savez(tmp_path / "l.npz", **arrays)
    with pytest.raises(UserError, match=message):
        read_latents(tmp_path / "l.npz", CONFIG)


def _flip_bytes(path, copy):
    """Change bytes here and there: the file is read, or its damage is a UserError."""
    contents, random = path.read_bytes(), np.random.default_rng(0)
    places = [*range(0, 80), *range(len(contents) - 250, len(contents))]
    for place in places:
        for value in (random.integers(1, 256), 8, 255):
            flipped = bytes([contents[place] ^ int(value)])
            copy.write_bytes(contents[:place] + flipped + contents[place + 1 :])
            with contextlib.suppress(UserError):
                read_latents(copy, CONFIG)


def test_damaged_files(tmp_path):
    save_latents(tmp_path / "whole.npz", latents())
    whole = (tmp_path / "whole.npz").read_bytes()
    for name, contents in {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "text": b"latents",
        "pickle": b"\x80\x04N.",
        "flipped": whole[:300] + bytes([whole[300] ^ 255]) + whole[301:],
    }.items():
        (tmp_path / f"{name}.npz").write_bytes(contents)
        with pytest.raises(UserError, match=f"{name}.npz"):
            read_latents(tmp_path / f"{name}.npz", CONFIG)
    np.savez_compressed(tmp_path / "small.npz", w=W)
    for name in ("whole.npz", "small.npz"):
        _flip_bytes(tmp_path / name, tmp_path / "flipped.npz")
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(UserError, match="is not an npz file of latents"):
        read_latents(tmp_path / "objects.npy", CONFIG)
    with pytest.raises(UserError, match="no file"):
        read_latents(tmp_path / "nothing.npz", CONFIG)
    with pytest.raises(UserError, match="cannot read"):
        read_latents(tmp_path, CONFIG)
