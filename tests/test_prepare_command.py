"""`prepare` as a user meets it: the report, the contact sheet, the command it prints, mistakes."""

import hashlib
import http.server
import json
import re
import shlex
import threading
import zipfile

import numpy as np
import pytest
from command_line import call, complaint
from images import make_folder, make_zip, png
from PIL import Image

from ganformer_jax.cli.prepare import Options, dataset_spec, open_images
from ganformer_jax.data import catalog
from ganformer_jax.data.sources.arrays import ArraySource
from ganformer_jax.data.sources.folder import FolderSource

TINY = """
    --generator.components 0 --generator.latent-size 8 --generator.mapping.num-layers 1
    --loss.r1-gamma 0
    --generator.synthesis.channel-base 64 --generator.synthesis.channel-max 8
    --discriminator.channel-base 64 --discriminator.channel-max 8
    --train.batch-size 4 --train.total-kimg 0.008 --train.metrics rkid --train.metric-kimg 0
    --train.image-kimg 0
""".split()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_from_files_to_samples_of_a_class(tmp_path, capsys):
    """What the documentation walks through, with the command that `prepare` prints."""
    members = {f"{kind}/{i}.png": png(20 * i) for kind in ("cat", "dog") for i in range(8)}
    make_folder(tmp_path / "pets", {**members, "dog/broken.png": b"no"})
    code, out, err = call(
        capsys, "prepare", "pets", "--name", "pets", "--labels", "folders", "--ratio", "0.5",
        "--resolution", "16", "--held-out", "4", "--channels", "1",
    )  # fmt: skip
    assert code == 0, err
    for words in (
        "12 images to train on, 4 held out",
        "16 wide and 8 high, gray",
        "8  cat",
        "8  dog",
        "1  not an image",
        "16  8x8",
        "16  PNG RGB",
    ):
        assert words in out
    assert size_of(tmp_path / "data/pets/1.0.0/contact-sheet.png")[0] == 8 * (16 * 4 + 2) + 2
    command = shlex.split(out.splitlines()[-1])
    assert command[:2] == ["ganformer-jax", "train"]
    code, _, err = call(capsys, *command[1:], "--config", str(config(tmp_path)), *TINY)
    assert code == 0, err
    assert json.loads((tmp_path / "runs/pets/classes.json").read_text()) == ["cat", "dog"]
    run = "--workdir", "runs/pets", "--count", "2"
    code, out, err = call(capsys, "sample", *run, "--class", "dog")
    assert code == 0, err
    assert size_of(tmp_path / "runs/pets/generated/000000.png") == (16, 8)
    assert "did you mean cat?" in complaint(capsys, "sample", *run, "--class", "cta")

    (tmp_path / "data/pets").rename(tmp_path / "moved")
    evaluate = ["evaluate", "--workdir", "runs/pets", "--metrics", "rkid4", "--batch-size", "4"]
    assert "name its folder with --real" in complaint(capsys, *evaluate)
    code, out, err = call(capsys, *evaluate, "--real", "moved")
    assert code == 0 and "rkid4" in out, err  # and with the classes of the moved dataset


def size_of(path):
    with Image.open(path) as image:
        return image.size


