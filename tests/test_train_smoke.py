"""From the command line to images: a few steps on scenes, resumed, then sampled."""

import io
import json

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from command_line import call, complaint
from event_files import images
from PIL import Image
from small_scenes import small_chunks

from ganformer_jax import load
from ganformer_jax.cli import main
from ganformer_jax.data.png import encode_stored
from ganformer_jax.evaluate import weights

TINY = """
--config scenes_ganformer
--generator.components 2 --generator.latent-size 8 --generator.base-grid 16 16
--generator.attention-resolutions 16 16
--generator.mapping.num-layers 1 --generator.synthesis.channel-base 64
--generator.synthesis.channel-max 4 --discriminator.channel-base 64
--discriminator.channel-max 4 --data.train-images 64 --data.held-out-images 32
--train.batch-size 8 --train.total-kimg 0.032 --train.log-kimg 0.016 --train.image-kimg 0.032
--train.metric-kimg 0.032 --train.checkpoint-kimg 0.016 --train.metric-images 32
--loss.r1-gamma 0
""".split()


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("smoke")


def arguments(folder, *options, run="run"):
    paths = ["--workdir", str(folder / run), "--data.directory", str(folder / "data")]
    return ["train", *paths, *TINY, *options]


@pytest.fixture(scope="module")
def run(folder):
    """A run of four steps, resumed after two, made once."""
    with small_chunks():
        main(arguments(folder, "--train.total-kimg", "0.016"))
    main(arguments(folder))
    return folder / "run"


def test_a_run_leaves_what_it_should(run):
    steps = {p.name for p in (run / "checkpoints").iterdir() if p.name.isdigit()}
    assert steps == {"2", "4"}
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if "metric/swd" in r] == [0, 2, 4]
    assert [r["step"] for r in records if "loss/generator" in r] == [2, 4]
    assert json.loads((run / "config.json").read_text())["generator"]["components"] == 2
    drawn = images(run / "tensorboard")
    names = ("images/samples", "images/attention")
    assert set(drawn) == {(step, name) for step in (0, 2, 4) for name in names}
    assert all("overfitting/r_t" in r for r in records if "loss/generator" in r)
    for name in ("00000000.png", "00000000-attention.png", "00000004.png"):
        assert read(run / "samples" / name).std() > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--train.metrics", "rfid"], "train.metrics: rfid32 needs 2049 images or more, not 32"),
        (["--train.metrics", "rfid3k"], "rfid3k needs 2049 real images or more, not 64"),
    ],
)
def test_metrics_that_cannot_be_measured_are_refused_at_once(capsys, folder, options, message):
    said = complaint(capsys, *arguments(folder, *options, run="few"))
    assert message in said and not (folder / "few").exists()


def test_weights_that_cannot_be_loaded_are_refused_at_once(capsys, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(weights.SOURCES, "inception", "http://127.0.0.1:9/weights.pth")
    said = complaint(capsys, *arguments(folder, "--train.metrics", "kid", run="offline"))
    assert "cannot download" in said and not (folder / "offline").exists()


def losses(run):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["loss/generator"] for line in lines if "loss/generator" in line]


def test_a_resumed_run_equals_one_in_a_single_command(capsys, folder, run):
    """Bit for bit, and data order included: losses of later steps and weights are the same."""
    code, out, err = call(capsys, *arguments(folder, run="single"))
    assert code == 0, err
    assert "training in" in out and "--init-from" not in out
    assert len(losses(run)) == 2 and losses(folder / "single") == losses(run)
    weights = (load(path)[1] for path in (run, folder / "single"))
    jax.tree.map(np.testing.assert_array_equal, *weights)


def test_another_config_in_the_same_folder_is_refused(capsys, folder, run):
    def files():  # but the lock, which names who had it last
        paths = (p for p in run.rglob("*") if p.is_file() and p.name != ".lock")
        return sorted((p, p.stat().st_mtime_ns) for p in paths)

    before = files()
    said = complaint(capsys, *arguments(folder, "--loss.r1-gamma", "3"))
    assert "loss.r1_gamma was " in said and ", now 3.0)" in said
    assert before == files()


