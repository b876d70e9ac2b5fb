"""The `evaluate` command and its parts: requests, image sets, cached features."""

import importlib
import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import tiny_generator

from ganformer_jax.cli import main
from ganformer_jax.data.sources.folder import FolderSource
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate import features, weights
from ganformer_jax.evaluate.comparison import compare
from ganformer_jax.evaluate.feasibility import check_measurable
from ganformer_jax.evaluate.features import FeatureReader, NetworkSettings
from ganformer_jax.evaluate.image_sets import ImageSet, source_images
from ganformer_jax.evaluate.requests import RANDOM, TRAINED, Request, parse_requests
from ganformer_jax.evaluate.training_metrics import TrainingMetrics, parse_training_requests
from ganformer_jax.evaluate.weights import load_weights
from ganformer_jax.metrics.inception_features import inception_variables


def write_folder(path, count, side=16, seed=0):
    path.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(path / f"{i:03d}.png")
    return path


def folder_images(path):
    return source_images(FolderSource(path))


def random_images(indices):
    """Images that their indices decide."""
    draw = [np.random.default_rng(index).integers(0, 256, (16, 16, 3)) for index in indices]
    return np.stack(draw).astype(np.uint8)


# Requests


def test_requests():
    found = parse_requests("fid50k, KID,rpr10k,ppl_w_end,ppl_z_full200,rfid2048,kid", 1500)
    assert found == [
        Request("fid50k", "fid", 50_000),
        Request("kid1500", "kid", 1500),
        Request("rpr10k", "rpr", 10_000),
        Request("ppl_w_end_1500", "ppl_w_end", 1500),
        Request("ppl_z_full_200", "ppl_z_full", 200),
        Request("rfid2048", "rfid", 2048),
    ]
    assert [r.needs_reference for r in found] == [True, True, True, False, False, True]
    assert not any(r.needs_reference for r in parse_requests("is,seg,dci,caption", 1))
    assert [r.needs_generator for r in parse_requests("is,seg,dci,swd", 1)] == [0, 1, 1, 0]
    assert [r.count for r in parse_requests("seg,dci,caption,seg64", 1)] == [500, 2000, 1000, 64]
    assert [r.network for r in found] == [TRAINED, TRAINED, RANDOM, None, None, RANDOM]
    assert [r.feature for r in found][:5] == ["2048", "2048", "2048", None, None]
    assert parse_requests("ppl_w_end_50k", 1)[0].count == 50_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fidd", "unknown metric fidd; did you mean fid?"),
        ("xyz", "choose from fid, kid"),
        ("ris", "unknown metric ris"),
        ("fid0", "needs at least one image"),
        (" , ", "name metrics"),
    ],
)
def test_invalid_requests(text, message):
    with pytest.raises(UserError, match=message):
        parse_requests(text, 10)


# Folders


def test_images_of_a_folder_in_the_order_of_their_paths(tmp_path):
    write_folder(tmp_path / "b", 2)
    (tmp_path / "a").mkdir()
    gray = np.full((16, 16), 77, np.uint8)
    Image.fromarray(gray).save(tmp_path / "a" / "gray.PNG")
    Image.fromarray(gray).convert("P").save(tmp_path / "c.png")
    (tmp_path / "notes.txt").write_text("not an image")
    folder = folder_images(tmp_path)
    assert folder.count == 4
    images = folder.read([0, 3])
    assert images.shape == (2, 16, 16, 3) and (images == 77).all()
    np.testing.assert_array_equal(folder.read([1])[0], Image.open(tmp_path / "b" / "000.png"))
    before = folder.digest(4)
    assert before == folder_images(tmp_path).digest(4) != folder.digest(3)
    Image.fromarray(gray + 1).save(tmp_path / "c.png")
    assert folder_images(tmp_path).digest(4) != before


