"""Cases from public threads about commands; docs/notes/cases.md has their links."""

import json
import subprocess
import sys

import numpy as np
import pytest
from command_line import call, complaint
from PIL import Image
from processes import ENVIRONMENT, HERE

from ganformer_jax.evaluate import features
from ganformer_jax.metrics.inception_features import inception_variables


class MeanColors:
    """Stand-in for Inception, which takes long to compile."""

    names, batch_size = ("2048", "logits_unbiased"), 64

    def __call__(self, images):
        return dict.fromkeys(self.names, images.mean((1, 2)).astype(np.float32))


@pytest.fixture
def quick(monkeypatch):
    def extractor(weights, names, batch_size, sharding):
        if weights:
            inception_variables(weights)
        return MeanColors()

    monkeypatch.setattr(features, "FeatureExtractor", extractor)
    monkeypatch.setattr(features, "random_weights", dict)


def write_images(folder, count, size=(16, 16), mode="RGB", suffix="png", same=False):
    folder.mkdir(parents=True)
    for index in range(count):
        generator = np.random.default_rng(0 if same else index)
        pixels = generator.integers(0, 256, (*size[::-1], 3), np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"{index}.{suffix}")
    return folder


def measured(capsys, fake, real, metrics, *options):
    folders = ["--fake", str(fake), "--real", str(real), "--no-cache"]
    code, out, err = call(capsys, "evaluate", *folders, "--metrics", metrics, *options)
    assert code == 0, err
    return json.loads(out.splitlines()[-1])


def test_the_package_is_a_command_too():
    command = [sys.executable, "-m", "ganformer_jax", "sample", "--help"]
    ran = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and "--truncation-psi" in ran.stdout
    assert (HERE.parent / "ganformer_jax" / "__main__.py").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (32, 32)}, None),  # of another size
        ({"mode": "L"}, None),
        ({"suffix": "jpg"}, None),
        ({"mode": "P"}, None),
        ({"mode": "1"}, None),
    ],
)
def test_folders_that_differ_in_size_and_kind_are_compared_by_features(
    capsys, tmp_path, quick, options, message
):
    fake = write_images(tmp_path / "fake", 12)
    real = write_images(tmp_path / "real", 7, **options)
    found = measured(capsys, fake, real, "rkid,rpr", "--batch-size", "64")
    assert np.isfinite(found["rkid12"]) and found["real_images"] == 7


def test_copies_of_one_image_have_finite_distances(capsys, tmp_path, quick):
    fake = write_images(tmp_path / "fake", 8, same=True)
    real = write_images(tmp_path / "real", 8)
    found = measured(capsys, fake, real, "rfid,rkid,rprdc,swd", "--allow-few")
    numbers = [value for value in found.values() if isinstance(value, float)]
    assert len(numbers) == 7 and np.isfinite(numbers).all()
    same = measured(capsys, fake, fake, "rfid", "--allow-few")
    assert same["rfid8"] == pytest.approx(0, abs=1e-9)


def test_sizes_that_cannot_be_compared_pixel_by_pixel_are_refused(capsys, tmp_path, quick):
    folders = [write_images(tmp_path / str(side), 4, size=(side, side)) for side in (16, 32)]
    names = ["--fake", str(folders[0]), "--real", str(folders[1])]
    said = complaint(capsys, "evaluate", *names, "--metrics", "swd")
    assert "of one size" in said and "32, 32" in said and "16, 16" in said


def test_folders_with_blanks_and_letters_of_any_alphabet(capsys, tmp_path):
    photos = write_images(tmp_path / "my photos" / "größe ü", 4)
    data = tmp_path / "my data"
    code, said, err = call(
        capsys, "prepare", str(photos), "--name", "photos", "--data-dir", str(data)
    )
    assert code == 0, err
    assert "train --workdir runs/photos --data.name '" in said  # quoted for a shell
    said = complaint(capsys, "prepare", str(photos), "--name", "größe", "--data-dir", str(data))
    assert "use lowercase letters, digits and underscores" in said