@pytest.mark.slow
def test_init_from_networks_of_the_same_size(capsys, folder, run):
    source = ["--init-from", str(run), "--train.total-kimg", "0.008"]
    code, out, err = call(capsys, *arguments(folder, *source, run="from"))
    assert code == 0, err
    said = [line for line in out.splitlines() if "weights" in line or "taken" in line]
    assert said == [f"starting from the weights of {run}"]


@pytest.mark.slow
def test_init_from_networks_of_another_size(capsys, folder, run):
    source, other = ["--init-from", str(run)], ["--generator.synthesis.channel-max", "2"]
    other += ["--generator.latent-size", "16"]
    said = complaint(capsys, *arguments(folder, *source, *other, run="other"))
    assert f"the generators of {run} and of this config have too little in common" in said
    assert "generator.latent_size is 8 there, 16 here" in said
    assert not (folder / "other").exists()
    more = "--generator.components 4 --generator.latent-size 16 --train.total-kimg 0.008".split()
    freeze = ["--train.freeze-discriminator", "1"]
    code, out, err = call(capsys, *arguments(folder, *source, *more, *freeze, run="more"))
    assert code == 0, err
    assert "  adapted: 2 components; 2 more are new (2)" in out
    lines = (folder / "more" / "transfer.txt").read_text().splitlines()
    assert lines[0] == f"weights of {run}"
    name = "ema.synthesis.block_16.layer_1.attention.top_down.centroids"
    assert f"adapted   {name}: 2 components; 2 more are new" in lines
    before, after = (load(path)[1]["params"]["synthesis"] for path in (run, folder / "more"))
    change = after["stem"]["constant"] - before["stem"]["constant"]
    assert 0 < np.abs(change).max() < 0.1
    code, out, err = call(capsys, *arguments(folder, *source, *more, *freeze, run="more"))
    assert code == 0 and "resuming" in out and "--init-from has no effect" in out, err
    said = complaint(capsys, *arguments(folder, *more, run="more"))
    assert "train.freeze_discriminator was 1, now 0" in said


def test_sampling(capsys, tmp_path, run):
    options = ["sample", "--workdir", str(run), "--batch-size", "2"]
    folder = tmp_path / "a"

    def sample(*more, out=folder):
        code, said, err = call(capsys, *options, "--out", str(out), *more)
        assert code == 0, err
        return said

    said = sample("--count", "3")
    assert "3 images in" in said
    names = [f"{seed:06d}.png" for seed in range(3)]
    assert {p.name for p in folder.iterdir()} == {*names, "samples.jsonl"}
    assert {p.name for p in tmp_path.iterdir()} == {"a", "a-grid.png", "a-attention.png"}
    assert read(folder / "000000.png").shape == (32, 32, 3)
    records = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert [(r["file"], r["seed"]) for r in records] == [(n, i) for i, n in enumerate(names)]
    assert {(r["truncation_psi"], r["noise"]) for r in records} == {(0.7, "const")}

    (folder / names[2]).unlink()  # as if interrupted
    before = {name: (folder / name).stat().st_mtime_ns for name in names[:2]}
    assert "2 of 4 images are in" in sample("--seeds", "0-2,7")
    assert all((folder / name).stat().st_mtime_ns == time for name, time in before.items())
    assert (folder / names[2]).exists() and (folder / "000007.png").exists()
    assert len((folder / "samples.jsonl").read_text().splitlines()) == 4

    other = ["--seeds", "1,9", "--truncation-psi", "1"]
    said = complaint(capsys, *options, "--out", str(folder), *other)
    assert "000001.png would be replaced by other images" in said and "--overwrite" in said
    assert (folder / names[1]).stat().st_mtime_ns == before[names[1]]
    assert not (folder / "000009.png").exists()
    sample(*other, "--overwrite")
    assert (folder / names[1]).stat().st_mtime_ns > before[names[1]]
    (tmp_path / "b-grid.png").write_text("mine")
    said = complaint(capsys, *options, "--out", str(tmp_path / "b"))
    assert "b-grid.png would be replaced" in said and not (tmp_path / "b").exists()

    sample("--count", "3", "--seed", "1", "--best", out=tmp_path / "c")
    one, same = (read(tmp_path / d / "000002.png") for d in "ac")
    np.testing.assert_array_equal(one, same)  # decided by its seed, not its place in the batch