def config(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text("from ganformer_jax.config import Config\n\nconfig = Config()\n")
    return path


def test_the_network_sees_what_was_prepared(tmp_path, capsys):
    members = {f"{i}.png": png(5 * i) for i in range(40)}
    make_zip(tmp_path / "x.zip", members)
    code, out, _ = call(capsys, "prepare", "x.zip", "--name", "x")
    assert code == 0 and "8 wide and 8 high" in out and "all images are gray" not in out
    with Image.open(tmp_path / "data/x/1.0.0/contact-sheet.png") as image:
        sheet = np.asarray(image)
    seen = {int(sheet[2 + 66 * row, 2 + 66 * column, 0]) for row in range(4) for column in range(8)}
    assert len(seen) == 32 and seen <= {5 * i for i in range(40)}
    code, out, _ = call(capsys, "prepare", "x.zip", "--name", "x")
    assert code == 0 and "was prepared already" in out


def test_datasets_in_this_folder_are_named_by_path(tmp_path, capsys):
    make_folder(tmp_path / "gray", {"a.png": png(1)})
    code, out, _ = call(capsys, "prepare", "gray", "--name", "train", "--data-dir", ".")
    assert code == 0 and "--data.name ./train " in out and "no classes were found" in out


def test_contact_sheets_of_large_images_are_small(tmp_path, capsys):
    make_folder(tmp_path / "large", {f"{i}.png": png(i) for i in range(9)})
    code, _, _ = call(capsys, "prepare", "large", "--name", "large", "--resolution", "1024")
    assert code == 0
    with Image.open(tmp_path / "data/large/1.0.0/contact-sheet.png") as sheet:
        assert sheet.size == (2 * 1026 + 2, 1028)


def test_gray_images_are_pointed_out(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros((3, 8, 8, 1), np.uint8))
    make_folder(tmp_path / "gray", {})
    (tmp_path / "gray").mkdir(exist_ok=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "gray/a.png")
    code, out, _ = call(capsys, "prepare", "gray", "--name", "gray")
    assert code == 0 and "consider --channels 1" in out


@pytest.mark.parametrize(
    "arguments,words",
    [
        ([], "name the source"),
        (["here"], "with --name"),
        (["Nowhere/x", "--name", "x"], "there is no Nowhere/x"),
        (["here", "--name", "X"], "lowercase letters"),
        (["here", "--name", "x", "--ratio", "0"], "--ratio is height / width"),
        (["here", "--name", "x", "--resolution", "100"], "--resolution 100"),
        (["here", "--name", "x", "--resolution", "1000000000"], "at most 16384"),
        (["here", "--name", "x", "--channels", "2"], "--channels 2: use 1, 3 or 4"),
        (["here", "--name", "x", "--channels", "0"], "channels must be from 1 to 32"),
        (["here", "--name", "x", "--held-out", "-1"], "--held-out must be"),
        (["here", "--name", "x", "--threads", "0"], "--threads"),
        (["here", "--name", "x", "--labels", "folders"], "no subfolders"),
        (["here", "--name", "x", "--labels", "no.csv"], "no file no.csv"),
        (["here", "--name", "x", "--array", "y"], "--array has no effect on a folder"),
        (["here", "--name", "x", "--split", "test"], "--split has no effect"),
        (["array.npy", "--name", "x", "--follow-links"], "--follow-links has no effect on a"),
        (["here", "--name", "x", "--downloads", "there"], "--downloads is for clevr, ffhq"),
        (["tfds:", "--name", "x"], "tfds:mnist"),
        (["here/words.md", "--name", "x"], "is not a source of images"),
        (["array.npy", "--name", "x"], "--value-range"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, capsys, arguments, words):
    make_folder(tmp_path / "here", {"a.png": png(1), "words.md": b"words"})
    np.save(tmp_path / "array.npy", np.zeros((2, 8, 8, 3), np.float32))
    assert words in complaint(capsys, "prepare", *arguments)
    assert not (tmp_path / "data/x/1.0.0").exists()


@pytest.mark.parametrize(
    "arguments,words",
    [
        (["--name", "X"], "lowercase letters"),
        (["--ratio", "0"], "--ratio is height / width"),
        (["--resolution", "100"], "--resolution 100"),
        (["--channels", "0"], "channels must be from 1 to 32"),
        (["--held-out", "-1"], "--held-out must be"),
        (["--value-range", "1", "0"], "--value-range must be"),
        (["--labels", "no.csv"], "no file no.csv with labels"),
        (["--labels", "folder"], "use auto, none, folders, or a .json or .csv file"),
        (["--captions", "no.csv"], "no file no.csv with captions"),
        (["--captions", "c.txt"], "--captions c.txt: use a .json or .csv file"),
        (["--captions", "no.csv", "--labels", "none"], "cannot be combined with --labels"),
        (["--segments", "none"], "no folder none with segments"),
        (["--segments", ".", "--fit", "crop"], "--segments is for a GANformer2"),
    ],
)
def test_mistakes_are_found_before_a_download(capsys, monkeypatch, arguments, words):
    monkeypatch.setattr(catalog, "fetch", lambda url, folder: pytest.fail("it downloads"))
    assert words in complaint(capsys, "prepare", "clevr", *arguments)


def test_choices_are_checked(capsys):
    assert "--storage" in complaint(capsys, "prepare", "x", "--storage", "jpg", code=2)


def geometry_of(source, **options):
    return dataset_spec(Options("x", "x", **options), source).geometry


def test_the_filter_is_that_of_the_option(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 8, 8, 3), np.uint8))
    source = ArraySource(tmp_path / "x.npy")
    assert geometry_of(source).filter == "lanczos"
    assert geometry_of(source, filter="box").filter == "box"


def test_a_dataset_of_tfds_is_where_the_option_says(tmp_path, capsys):
    make_zip(tmp_path / "x.zip", {f"{i}.png": png(5 * i) for i in range(4)})
    prepare = "prepare", "x.zip", "--name", "x", "--data-dir", "shelf"
    assert call(capsys, *prepare)[0] == 0
    code, out, err = call(capsys, "prepare", "tfds:x", "--name", "y", "--tfds-dir", "shelf")
    assert code == 0 and "4 images" in out, err


@pytest.mark.parametrize(
    "shape,options,size",
    [
        ((28, 28), {}, (32, 32)),
        ((8, 8), {}, (8, 8)),
        ((600, 800), {}, (256, 256)),
        ((60, 120), {"ratio": 0.5}, (64, 128)),
        ((60, 120), {"fit": "pad"}, (128, 128)),
        ((60, 120), {"fit": "pad", "resolution": 64, "ratio": 0.75}, (64, 64)),
        ((100, 100), {"resolution": 96}, (96, 96)),
        ((100, 100), {"resolution": 256, "ratio": 188 / 256}, (192, 256)),
    ],
)
def test_sizes_that_suit(tmp_path, shape, options, size):
    np.save(tmp_path / "x.npy", np.zeros((2, *shape, 3), np.uint8))
    geometry = geometry_of(ArraySource(tmp_path / "x.npy"), **options)
    assert (geometry.height, geometry.width) == size


def test_a_size_is_found_among_many_damaged_images(tmp_path):
    members = {f"{i:03d}.png": b"no" for i in range(200)} | {"x.png": png(1)}
    assert geometry_of(FolderSource(make_folder(tmp_path / "junk", members))).height == 8


# The catalog, without a network.


def test_files_to_download_by_hand(tmp_path, capsys):
    said = complaint(capsys, "prepare", "cityscapes")
    assert "place cityscapes.zip (2 GB, from https://drive.google.com" in said
    assert "into data/downloads" in said


def test_a_placed_file_is_used_as_published(tmp_path, capsys):
    folder = tmp_path / "data/downloads"
    folder.mkdir(parents=True)
    wide = {"CLEVR_v1.0/images/train/a.png": png(3), "CLEVR_v1.0/scenes/b.png": png(4)}
    make_zip(folder / "CLEVR_v1.0.zip", wide)
    options = Options("clevr")
    with open_images(options) as source:
        assert list(source.names) == ["CLEVR_v1.0/images/train/a.png"]
        spec = dataset_spec(options, source)
    assert spec.name == "clevr" and spec.geometry.fit == "pad" and spec.geometry.ratio == 0.75
    code, out, err = call(capsys, "prepare", "clevr", "--resolution", "16")
    assert code == 0, err
    assert "--config clevr " in out.splitlines()[-1]


def test_a_database_in_a_zip_is_extracted(tmp_path):
    lmdb = pytest.importorskip("lmdb", reason="an optional package, of the extra `formats`")
    with lmdb.open(str(tmp_path / "db"), map_size=1 << 20) as database:
        with database.begin(write=True) as transaction:
            transaction.put(b"key", png(5))
    downloads = tmp_path / "data/downloads"
    downloads.mkdir(parents=True)
    with zipfile.ZipFile(downloads / "bedroom_train_lmdb.zip", "w") as file:
        file.write(tmp_path / "db/data.mdb", "bedroom_train_lmdb/data.mdb")
        file.writestr("../evil.png", png(1))
    options = Options("bedrooms")
    with open_images(options) as source:
        assert list(source.names) == ["key"] and source.read(0) == png(5)
        assert dataset_spec(options, source).geometry.ratio == 188 / 256
    assert sorted(p.name for p in downloads.iterdir()) == [
        "bedroom_train_lmdb.mdb",
        "bedroom_train_lmdb.zip",
    ]
    assert not (tmp_path / "data/evil.png").exists()


def test_a_damaged_database_in_a_zip(tmp_path, capsys):
    downloads = tmp_path / "data/downloads"
    downloads.mkdir(parents=True)
    path = downloads / "bedroom_train_lmdb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bedroom_train_lmdb/data.mdb", bytes(range(256)) * 1000)
    data = bytearray(path.read_bytes())
    start = data.index(b"data.mdb") + len("data.mdb")
    data[start : start + 100] = b"\xff" * 100
    path.write_bytes(data)
    code, _, err = call(capsys, "prepare", "bedrooms")
    assert code == 1 and "error: data/downloads/bedroom_train_lmdb.zip is damaged" in err
    assert list(downloads.iterdir()) == [path]


