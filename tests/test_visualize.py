"""Figures: layout, colors, and files that cannot be written."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from ganformer_jax.errors import UserError
from ganformer_jax.visualize import (
    attention_grid,
    attention_overlay,
    attention_segmentation,
    component_palette,
    image_grid,
    reduce_attention,
    save_png,
    to_uint8,
    training_curve,
)
from ganformer_jax.visualize.curves import _curves, _read_records


def quadrants(side: int = 8, contrast: float = 1.0) -> np.ndarray:
    """Attention to four components, one a quadrant; it sums to 1 over components."""
    index = (np.arange(side) >= side // 2).astype(int)
    owner = 2 * index[:, None] + index
    one_hot = (np.arange(4)[:, None, None] == owner).astype(np.float32)
    return contrast * one_hot + (1 - contrast) / 4


# Images


def test_floats_become_bytes_rounded_and_clipped():
    values = np.array([-1, -0.999, 0, 1, 1.7, -3], np.float32)
    assert to_uint8(values).tolist() == [0, 0, 128, 255, 255, 0]
    assert to_uint8(values).dtype == np.uint8
    steps = np.arange(256, dtype=np.float32) / 127.5 - 1
    assert to_uint8(steps).tolist() == list(range(256))


def test_grid_puts_images_row_by_row():
    images = np.arange(1, 6, dtype=np.uint8)[:, None, None, None] * np.ones((2, 3, 1), np.uint8)
    grid = image_grid(images, columns=3, padding=1)
    assert grid.shape == (2 * 3 + 1, 3 * 4 + 1, 3)
    assert grid[1::3, 1::4, 0].tolist() == [[1, 2, 3], [4, 5, 255]]
    assert np.all(grid[0] == 255) and np.all(grid[:, 4] == 255)


def test_grid_is_about_square_and_enlarges_whole_pixels():
    images = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 3), dtype=np.uint8)
    grid = image_grid(images, padding=0, scale=3)
    assert grid.shape == (36, 36, 3)
    np.testing.assert_array_equal(grid[1::3, 1::3][4:8, 8:12], images[5])


@pytest.mark.parametrize(("side", "factor"), [(16, 4), (24, 2), (64, 1), (100, 1)])
def test_small_images_are_enlarged_by_a_factor_of_their_longer_side(side, factor):
    grid = image_grid(np.zeros((1, 8, side, 3), np.uint8), padding=0, scale=None)
    assert grid.shape == (8 * factor, side * factor, 3)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((2, 4, 4, 0), np.uint8),
        np.zeros((0, 4, 4, 3), np.uint8),
    ],
)
def test_grid_refuses_other_arrays(images):
    with pytest.raises(ValueError, match="images"):
        image_grid(images)


def test_png_is_read_back_and_no_other_file_remains(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path = tmp_path / "new" / "image.png"
    save_png(path, image)
    save_png(path, 255 - image)
    with Image.open(path) as file:
        np.testing.assert_array_equal(np.asarray(file), 255 - image)
    assert os.listdir(path.parent) == ["image.png"]


def test_png_that_cannot_be_written_raises_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*file/image.png") as caught:
        save_png(tmp_path / "file" / "image.png", np.zeros((2, 2, 3), np.uint8))
    assert "\n" not in str(caught.value)


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    save_png(path, np.zeros((2, 2, 3), np.uint8))
    before = path.read_bytes()

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(UserError, match="No space left on device"):
        save_png(path, np.ones((2, 2, 3), np.uint8))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["image.png"]


# Attention


@pytest.mark.parametrize("components", [1, 8, 16, 33])
def test_component_colors_are_distinct(components):
    palette = component_palette(components)
    assert palette.shape == (components, 3) and palette.dtype == np.uint8
    assert len(np.unique(palette, axis=0)) == components
    np.testing.assert_array_equal(palette, component_palette(64)[:components])


def test_attention_is_averaged_over_heads_and_last_layers():
    stacked = np.random.default_rng(0).uniform(size=(2, 4, 3, 2, 5, 5)).astype(np.float32)
    np.testing.assert_allclose(reduce_attention(stacked), stacked.mean((2, 3)), rtol=1e-6)
    last = reduce_attention(stacked, last_layers=1)
    np.testing.assert_allclose(last, stacked[:, :, 2].mean(2), rtol=1e-6)
    for wrong in (0, 4):
        with pytest.raises(ValueError, match="last_layers must be in 1..3"):
            reduce_attention(stacked, last_layers=wrong)
    with pytest.raises(ValueError, match="rank 6"):
        reduce_attention(stacked[0])
    with pytest.raises(TypeError, match="give that of stack_attention"):
        reduce_attention((stacked[0],))


@pytest.mark.parametrize("contrast", [1.0, 0.2])
@pytest.mark.parametrize("hard", [True, False])
def test_segmentation_colors_each_region_by_its_component(contrast, hard):
    colors = attention_segmentation(quadrants(contrast=contrast), hard=hard)
    expected = component_palette(4)[[0, 1, 2, 3]].reshape(2, 2, 3).astype(int)
    corners = colors[[[0, 0], [7, 7]], [[0, 7], [0, 7]]].astype(int)
    assert np.abs(corners - expected).max() <= (0 if hard else 2)


def test_noise_of_flat_attention_is_not_amplified():
    noise = np.random.default_rng(0).normal(size=(4, 8, 8)).astype(np.float32)
    colors = attention_segmentation(0.25 + 1e-5 * noise)
    assert np.ptp(colors.astype(int), axis=(0, 1)).max() <= 2


def test_overlay_mixes_gray_image_and_colors_by_strength():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    attention = quadrants(8)
    gray = attention_overlay(image, attention, strength=0)
    assert np.all(gray == gray[..., :1])
    np.testing.assert_allclose(gray[..., 0], image @ [0.299, 0.587, 0.114], atol=0.51)
    colors = attention_segmentation(attention).repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(attention_overlay(image, attention, strength=1), colors)


def test_attention_figure_has_a_row_a_sample_and_a_column_a_component():
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    attention = np.stack([quadrants(8), np.roll(quadrants(8), 1, axis=0)])
    figure = attention_grid(images, attention, cell=128, padding=4)
    height, width, _ = figure.shape
    assert (height - 22, width) == (2 * 132 + 4, 7 * 132 + 4)
    heading, cells = figure[:22], figure[22:]
    for column in range(7):
        assert heading[:, 4 + column * 132 :][:, :128].min() < 128  # there is text

    def cell(row: int, column: int) -> np.ndarray:
        return cells[4 + row * 132 :, 4 + column * 132 :][:128, :128]

    np.testing.assert_array_equal(cell(1, 0)[2::4, 2::4], images[1])
    for component in range(4):
        maps = attention[0, component].repeat(16, 0).repeat(16, 1)
        heat = cell(0, 3 + component)
        assert np.all(heat[maps > 0.5] == 255) and np.all(heat[maps < 0.5] == 0)


def test_attention_figure_refuses_what_does_not_match():
    images = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="as many attention maps"):
        attention_grid(images, quadrants(8)[None])
    with pytest.raises(ValueError, match="of one shape"):
        attention_grid(images[:, :4], np.stack([quadrants(8)] * 2))


def test_smooth_figure_blends_between_attention_pixels():
    images = np.zeros((1, 32, 32, 1), np.uint8)
    hard, smooth = (attention_grid(images, quadrants(8)[None], smooth=s) for s in (False, True))
    assert len(np.unique(hard[26:154, 400:528])) == 2
    assert len(np.unique(smooth[26:154, 400:528])) > 10


# Training


def write_lines(path, records) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def run_records(count: int) -> list[dict]:
    return [
        {"kimg": i, "loss/generator": 1 + i % 3, "loss/discriminator": 1.3, "time": 3}
        | ({"loss/r1": 0.1, "metric/swd": 100 / (i + 1)} if i % 4 == 0 else {})
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [1, 10, 300])
def test_curve_is_drawn_with_a_panel_a_group(tmp_path, count):
    write_lines(tmp_path / "metrics.jsonl", run_records(count))
    training_curve(tmp_path / "metrics.jsonl", tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as file:
        three_panels = file.size
        assert len(file.convert("RGB").getcolors(1 << 20) or []) > 10
    only_losses = [{"kimg": r["kimg"], "loss/generator": 1.0} for r in run_records(count)]
    write_lines(tmp_path / "losses.jsonl", only_losses)
    training_curve(tmp_path / "losses.jsonl", tmp_path / "losses.png")
    with Image.open(tmp_path / "losses.png") as file:
        width, height = file.size
    assert abs(width - three_panels[0] / 3) < 1 and height == three_panels[1]


def test_curve_skips_a_cut_line_and_missing_values_and_reads_a_resumed_run(tmp_path):
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    records = run_records(8)
    write_lines(good, records)
    not_finite = {"kimg": 3.5, "loss/generator": float("nan"), "loss/r1": float("inf")}
    repeated = [{**r, "loss/generator": 77} for r in records[4:]]
    write_lines(bad, [{"config": 1}, *records[:4], not_finite, *repeated, *records[4:]])
    with bad.open("a") as file:
        file.write('{"kimg": 9, "loss/gen')
    for path in (good, bad):
        training_curve(path, path.with_suffix(".png"))
    assert good.with_suffix(".png").read_bytes() == bad.with_suffix(".png").read_bytes()


def test_of_a_long_file_all_metrics_are_read_and_some_losses(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [{"kimg": n, "loss/generator": n, "filled": "x" * 500} for n in range(20_000)]
    write_lines(path, [*lines, *({"kimg": n, "metric/swd": n} for n in range(100))])
    found = _curves(_read_records(path))
    assert len(found["metric/swd"][0]) == 100
    assert 3000 < len(found["loss/generator"][0]) < 5000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read"),
        ("", "no records"),
        ('{"kimg": 1, "other": 2}\n', "no records"),
        ('{"kimg": 1}\nnot json\n{"kimg": 2}\n', "metrics.jsonl:2 is not a JSON record"),
    ],
)
def test_errors_of_records(tmp_path, text, message):
    path = tmp_path / "metrics.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        training_curve(path, tmp_path / "curve.png")