def test_only_images_of_a_folder_count(tmp_path):
    image = write_folder(tmp_path / "images", 2) / "000.png"
    expected = folder_images(tmp_path / "images")
    for name in (".ipynb_checkpoints/x.png", "._x.png", "Thumbs.db", ".DS_Store"):
        path = tmp_path / "images" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(image.read_bytes())
    found = folder_images(tmp_path / "images")
    assert found.count == 2 and found.digest(2) == expected.digest(2)


# Features


class Mean:
    """Stand-in for Inception: mean colors, and the number of images it has seen."""

    names, batch_size, seen = ("2048", "logits_unbiased"), 4, 0

    def __call__(self, images):
        self.seen += len(images)
        return dict.fromkeys(self.names, images.mean((1, 2)).astype(np.float32))


def test_features_of_images_that_do_not_change_are_cached(tmp_path):
    folder, extractor = write_folder(tmp_path / "images", 6), Mean()
    read = FeatureReader(extractor, "weights", tmp_path / "cache")
    first = read(folder_images(folder), 6)["2048"]
    np.testing.assert_allclose(first, folder_images(folder).read(range(6)).mean((1, 2)), rtol=1e-6)
    np.testing.assert_array_equal(read(folder_images(folder), 6)["2048"], first)
    assert extractor.seen == 6
    np.testing.assert_array_equal(read(folder_images(folder), 5)["2048"], first[:5])
    FeatureReader(extractor, "other weights", tmp_path / "cache")(folder_images(folder), 6)
    Image.new("RGB", (16, 16)).save(folder / "003.png")
    assert (read(folder_images(folder), 6)["2048"][3] == 0).all()
    assert extractor.seen == 6 + 5 + 6 + 6
    assert not list((tmp_path / "cache").glob(".*"))


def test_a_damaged_cache_is_replaced_and_sets_that_are_too_small_are_refused(tmp_path, capsys):
    folder, extractor = folder_images(write_folder(tmp_path / "images", 3)), Mean()
    read = FeatureReader(extractor, "weights", tmp_path / "cache")
    first = read(folder, 3)["2048"]
    (cached,) = (tmp_path / "cache").iterdir()
    cached.write_bytes(cached.read_bytes()[:100])
    for _ in range(2):
        np.testing.assert_array_equal(read(folder, 3)["2048"], first)
    assert extractor.seen == 6
    assert capsys.readouterr().err.count("is damaged: it will be replaced") == 1
    with pytest.raises(UserError, match="has 3 images; 4 were requested"):
        read(folder, 4)


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path, capsys):
    folder, extractor = folder_images(write_folder(tmp_path / "images", 3)), Mean()
    (tmp_path / "cache").write_text("a file")
    read = FeatureReader(extractor, "weights", tmp_path / "cache")
    np.testing.assert_array_equal(read(folder, 3)["2048"], read(folder, 3)["2048"])
    assert extractor.seen == 6
    assert "is not cached for later evaluations" in capsys.readouterr().err


def test_metrics_of_one_network_share_its_features():
    extractor = Mean()
    images = ImageSet("numbers", None, random_images)
    readers = {RANDOM: FeatureReader(extractor, "weights")}
    requests = parse_requests("rfid12,rkid8,rpr12", 1)
    found = compare(requests, images, images, readers, reference_count=20)
    assert list(found) == ["rfid12", "rkid8", "rpr12_precision", "rpr12_recall"]
    assert extractor.seen == 12 + 20
    with pytest.raises(UserError, match="rfid3: too few images"):
        compare(parse_requests("rfid3", 1), images, images, readers, reference_count=20)