class Server(http.server.BaseHTTPRequestHandler):
    contents = b""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.contents)))
        self.end_headers()
        self.wfile.write(self.contents)

    def log_message(self, *arguments):
        pass


@pytest.mark.parametrize("right", [True, False])
def test_downloads_are_checked(tmp_path, capsys, monkeypatch, right):
    made = make_zip(tmp_path / "clevr.zip", {"CLEVR_v1.0/images/a.png": png(9)}).read_bytes()
    make_folder(tmp_path / "data/downloads/unfinished", {"ffhq-r08.tfrecords1of1": b"cut off"})
    monkeypatch.setattr(Server, "contents", made)
    digest = hashlib.md5(made if right else b"another").hexdigest()
    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        entry = catalog.CATALOG["clevr"]
        url = f"http://127.0.0.1:{server.server_port}/CLEVR_v1.0.zip"
        changed = {**vars(entry), "url": url, "md5": digest}
        monkeypatch.setitem(catalog.CATALOG, "clevr", catalog.Entry(**changed))
        if right:
            code, _, err = call(capsys, "prepare", "clevr", "--resolution", "8")
            assert code == 0, err
        else:
            *_, err = call(capsys, "prepare", "clevr")
            assert re.search("MD5 is .*, expected .*: place CLEVR_v1.0.zip", err)
        server.shutdown()
    assert (tmp_path / "data/downloads/CLEVR_v1.0.zip").exists() == right
    assert (tmp_path / "data/downloads/unfinished/ffhq-r08.tfrecords1of1").exists()


def test_facts_of_the_catalog():
    for entry in catalog.CATALOG.values():
        assert entry.url.startswith("http") and entry.md5 and len(entry.md5) == 32
        assert 0.5 <= entry.ratio <= 1 and entry.images >= 25_000