def test_what_sampling_writes_can_be_evaluated(capsys, tmp_path, run):
    out = tmp_path / "g"
    code, _, err = call(capsys, "sample", "--workdir", str(run), "--count", "8", "--out", str(out))
    assert code == 0, err
    measure = ["evaluate", "--fake", str(out), "--real", str(out), "--metrics", "swd"]
    code, said, err = call(capsys, *measure)
    assert code == 0, err
    distances = [v for k, v in json.loads(said.splitlines()[-1]).items() if k.startswith("swd")]
    assert set(distances) == {0}


def test_exports_are_sampled(capsys, tmp_path, run):
    export = tmp_path / "e.safetensors"
    assert call(capsys, "export", "--workdir", str(run), "--out", str(export))[0] == 0
    code, _, err = call(capsys, "sample", "--workdir", str(export), "--count", "2")
    assert code == 0, err
    options = ["sample", "--workdir", str(run), "--count", "2", "--out", str(tmp_path / "of-run")]
    assert call(capsys, *options)[0] == 0
    for name in ("000000.png", "000001.png"):
        one, same = (read(tmp_path / d / name) for d in ("e-generated", "of-run"))
        np.testing.assert_array_equal(one, same)
    said = complaint(capsys, "sample", "--workdir", str(export), "--best")
    assert "has no checkpoints" in said


def test_sampling_what_is_not_there(capsys, run):
    said = complaint(capsys, "sample", "--workdir", str(run), "--step", "3")
    assert "no checkpoint 3" in said
    said = complaint(capsys, "sample", "--workdir", str(run), "--class", "3")
    assert "the generator was trained without classes" in said
    assert not (run / "classes.json").exists()
    assert not (run / "generated").exists()


class Flags(tfds.core.GeneratorBasedBuilder):
    """Flat images of 8x8 in three classes."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(8, 8, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=["red", "green", "blue"]),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for index in range(12):
            pixels = np.zeros((8, 8, 3), np.uint8)
            pixels[..., index % 3] = 255
            yield index, {"image": io.BytesIO(encode_stored(pixels)), "label": index % 3}


@pytest.mark.slow
def test_classes_have_names_from_the_data_to_the_samples(capsys, tmp_path):
    builder = Flags(data_dir=str(tmp_path))
    builder.download_and_prepare(file_format="array_record")
    capsys.readouterr()
    run = tmp_path / "run"
    options = ["--workdir", str(run), "--data.name", str(builder.data_path), *TINY]
    options += "--generator.base-grid 4 4 --generator.resolution 8 --generator.components 0".split()
    options += ["--generator.synthesis.style"]
    options += ["--train.total-kimg", "0.008"]
    options += "--train.image-kimg 0 --train.metric-kimg 0 --generator.label-size".split()
    said = complaint(capsys, "train", *options, "2")
    assert "has 3 classes: set --generator.label-size 3" in said and not run.exists()
    code, _, err = call(capsys, "train", *options, "3")
    assert code == 0, err
    assert json.loads((run / "classes.json").read_text()) == ["red", "green", "blue"]

    def sample(name, *options):
        out = ["--out", str(tmp_path / name), "--noise", "none", "--truncation-psi", "1"]
        code, _, err = call(capsys, "sample", "--workdir", str(run), "--count", "3", *out, *options)
        assert code == 0, err
        return [read(tmp_path / name / f"00000{seed}.png") for seed in range(3)]

    named = sample("named", "--class", "blue")
    np.testing.assert_array_equal(named, sample("numbered", "--class", "2"))
    in_turn = sample("in_turn")
    np.testing.assert_array_equal(in_turn[2], named[2])
    two = sample("two", "--class", "green", "2")
    np.testing.assert_array_equal(two[1], named[1])
    records = (tmp_path / "two" / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["class"] for line in records] == ["green", "blue", "green"]
    assert not np.array_equal(in_turn[0], named[0])
    said = complaint(capsys, "sample", "--workdir", str(run), "--class", "gren")
    assert "among 3 classes; did you mean green?" in said