def test_a_metric_does_not_depend_on_the_others():
    """It compares with as many real images as generated ones, or those asked for."""
    images = ImageSet("numbers", 40, random_images)
    other = ImageSet("others", None, lambda indices: random_images([i + 100 for i in indices]))

    def measured(names, count=None):
        readers = {RANDOM: FeatureReader(Mean(), "weights")}
        return compare(parse_requests(names, 1), other, images, readers, reference_count=count)

    alone = measured("rpr8") | measured("rkid12")
    assert measured("rpr8,rkid12,swd20") == pytest.approx(alone | measured("swd20"))
    assert measured("swd20", 10) == {"swd20": measured("swd10")["swd10"]}
    assert measured("rkid12", 30) != measured("rkid12")


TWO_HOSTS = """
import sys
import jax, numpy as np
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from ganformer_jax.evaluate.features import FeatureReader
from ganformer_jax.evaluate.image_sets import ImageSet

class Mean:
    names, batch_size, seen = ("2048",), 2, 0
    def __call__(self, images):
        self.seen += len(images)
        return {"2048": images.mean((1, 2)).astype(np.float32)}

def make(rows):
    return np.array(rows, np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)

mean = Mean()
found = FeatureReader(mean, "weights")(ImageSet("numbers", None, make), 7)["2048"]
assert mean.seen == 4 and jax.process_count() == 2
np.testing.assert_array_equal(found[:, 0], np.arange(7))

from ganformer_jax import hosts

def trained():
    assert hosts.is_first(), "the first one works for all"
    return {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(3, np.int32)}

shapes = {"kernel": jax.ShapeDtypeStruct((2, 3), np.float32)}
shapes["bias"] = jax.ShapeDtypeStruct((3,), np.int32)
found = hosts.first_arrays(trained, shapes)
np.testing.assert_array_equal(found["kernel"], np.arange(6).reshape(2, 3))
assert found["bias"].dtype == np.int32 and found["bias"].sum() == 3
"""


def test_hosts_share_the_work_and_have_all_of_it():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    root = str(Path(__file__).parents[1])
    environment = {"PATH": "", "JAX_PLATFORMS": "cpu", "PYTHONPATH": root}
    hosts = [
        subprocess.Popen([sys.executable, "-c", TWO_HOSTS, address, str(host)], env=environment)
        for host in range(2)
    ]
    assert [host.wait(timeout=120) for host in hosts] == [0, 0]


# The command


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    real, fake = (write_folder(tmp_path / name, 4, seed=len(name)) for name in ("real", "fakes"))
    return ["evaluate", "--real", str(real), "--fake", str(fake), "--batch-size", "4"]


def test_two_folders(folders, capsys):
    main([*folders, "--metrics", "rkid,rpr"])
    first = capsys.readouterr()
    line = json.loads(first.out.splitlines()[-1])
    assert np.isfinite(line["rkid4"]) and 0 <= line["rpr4_recall"] <= 1
    assert line["real_images"] == 4 and line["weights"] == {"random inception": "random, seed 0"}
    assert "rpr4_precision" in first.out.splitlines()[1]
    main([*folders, "--metrics", "rkid,rpr"])
    again = capsys.readouterr()
    assert json.loads(again.out.splitlines()[-1]) == line
    assert "4/4" in first.err and "4/4" not in again.err


def test_values_of_fake_images_have_a_range_of_their_own(folders, quick, capsys, tmp_path):
    """The same images as files of 8 bits and as an array in 0..1 have the same distance."""
    fakes = tmp_path / "fakes"
    pixels = np.stack([np.asarray(Image.open(path)) for path in sorted(fakes.iterdir())])
    np.save(tmp_path / "fakes.npy", pixels / np.float32(255))
    found = []
    for fake, options in (("fakes", []), ("fakes.npy", ["--fake-value-range", "0", "1"])):
        main([*folders, "--fake", str(tmp_path / fake), "--metrics", "rkid", *options])
        found.append(json.loads(capsys.readouterr().out.splitlines()[-1])["rkid4"])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


@pytest.fixture
def quick(monkeypatch):
    """Mean colors in place of Inception."""

    def extractor(weights, names, batch_size, sharding):
        if weights:
            inception_variables(weights)
        return Mean()

    monkeypatch.setattr(features, "FeatureExtractor", extractor)
    monkeypatch.setattr(features, "random_weights", dict)


