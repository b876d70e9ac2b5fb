"""A prior by the command line: trained, measured, drawn, sampled, and refused elsewhere."""

import json
import re

import numpy as np
import pytest
from command_line import assert_evaluated_as_logged, call, complaint
from PIL import Image
from small_scenes import small_chunks

from ganformer_jax.cli import main

# Commands of a kind of training that is not a GAN are quicker to test with a translation.
pytestmark = pytest.mark.slow
SMOKE = """
--config scenes_prior --autoencoder.width 4 --autoencoder.multipliers 1 1 1 --codebook.entries 16
--codebook.width 4 --transformer.layers 1 --transformer.width 16 --transformer.heads 2
--transformer.hidden-width 16 --discriminator.width 2 --discriminator.layers 1
--prior.autoencoder-kimg 0.016 --prior.adversarial-kimg 0.008
--data.train-images 16 --data.held-out-images 8 --train.batch-size 8 --train.total-kimg 0.032
--train.log-kimg 0.008 --train.image-kimg 0.032 --train.metric-kimg 0.032 --train.metric-images 8
""".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("prior")


def arguments(folder, *options):
    paths = ["--workdir", str(folder / "run"), "--data.directory", str(folder / "data")]
    return ["train", *SMOKE, *paths, *options]


@pytest.fixture(scope="module")
def run(folder):
    with small_chunks():
        main(arguments(folder))
    return folder / "run"


def test_a_run_is_measured_and_drawn(run):
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    first, last = ([r for r in records if r["step"] == step] for step in (0, 4))
    names = {name for record in first for name in record}
    assert "codes/error" in names and not {"codes/bits", "metric/swd"} & names
    found = {name: value for record in last for name, value in record.items()}
    assert 0 < found["codes/error"] < 128 and 0 < found["codes/used"] <= 1
    assert 1 <= found["codes/perplexity"] <= 16
    assert abs(found["codes/bits"] - 4) < 1 and found["metric/swd"] > 0
    for name in ("00000000-reconstructions", "00000004", "00000004-reconstructions"):
        with Image.open(run / "samples" / f"{name}.png") as image:
            assert np.asarray(image).std() > 1


def read(folder):
    return {path.name: np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))}