def test_sizes_that_do_not_halve_are_refused_with_some_that_do(capsys, tmp_path):
    photos = write_images(tmp_path / "photos", 4, size=(44, 32))
    data = ["--name", "p", "--data-dir", str(tmp_path / "data")]
    said = complaint(capsys, "prepare", str(photos), *data, "--resolution", "418")
    assert "power of two from 8 up" in said
    code, said, err = call(
        capsys, "prepare", str(photos), *data, "--resolution", "32", "--ratio", "0.75"
    )
    assert code == 0, err
    assert "--generator.base-grid 3 4" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "--train.batch-size 6",
            "a multiple of 4 (discriminator.minibatch_stddev_group 4), such as 4",
        ),
        ("--generator.resolution 418", "generator.resolution is 418"),
        ("--train.batch-size 0", "train.batch_size is 0"),
    ],
)
def test_batches_and_sizes_that_do_not_fit_are_refused_at_once(capsys, tmp_path, options, message):
    run = tmp_path / "run"
    said = complaint(capsys, "train", "--workdir", str(run), *options.split())
    assert message in said and not run.exists()


def test_a_range_of_values_is_of_one_set(capsys, tmp_path):
    """Images of 8 bits beside numbers: the range of numbers would make them black and white."""
    write_images(tmp_path / "fake", 4, size=(32, 32))
    files = sorted((tmp_path / "fake").iterdir())
    pixels = np.stack([np.asarray(Image.open(path)) for path in files])
    np.save(tmp_path / "real.npy", (pixels / 255).astype(np.float32))
    words = ["--fake", str(tmp_path / "fake"), "--real", str(tmp_path / "real.npy")]
    words = ["evaluate", *words, "--metrics", "swd", "--value-range", "0", "1"]
    said = complaint(capsys, *words)
    assert "give the range of --fake with --fake-value-range, 0 255 for 8-bit images" in said
    code, out, _ = call(capsys, *words, "--fake-value-range", "0", "255")
    assert code == 0 and json.loads(out.splitlines()[-1])["swd4"] == 0
    said = complaint(capsys, "evaluate", "--workdir", "x", "--fake-value-range", "0", "1")
    assert "--fake-value-range is for --fake" in said


def test_images_of_8_bits_that_are_scaled_are_said(capsys, tmp_path):
    write_images(tmp_path / "fake", 4, size=(32, 32))
    words = ["--fake", str(tmp_path / "fake"), "--real", str(tmp_path / "fake")]
    words = ["evaluate", *words, "--metrics", "swd", "--value-range", "0", "15"]
    code, _, err = call(capsys, *words)
    assert code == 0
    assert "fake: 8-bit images are scaled: 0 to black and 15 to white" in err


@pytest.mark.parametrize("option", ["--split test", "--array x", "--follow-links"])
def test_options_without_effect_are_refused_by_evaluate_too(capsys, tmp_path, option):
    paths = [write_images(tmp_path / name, 2) for name in ("a", "b")]
    np.save(tmp_path / "x.npy", np.zeros((2, 16, 16, 3), np.uint8))
    fake = tmp_path / "x.npy" if option == "--follow-links" else paths[0]
    real = tmp_path / "x.npy" if option == "--follow-links" else paths[1]
    words = ["evaluate", "--fake", str(fake), "--real", str(real), "--metrics", "swd"]
    said = complaint(capsys, *words, *option.split())
    assert f"{option.split()[0]} has no effect on " in said


@pytest.mark.parametrize("option", ["--fake", "--real"])
def test_a_run_is_no_folder_of_images(capsys, tmp_path, option):
    write_images(tmp_path / "images", 2)
    write_images(tmp_path / "run" / "samples", 2)
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    folders = {"--fake": tmp_path / "images", "--real": tmp_path / "images"}
    folders[option] = tmp_path / "run"
    words = [str(word) for pair in folders.items() for word in pair]
    said = complaint(capsys, "evaluate", *words, "--metrics", "swd")
    assert "is a run" in said and "--workdir" in said
    prepare = "prepare", str(tmp_path / "run"), "--name", "pets"
    assert "is a run" in complaint(capsys, *prepare)