def complaint(capsys, arguments):
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    said = capsys.readouterr().err.splitlines()
    assert raised.value.code == 1 and said[-1].startswith("error: ")
    assert "Traceback" not in "".join(said)
    return said[-1]


def test_mistakes_end_in_one_line(folders, quick, capsys, tmp_path, monkeypatch):
    def said(*options):
        return complaint(capsys, [*folders, *options])

    assert "did you mean fid?" in said("--metrics", "fidd")
    assert "rkid5 needs 5 images; " in said("--metrics", "rkid5")
    too_many = said("--metrics", "rkid", "--real-count", "5")
    assert "real has 4 images; --real-count asks for 5" in too_many
    assert "rfid3 needs 2049 images or more, not 3" in said("--metrics", "rfid3")
    assert "rkid4 needs 2 real images or more" in said("--metrics", "rkid", "--real-count", "1")
    assert "needs a generator" in said("--metrics", "ppl_w_end")
    assert "must be 1 or more" in said("--batch-size", "0")
    assert "must be 1 or more" in said("--real-count", "0")
    assert "below 2^31" in said("--seed", str(2**31))
    for option in (["--truncation-psi", "0.5"], ["--noise", "none"], ["--step", "3"], ["--best"]):
        assert f"{option[0]} has no effect on --fake: leave it out" in said(*option)
    few = ["--allow-few", "--metrics", "fid"]
    assert "no file" in said(*few, "--inception", str(tmp_path / "none.pth"))
    (tmp_path / "bad.pth").write_bytes(b"not weights")
    bad = said(*few, "--inception", str(tmp_path / "bad.pth"))
    assert "no weights can be read from" in bad
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    other = said(*few, "--inception", str(tmp_path / "other.npz"))
    assert "not the weights of FID's Inception" in other
    monkeypatch.setitem(weights.SOURCES, "inception", "http://127.0.0.1:9/weights.pth")
    unread = said("--metrics", "rkid", "--inception", "weights.pth")
    assert "--inception has no effect on rkid: leave it out" in unread
    offline = said(*few)
    assert "cannot download" in offline and "give it as --inception" in offline
    assert "no run in" in complaint(capsys, ["evaluate", "--workdir", str(tmp_path / "none")])
    (tmp_path / "empty").mkdir()
    assert "no images in" in complaint(capsys, [*folders, "--real", str(tmp_path / "empty")])
    version = tmp_path / "data/scenes/32px/1.0.0"
    write_folder(version, 1)  # like the contact sheet of `prepare`
    (version / "dataset_info.json").touch()
    for above in (version.parents[1], version.parents[2]):
        datasets = complaint(capsys, [*folders, "--real", str(above)])
        assert f"{above} holds prepared datasets: name one, {version}" in datasets


def test_too_few_images_may_be_allowed_and_are_named(folders, quick, capsys):
    main([*folders, "--metrics", "rfid,rkid", "--allow-few"])
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["rfid4"] >= 0 and line["too_few_images"] == ["rfid4"]


def test_what_cannot_be_measured_is_refused_before_any_work():
    requests = parse_requests("rfid2k,fid50k", 1)
    with pytest.raises(UserError, match="rfid2k needs 2049 images or more, not 2000: take more, a"):
        check_measurable(requests)
    with pytest.raises(UserError, match="fid50k needs 50000 images; photos has 500"):
        check_measurable(requests[1:], 500, 10_000, fake_name="photos")
    with pytest.raises(UserError, match="fid50k needs 2049 real images or more, not 900"):
        check_measurable(requests[1:], None, 900)
    check_measurable(requests, None, 900, allow_few=True)
    check_measurable(parse_requests("is10,rpr4,rprdc6,rkid2,swd1,ppl_w_end1,seg1", 1), 10, 6)
    for name in ("is9", "rpr3", "rprdc5", "rkid1"):
        with pytest.raises(UserError, match=f"{name} needs .* images or more, not"):
            check_measurable(parse_requests(name, 1))


