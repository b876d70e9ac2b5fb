"""`project`: from images to latents, and from these to the images again."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from command_line import call, complaint
from exports import export
from PIL import Image
from tiny import tiny_config

from ganformer_jax.experiment.latents.projection_files import FILES

GANFORMER = dataclasses.replace(tiny_config(2).generator)
KINDS = {
    "ganformer": GANFORMER,
    "classes": dataclasses.replace(GANFORMER, label_size=2),
    "large": dataclasses.replace(tiny_config(0).generator, resolution=16),
    "stylegan2, gray, oblong": dataclasses.replace(
        tiny_config(0).generator, image_channels=1, base_grid=(2, 4)
    ),
}
QUICK = ("--steps", "5", "--samples", "6", "--batch-size", "2")


def pictures(folder, count=3):
    """Of another size than the generator's."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(count):
        pixels = random.integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


@pytest.mark.parametrize("kind", ["ganformer", "classes", "stylegan2, gray, oblong"])
def test_from_images_to_latents_and_back(tmp_path, capsys, kind):
    path, config = export(tmp_path, KINDS[kind]), KINDS[kind]
    folder = pictures(tmp_path / "in")
    label = ("--class", "1") if config.label_size else ()
    more = ("--optimize-noise", "--per-layer") if kind == "ganformer" else ()
    code, out, err = call(capsys, "project", str(folder), "--workdir", path, *QUICK, *label, *more)
    assert code == 0, err
    assert "3 images, distance in a Laplacian pyramid" in out and "of the nearest samples" in out
    found = tmp_path / "generator-projected"
    assert {file.name for file in found.iterdir()} == set(FILES)
    with (found / "distances.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["step", "0.png", "1.png", "2.png"] and len(rows) == 6
    records = [json.loads(line) for line in (found / "projected.jsonl").read_text().splitlines()]
    assert [record["target"] for record in records] == rows[0][1:]
    for record in records:
        assert 0 <= record["nearest_seed"] < 6
        assert 0 < record["distance"] and 0 < record["distance_of_mean_image"]
    latents, drawn = str(found / "latents.npz"), str(tmp_path / "drawn")
    code, out, err = call(
        capsys,
        "visualize",
        "--workdir",
        path,
        "--latents",
        latents,
        "--out",
        drawn,
        "--figures",
        "samples",
        "--video",
        "gif",
    )
    assert code == 0 and "images will differ" not in out, err
    with (
        Image.open(f"{drawn}/samples.png") as sheet,
        Image.open(found / "projection.png") as figure,
    ):
        assert figure.height > sheet.height  # three rows of pairs, and three rows


def test_a_search_starts_at_the_nearest_sample(tmp_path, capsys):
    """With a learning rate of almost 0 it stays there, but for what it explores."""
    path, folder = export(tmp_path, GANFORMER), pictures(tmp_path / "in")
    gaps = {}
    for start in ("nearest", "mean", "auto"):
        more = ("--start", start, "--learning-rate", "1e-9", "--out", str(tmp_path / start))
        code, _, err = call(capsys, "project", str(folder), "--workdir", path, *QUICK, *more)
        assert code == 0, err
        lines = (tmp_path / start / "projected.jsonl").read_text().splitlines()
        numbers = [json.loads(line) for line in lines]
        place = "nearest_sample" if start == "nearest" else "mean_image"
        gaps[start] = [abs(n["distance"] - n[f"distance_of_{place}"]) for n in numbers]
    assert max(max(gap) for gap in gaps.values()) < 1e-4


def test_files_are_targets_too_and_bad_ones_are_skipped(tmp_path, capsys):
    path, folder = export(tmp_path, GANFORMER), pictures(tmp_path / "in")
    (folder / "bad.png").write_bytes(b"no image")
    files = [str(folder / name) for name in ("2.png", "bad.png", "0.png")]
    more = ("--samples", "0", "--steps", "2", "--out", str(tmp_path / "out"))
    code, out, err = call(capsys, "project", *files, "--workdir", path, *more)
    assert code == 0, err
    assert f"skipped {files[1]}" in out
    lines = (tmp_path / "out" / "projected.jsonl").read_text().splitlines()
    assert [json.loads(line)["target"] for line in lines] == [files[0], files[2]]
    assert "distance_of_nearest_sample" not in lines[0]
    assert "would be replaced" in complaint(capsys, "project", *files, "--workdir", path, *more)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("ganformer", (), "name the images to project"),
        ("ganformer", ("missing.png",), "missing.png"),
        ("ganformer", ("IN", "--steps", "0"), "--steps must be 1 or more"),
        ("ganformer", ("IN", "--samples", "-1"), "--samples must be 0 or more"),
        (
            "ganformer",
            ("IN", "--samples", "0", "--start", "nearest"),
            "--start nearest needs samples",
        ),
        ("ganformer", ("IN", "--learning-rate", "0"), "--learning-rate must be above 0"),
        ("ganformer", ("IN", "--distance", "lpips"), "LPIPS needs images of 16 pixels"),
        ("ganformer", ("IN", "--vgg16", "x.pth"), "--vgg16: LPIPS needs images of 16 pixels"),
        (
            "ganformer",
            ("IN", "--lpips", "x.pth", "--distance", "laplacian"),
            "--lpips has no effect on --distance laplacian: leave one of them out",
        ),
        ("large", ("IN", "--vgg16", "x.pth"), "--vgg16 needs the weights of lpips too: give --lp"),
        ("large", ("IN", "--lpips", "x.pth"), "--lpips needs the weights of vgg16 too: give --vg"),
        ("ganformer", ("IN", "--class", "1"), "trained without classes"),
        ("classes", ("IN",), "this generator has labels: choose one with --class"),
    ],
)
def test_what_cannot_be_projected(tmp_path, capsys, monkeypatch, kind, options, message):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # without weights
    path, folder = export(tmp_path, KINDS[kind]), pictures(tmp_path / "in", 1)
    given = [str(folder) if option == "IN" else option for option in options]
    assert message in complaint(capsys, "project", *given, "--workdir", path)
    assert not (tmp_path / "generator-projected").exists()


def test_a_generator_without_noise(tmp_path, capsys):
    synthesis = dataclasses.replace(GANFORMER.synthesis, noise=False)
    path = export(tmp_path, dataclasses.replace(GANFORMER, synthesis=synthesis))
    folder = pictures(tmp_path / "in", 1)
    said = complaint(capsys, "project", str(folder), "--workdir", path, "--optimize-noise")
    assert "this generator has no noise" in said
