"""The `evaluate` command and its parts: requests, sets of images, remembered features."""

import dataclasses
import importlib
import json
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from ganformer_jax.cli.quality import Quality
from ganformer_jax.evaluate.measure import measure
from PIL import Image

from ganformer_jax.cli import judged, main, metric_weights
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.features import FeatureReader
from ganformer_jax.evaluate.image_sets import Folder, Numbered
from ganformer_jax.evaluate.requests import Request, parse_requests
from ganformer_jax.metrics.inception_weights import inception_variables
from ganformer_jax.train.loop import Snapshot
from tests.tiny import tiny_config, tiny_generator


def write_folder(path, count, side=16, seed=0):
    path.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(path / f"{i:03d}.png")
    return path


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
    assert [r.compares for r in found] == [True, True, True, False, False, True]
    assert not any(r.compares for r in parse_requests("is,seg,dci", 1))
    assert [r.count for r in parse_requests("seg,dci,seg64", 1)] == [500, 2000, 64]
    assert [r.random for r in found] == [False, False, True, False, False, True]
    assert [r.feature for r in found][:5] == ["2048", "2048", "2048", None, None]
    assert parse_requests("ppl_w_end_50k", 1)[0].count == 50_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fidd", "unknown metric fidd; did you mean fid?"),
        ("xyz", "there are fid, kid"),
        ("ris", "unknown metric ris"),
        ("fid0", "asks for no images"),
        (" , ", "name metrics"),
    ],
)
def test_requests_that_make_no_sense(text, message):
    with pytest.raises(UserError, match=message):
        parse_requests(text, 10)


# Folders


def test_pictures_of_a_folder_in_the_order_of_their_paths(tmp_path):
    write_folder(tmp_path / "b", 2)
    (tmp_path / "a").mkdir()
    gray = np.full((16, 16), 77, np.uint8)
    Image.fromarray(gray).save(tmp_path / "a" / "gray.PNG")
    Image.fromarray(gray).convert("P").save(tmp_path / "c.png")
    Image.fromarray(np.dstack([gray] * 4)).save(tmp_path / "d.webp", lossless=True)
    (tmp_path / "notes.txt").write_text("not a picture")
    folder = Folder(tmp_path)
    assert folder.count == 5
    assert [path.name for path in folder.paths] == [
        "gray.PNG", "000.png", "001.png", "c.png", "d.webp",
    ]  # fmt: skip
    images = folder.read([0, 3, 4])
    assert images.shape == (3, 16, 16, 3) and (images == 77).all()
    before = folder.digest(5)
    assert before == Folder(tmp_path).digest(5) != folder.digest(4)
    Image.fromarray(gray + 1).save(tmp_path / "c.png")
    assert Folder(tmp_path).digest(5) != before