def test_no_run_is_needed_for_a_folder_alone(quick, capsys, tmp_path, monkeypatch):
    module = "ganformer_jax.experiment.evaluation.load_weights"
    monkeypatch.setattr(module, lambda name, **_: ({}, f"digest of {name}"))
    fake = str(write_folder(tmp_path / "fake", 10))
    alone = ["evaluate", "--fake", fake, "--workdir", str(tmp_path / "none"), "--no-cache"]
    main([*alone, "--metrics", "is"])
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "real" not in line and np.isfinite(line["is10"])
    assert line["weights"] == {"inception": "digest of inception"}
    assert "no run in" in complaint(capsys, [*alone, "--metrics", "rkid"])


def test_a_run_against_a_folder(folders, quick, capsys, tmp_path, monkeypatch):
    module = importlib.import_module("ganformer_jax.load")  # the package's `load` is a function
    network = tiny_generator(16)
    loaded = module.LoadedCheckpoint(*network, step=7, images_seen=1_500)
    monkeypatch.setattr(module, "load_checkpoint", lambda *_: loaded)
    run = tmp_path / "run"
    run.mkdir()
    arguments = ["evaluate", "--workdir", str(run), *folders[1:3], *folders[5:]]
    main([*arguments, "--metrics", "rkid4,swd4", "--truncation-psi", "0.5"])
    printed = capsys.readouterr().out.splitlines()[-1]
    assert (run / "evaluations.jsonl").read_text() == printed + "\n"
    line = json.loads(printed)
    assert len(line["weights"]["generator"]) == 64
    assert line["truncation_psi"] == 0.5 and line["swd4"] > 0 and line["noise"] == "random"
    assert (line["step"], line["kimg"]) == (7, 1.5)
    main([*arguments, "--metrics", "rkid4,swd4"])
    lines = (run / "evaluations.jsonl").read_text().splitlines()
    assert len(lines) == 2 and json.loads(lines[1])["rkid4"] != line["rkid4"]


# During training


def training_metrics(metrics, size=16):
    requests = parse_training_requests(metrics, 8, (size, size))
    images = ImageSet("numbers (train)", 40, random_images, lambda index: bytes([index]))

    def held_out(count):
        return images.read(range(min(count, 40)))

    return TrainingMetrics(requests, images, held_out, NetworkSettings(load_weights))


@pytest.mark.parametrize(
    ("metrics", "names"),
    [
        ("rfid12,swd,rpr", "rfid12 swd_16 swd rpr8_precision rpr8_recall"),
        ("swd,rkid", "swd swd_16 rkid8"),
    ],
)
def test_the_first_metric_comes_first(quick, metrics, names):
    found = training_metrics(metrics)(lambda indices: random_images([i + 50 for i in indices]))
    assert list(found) == [f"metric/{name}" for name in names.split()]
    assert np.isfinite(list(found.values())).all()


@pytest.mark.parametrize(
    ("metrics", "size", "message"),
    [
        ("rpr,swd", 16, "not rpr"),
        ("swd,ppl_w_end", 16, "for `evaluate` only"),
        ("swd4,swd8", 16, "give it once"),
        ("sdw", 16, "did you mean swd"),
        ("swd,rpr", 8, "not rpr"),
    ],
)
def test_metrics_that_cannot_guide_training(metrics, size, message):
    with pytest.raises(UserError, match=message):
        training_metrics(metrics, size)


def test_images_that_are_too_small_for_swd():
    assert parse_training_requests("swd", 8, (8, 16)) == []
    assert [r.kind for r in parse_training_requests("swd,rfid", 8, (8, 8))] == ["rfid"]
