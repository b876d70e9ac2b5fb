"""Nearest training images of samples, and their place in a report."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import call
from html_pages import parse
from PIL import Image
from report_runs import write_run

from ganformer_jax.config.files import load_experiment
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.features import FeatureReader
from ganformer_jax.evaluate.image_sets import ImageSet
from ganformer_jax.evaluate.neighbors import find_neighbors, nearest_rows, usual_distance

RUN = Path(__file__).parent / "data" / "run-0.1"


class Colors:
    """Stand-in for Inception: mean colors."""

    names, batch_size = ("2048", "logits_unbiased"), 4

    def __call__(self, images):
        return dict.fromkeys(self.names, images.mean((1, 2)).astype(np.float32))


def gray_images(levels, name="grays", count=None):
    levels = np.array(levels, np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (len(levels), 8, 8, 3))
    return ImageSet(name, count, lambda indices: images[list(indices)])


def test_distances_are_euclidean():
    random = np.random.default_rng(0)
    query, rows = random.normal(size=(5, 7)), random.normal(size=(600, 7))
    expected = np.linalg.norm(query[:, None] - rows[None], axis=-1)
    indices, distances = nearest_rows(query, rows, 3)
    np.testing.assert_array_equal(indices, expected.argsort(axis=1)[:, :3])
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :3], rtol=1e-6)
    among = np.linalg.norm(rows[:, None] - rows[None], axis=-1) + 1e9 * np.eye(600)
    assert usual_distance(rows) == pytest.approx(np.median(among.min(axis=1)), rel=1e-6)
    assert usual_distance(np.array([[0.0], [3.0]])) == 3.0


def test_the_nearest_images_are_found():
    samples, real = gray_images([9, 200]), gray_images([0, 100, 10, 201, 255], count=5)
    counts = {"samples": 2, "nearest": 2, "searched": 100}
    found = find_neighbors(samples, real, FeatureReader(Colors(), "x"), "colors", **counts)
    assert found.indices.tolist() == [[2, 0], [3, 4]]
    assert found.nearest[:, :, 0, 0, 0].tolist() == [[10, 0], [201, 255]]
    assert (found.searched, found.total, found.samples.shape) == (5, 5, (2, 8, 8, 3))
    np.testing.assert_allclose(found.distances[:, 0], np.sqrt(3), rtol=1e-6)
    few = gray_images([1], count=1)
    with pytest.raises(UserError, match="grays has 1 images: neighbors need two or more"):
        find_neighbors(samples, few, FeatureReader(Colors(), "x"), "colors", **counts)


def test_neighbors_in_a_page(tmp_path, capsys, monkeypatch):
    run, real = tmp_path / "run", tmp_path / "real"
    shutil.copytree(RUN, run)
    real.mkdir()
    for number, image in enumerate(np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3))):
        Image.fromarray(image.astype(np.uint8)).save(real / f"{number}.png")
    reader = FeatureReader(Colors(), "x")
    monkeypatch.setattr("ganformer_jax.experiment.neighbors.feature_reader", lambda *_: reader)
    arguments = ["report", str(run), "--real", str(real), "--neighbors", "3"]
    code, out, err = call(capsys, *arguments, "--neighbor-images", "4")
    assert code == 0 and "warning" not in err
    page = parse((run / "report.html").read_text())
    section = next(e for e in page.all("section") if e.attributes["id"] == "neighbors")
    assert len(list(section.all("img"))) == 3 * (1 + 4)
    words = section.words()
    assert "the first 4 of 6 images of" in words and "Inception with random weights" in words


def test_why_neighbors_are_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = write_run(tmp_path / "a", kimg=1, samples=0)
    other = write_run(tmp_path / "b", config=load_experiment("scenes_prior"))
    assert call(capsys, "report", str(other))[0] == 0
    words = parse((other / "report.html").read_text()).words()
    assert "Missing: only samples of GANs are compared with training images." in words
    for reason in ("the run has no checkpoint yet", "the run's scenes are not in data"):
        code, out, err = call(capsys, "report", str(run))
        assert code == 0 and f"warning: no nearest training images: {reason}" in err
        assert f"Missing: {reason}" in parse((run / "report.html").read_text()).words()
        (run / "checkpoints" / "1").mkdir(parents=True, exist_ok=True)
    assert not (tmp_path / "data").exists()