def test_folders_that_make_no_sense(tmp_path):
    def complaint(read=None):
        with pytest.raises(UserError) as raised:
            folder = Folder(tmp_path / "folder")
            folder.read(read)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert "no folder" in complaint()
    (tmp_path / "folder").mkdir()
    assert "no pictures in" in complaint()
    write_folder(tmp_path / "folder" / "a", 2)
    (tmp_path / "folder" / "z.png").write_bytes(b"\x89PNG not")
    assert "z.png is damaged, or no picture" in complaint([0, 2])
    whole = (tmp_path / "folder" / "a" / "000.png").read_bytes()
    (tmp_path / "folder" / "z.png").write_bytes(whole[: len(whole) // 2])
    assert "z.png" in complaint([0, 2])
    Image.new("RGB", (16, 17)).save(tmp_path / "folder" / "z.png")
    assert "z.png is 16x17, but" in complaint([0, 2])
    Image.fromarray(np.zeros((16, 16), np.uint16)).save(tmp_path / "folder" / "z.png")
    assert "more than 8 bits" in complaint([2])


# Features


class Mean:
    """Stands for Inception: mean colors, and how often it was asked."""

    names, batch_size, seen = ("2048",), 4, 0

    def __call__(self, images):
        self.seen += len(images)
        return {"2048": images.mean((1, 2)).astype(np.float32)}


def test_features_of_sets_that_do_not_change_are_remembered(tmp_path):
    folder, extractor = write_folder(tmp_path / "images", 6), Mean()
    read = FeatureReader(extractor, "weights", tmp_path / "cache")
    first = read(Folder(folder), 6)["2048"]
    np.testing.assert_allclose(first, Folder(folder).read(range(6)).mean((1, 2)), rtol=1e-6)
    np.testing.assert_array_equal(read(Folder(folder), 6)["2048"], first)
    assert extractor.seen == 6
    np.testing.assert_array_equal(read(Folder(folder), 5)["2048"], first[:5])
    FeatureReader(extractor, "other weights", tmp_path / "cache")(Folder(folder), 6)
    Image.new("RGB", (16, 16)).save(folder / "003.png")
    assert (read(Folder(folder), 6)["2048"][3] == 0).all()
    assert extractor.seen == 6 + 5 + 6 + 6
    assert not list((tmp_path / "cache").glob(".*"))


def test_damaged_memory_and_sets_that_are_too_small(tmp_path):
    folder = Folder(write_folder(tmp_path / "images", 3))
    read = FeatureReader(Mean(), "weights", tmp_path / "cache")
    read(folder, 3)
    (cached,) = (tmp_path / "cache").iterdir()
    cached.write_bytes(cached.read_bytes()[:100])
    with pytest.raises(UserError, match="is damaged; delete it"):
        read(folder, 3)
    with pytest.raises(UserError, match="has 3 images; 4 were asked for"):
        read(folder, 4)


def test_metrics_of_one_network_share_its_features():
    def make(rows):
        return np.random.default_rng(rows[0]).integers(0, 256, (len(rows), 8, 8, 1), np.uint8)

    extractor = Mean()
    images = Numbered("numbers", None, make)
    requests = parse_requests("rfid12,rkid8,rpr12", 1)
    reader = FeatureReader(extractor, "weights")
    found = measure(requests, images, images, lambda random: reader, real_count=20)
    assert list(found) == ["rfid12", "rkid8", "rpr12_precision", "rpr12_recall"]
    assert extractor.seen == 12 + 20
    with pytest.raises(UserError, match="rfid3: too few images"):
        measure(parse_requests("rfid3", 1), images, images, lambda random: reader, real_count=20)


TWO_HOSTS = """
import sys
import jax, numpy as np
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from ganformer_jax.evaluate.features import FeatureReader
from ganformer_jax.evaluate.image_sets import Numbered

class Mean:
    names, batch_size, seen = ("2048",), 2, 0
    def __call__(self, images):
        self.seen += len(images)
        return {"2048": images.mean((1, 2)).astype(np.float32)}

def make(rows):
    return np.array(rows, np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)

mean = Mean()
found = FeatureReader(mean, "weights")(Numbered("numbers", None, make), 7)["2048"]
assert mean.seen == 4 and jax.process_count() == 2
np.testing.assert_array_equal(found[:, 0], np.arange(7))
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
    real, fake = (write_folder(tmp_path / name, 8, seed=len(name)) for name in ("real", "fakes"))
    return ["evaluate", "--real", str(real), "--fake", str(fake), "--batch-size", "8"]


def test_two_folders(folders, capsys):
    main([*folders, "--metrics", "rkid,rpr"])
    first = capsys.readouterr()
    line = json.loads(first.out.splitlines()[-1])
    assert np.isfinite(line["rkid8"]) and 0 <= line["rpr8_recall"] <= 1
    assert line["real_images"] == 8 and line["weights"] == {"random inception": "random, seed 0"}
    assert "rpr8_precision" in first.out.splitlines()[1]
    main([*folders, "--metrics", "rkid,rpr"])
    again = capsys.readouterr()
    assert json.loads(again.out.splitlines()[-1]) == line
    assert "8/8" in first.err and "8/8" not in again.err


@pytest.fixture
def quick(monkeypatch):
    """The command with something quicker than Inception."""

    def extractor(weights, names, batch_size, divided):
        if weights:
            inception_variables(weights)
        return Mean()

    monkeypatch.setattr(judged, "FeatureExtractor", extractor)
    monkeypatch.setattr(judged, "random_weights", dict)


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
    assert "has 8 images; 9 were asked for" in said("--metrics", "rkid9")
    assert "has 8 images; 9 were asked for" in said("--metrics", "rkid", "--real-count", "9")
    assert "lacks rank with 3" in said("--metrics", "rfid3")
    assert "needs a generator" in said("--metrics", "ppl_w_end")
    assert "must be 1 or more" in said("--batch-size", "0")
    assert "must be 1 or more" in said("--real-count", "0")
    assert "below 2^31" in said("--seed", str(2**31))
    assert "no file" in said("--metrics", "fid", "--inception", str(tmp_path / "none.pth"))
    (tmp_path / "bad.pth").write_bytes(b"not weights")
    bad = said("--metrics", "fid", "--inception", str(tmp_path / "bad.pth"))
    assert "holds no weights that can be read" in bad
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    other = said("--metrics", "fid", "--inception", str(tmp_path / "other.npz"))
    assert "not the weights of FID's Inception" in other
    monkeypatch.setitem(metric_weights.SOURCES, "inception", "http://127.0.0.1:9/weights.pth")
    offline = said("--metrics", "fid")
    assert "cannot download" in offline and "name it with --inception" in offline
    assert "no run in" in complaint(capsys, ["evaluate", "--workdir", str(tmp_path / "none")])
    (tmp_path / "empty").mkdir()
    assert "no pictures in" in complaint(capsys, [*folders, "--real", str(tmp_path / "empty")])


@pytest.fixture(scope="module")
def network():
    return tiny_generator(16)


def test_a_run_against_a_folder(folders, quick, network, capsys, tmp_path, monkeypatch):
    module = importlib.import_module("ganformer_jax.load")  # the package's `load` is a function
    monkeypatch.setattr(module, "load_run", lambda *_: network)
    run = tmp_path / "run"
    run.mkdir()
    arguments = ["evaluate", "--workdir", str(run), *folders[1:3], *folders[5:]]
    main([*arguments, "--metrics", "rkid8,swd8", "--truncation-psi", "0.5"])
    printed = capsys.readouterr().out.splitlines()[-1]
    assert (run / "evaluations.jsonl").read_text() == printed + "\n"
    line = json.loads(printed)
    assert len(line["weights"]["generator"]) == 64
    assert line["truncation_psi"] == 0.5 and line["swd8"] > 0 and line["noise"] == "random"
    main([*arguments, "--metrics", "rkid8,swd8"])
    lines = (run / "evaluations.jsonl").read_text().splitlines()
    assert len(lines) == 2 and json.loads(lines[1])["rkid8"] != line["rkid8"]


# While a run trains


class Split:
    """Stands for a split of a dataset."""

    name, records = "numbers (train)", [bytes([i]) for i in range(40)]

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        shape = (16, 16, 3)
        return {"images": np.random.default_rng(index).integers(0, 256, shape, np.uint8)}


class NoData:
    """Stands for the data of a run."""

    def open(self, split):
        return Split()

    def held_out(self, count):
        return np.stack([Split()[row]["images"] for row in range(min(count, 40))])


def trained_with(metrics):
    config = tiny_config(0)
    train = dataclasses.replace(config.train, metrics=metrics, metric_images=8)
    generator = dataclasses.replace(config.generator, resolution=16)
    return Quality(dataclasses.replace(config, train=train, generator=generator), NoData())


def test_the_first_metric_comes_first(quick, network, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    divided = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    now = Snapshot(1, 16, network[1], divided)
    found = trained_with("rfid12,swd,rpr")(now)
    assert list(found) == [
        "metric/rfid12",
        "metric/swd_16",
        "metric/swd",
        "metric/rpr8_precision",
        "metric/rpr8_recall",
    ]
    found = trained_with("swd,rkid")(now)
    assert list(found)[0] == "metric/swd" and np.isfinite(list(found.values())).all()


@pytest.mark.parametrize(
    ("metrics", "message"),
    [("rpr,swd", "not rpr"), ("swd,ppl_w_end", "for `evaluate` only"), ("sdw", "did you mean swd")],
)
def test_metrics_that_cannot_guide_training(metrics, message):
    with pytest.raises(UserError, match=message):
        trained_with(metrics)