def test_images_are_sampled_by_seed_and_kept(capsys, tmp_path, run):
    out, alone, likely = (tmp_path / name for name in ("out", "alone", "likely"))
    command = ["sample", "--workdir", str(run), "--batch-size", "4"]
    _, said, _ = call(capsys, *command, "--count", "5", "--out", str(out))
    assert f"5 images in {out}" in said and (tmp_path / "out-grid.png").exists()
    images = read(out)
    assert len({image.tobytes() for image in images.values()}) == 5
    record = json.loads((out / "samples.jsonl").read_text().splitlines()[0])
    assert (record["seed"], record["temperature"], record["top_k"]) == (0, 1.0, 0)
    assert "5 of 5 images are in" in call(capsys, *command, "--count", "5", "--out", str(out))[1]
    call(capsys, *command, "--seeds", "3", "--out", str(alone))
    np.testing.assert_array_equal(read(alone)["000003.png"], images["000003.png"])
    for option in (["--temperature", "0"], ["--top-k", "1"]):
        more = [*option, "--count", "3", "--overwrite", "--out", str(likely)]
        call(capsys, *command, *more)
        assert len({image.tobytes() for image in read(likely).values()}) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--top-k", "17"], "--top-k is 17; it should be from 0 to 16, codebook.entries"),
        (["--temperature", "-1"], "--temperature is -1.0; it should be 0 or more"),
        (["--truncation-psi", "1"], "--truncation-psi does not apply to"),
        (["--class", "1"], "--class: no class 1: the generator was trained without classes"),
        (["--prompt", "a cube"], "was not trained on captions"),
        (["--step", "1"], "no checkpoint 1 in"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(capsys, run, options, message):
    assert message in complaint(capsys, "sample", "--workdir", str(run), *options)


def test_other_commands_say_that_a_run_is_of_a_prior(capsys, run, tmp_path):
    said = complaint(capsys, "export", "--workdir", str(run), "--out", str(tmp_path / "x"))
    assert "is of kind prior, but a GAN is needed: use `sample`" in said
    said = complaint(capsys, "sample", "--workdir", str(run), "--images", str(run))
    assert "is of kind prior, not translation: use `sample`" in said
    said = complaint(capsys, "train", "--config", "scenes_prior", "--init-from", str(run))
    assert "--init-from is for GANs" in said
    said = complaint(capsys, "sample", "--workdir", str(tmp_path), "--top-k", "4")
    assert "--top-k is for priors: leave it out" in said


def test_a_transformer_that_is_not_trained_makes_no_images(capsys, folder, run):
    short = ["--workdir", str(folder / "short"), "--train.total-kimg", "0.008"]
    main(arguments(folder, *short))
    said = complaint(capsys, "sample", "--workdir", str(folder / "short"))
    assert "is at 0.008 kimg, and its transformer trains after 0.016: train it further" in said
    said = complaint(capsys, "evaluate", "--workdir", str(folder / "short"), "--metrics", "swd8")
    assert "its transformer trains after 0.016" in said


def test_labels_that_the_data_lack_are_refused(capsys, folder):
    said = complaint(capsys, *arguments(folder, "--prior.label-size", "3"))
    assert "set --prior.label-size 0 --prior.vocabulary 0" in said
    said = complaint(
        capsys, *arguments(folder, "--prior.label-size", "3", "--prior.vocabulary", "7")
    )
    assert "set --prior.label-size 18 --prior.vocabulary 39" in said


def test_captions_condition_a_run(capsys, folder, run):
    options = ["--prior.label-size", "18", "--prior.vocabulary", "39"]
    captioned = folder / "captioned"
    main(arguments(folder, *options, "--workdir", str(captioned)))
    command = ["sample", "--workdir", str(captioned), "--count", "2"]
    call(capsys, *command, "--out", str(folder / "without"))
    record = json.loads((folder / "without" / "samples.jsonl").read_text().splitlines()[0])
    assert re.match(r"\w+ objects?, an? ", record["caption"])
    prompt = "one object, a large red metal cube"
    call(capsys, *command, "--prompt", prompt)
    record = json.loads((captioned / "generated" / "samples.jsonl").read_text().splitlines()[0])
    assert record["prompt"] == prompt


def test_evaluate_measures_what_training_logged(capsys, run):
    assert_evaluated_as_logged(capsys, run, "prior")


def test_a_run_has_a_report(capsys, run):
    call(capsys, "report", str(run))
    page = (run / "report.html").read_text()
    assert "--config scenes_prior" in page and "32 × 32" in page
    assert "Held-out images above their reconstructions" in page


def test_programs_are_compiled_before_training(capsys, folder):
    _, said, _ = call(capsys, *arguments(folder, "--compile-only"))
    for name in ("autoencoder", "adversarial", "transformer", "first state", "samples"):
        assert f"{name}: " in said


def test_classes_condition_a_run(capsys, tmp_path, monkeypatch):
    """A folder for each class, prepared, trained on and sampled."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        folder = tmp_path / "pets" / name
        folder.mkdir(parents=True)
        for number in range(8):
            pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    assert (
        call(
            capsys, "prepare", "pets", "--name", "pets", "--resolution", "8", "--labels", "folders"
        )[0]
        == 0
    )
    command = [*arguments(tmp_path), "--data.name", "data/pets"]
    command += ["--autoencoder.image-size", "8", "8"]
    said = complaint(capsys, *command, "--prior.label-size", "3")
    assert "set --prior.label-size 2 --prior.vocabulary 0" in said
    code, _, err = call(capsys, *command, "--prior.label-size", "2")
    assert code == 0, err
    call(capsys, "sample", "--workdir", "run", "--count", "4", "--class", "dog", "cat")
    lines = (tmp_path / "run" / "generated" / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["class"] for line in lines] == ["dog", "cat", "dog", "cat"]
