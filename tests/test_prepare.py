"""Preparing datasets: round trips, resuming, faults, and that nothing unfinished ever loads."""

import fcntl
import hashlib
import json
import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import PIL
import pytest
import tensorflow_datasets as tfds
from images import encoded, make_folder, make_tar, make_zip, png
from PIL import Image

from ganformer_jax.data import shards
from ganformer_jax.data.batches import open_dataset
from ganformer_jax.data.fit import Geometry
from ganformer_jax.data.labeling import find_labels
from ganformer_jax.data.prepare import prepare
from ganformer_jax.data.sources.conditions import Conditions
from ganformer_jax.data.sources.folder import FolderSource
from ganformer_jax.data.sources.open import open_source
from ganformer_jax.data.sources.source import Labels
from ganformer_jax.data.spec import DatasetSpec, labeled_entries
from ganformer_jax.errors import UserError

GEOMETRY = Geometry(8, 8)
SPEC = DatasetSpec("pets", GEOMETRY)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "ENTRIES_PER_SHARD", 4)


@pytest.fixture
def folder(tmp_path):
    members = {f"{'ab'[i % 2]}/{i:02d}.png": png(10 * i) for i in range(22)}
    return make_folder(tmp_path / "images", members)


class EventfulSource(FolderSource):
    """A folder to which something happens when an entry is read."""

    def __init__(self, path, index, event):
        super().__init__(path)
        self.index, self.event = index, event

    def read(self, index):
        if index == self.index:
            self.event()
        return super().read(index)


def stop():
    raise KeyboardInterrupt


def contents(path):
    """Return the digest of every file of a dataset."""
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(path.iterdir())
    }


def levels(path, split="train", channels=3):
    source = open_dataset(path, path, size=(8, 8), split=split, channels=channels)
    return [int(source[i]["images"][0, 0, 0]) for i in range(len(source))]


def test_everything_comes_through_in_order(folder, tmp_path):
    source = FolderSource(folder)
    spec = DatasetSpec("pets", GEOMETRY, held_out=5)
    made = prepare(source, spec, tmp_path / "data", labels=find_labels(source, "folders"))
    train, test = levels(made.folder), levels(made.folder, "test")
    assert sorted(train + test) == [10 * i for i in range(22)] and len(test) == 5
    order = [10 * i for i in [*range(0, 22, 2), *range(1, 22, 2)]]  # by path
    assert train == [level for level in order if level in train]
    builder = tfds.builder_from_directory(made.folder)
    for example in builder.as_data_source("train"):
        name = example["name"].decode()
        assert example["label"] == "ab".index(name[0])
        assert (example["image"] == 10 * int(name[2:4])).all()
    features, metadata = builder.info.features, builder.info.metadata
    assert features and features["label"].names == ["a", "b"]
    assert metadata and metadata["filter"] == "lanczos"
    assert made.report["classes"] == {"a": 11, "b": 11}
    assert made.report["splits"] == {"train": 17, "test": 5}


def test_other_projects_find_it_by_name(folder, tmp_path):
    prepare(FolderSource(folder), SPEC, tmp_path / "data")
    builder = tfds.builder("pets", data_dir=tmp_path / "data")
    assert len(builder.as_data_source("train")) == 22
    home = tmp_path / "data" / "pets"
    assert len(open_dataset(home, tmp_path, size=(8, 8))) == 22
    assert len(open_dataset("pets", tmp_path / "data", size=(8, 8))) == 22


def test_threads_and_interruptions_change_nothing(folder, tmp_path, monkeypatch):
    source = FolderSource(folder)
    one = prepare(source, SPEC, tmp_path / "one", threads=1)
    three = prepare(source, SPEC, tmp_path / "three", threads=3)
    assert contents(one.folder) == contents(three.folder)

    with pytest.raises(KeyboardInterrupt):
        prepare(EventfulSource(folder, 13, stop), SPEC, tmp_path / "cut")
    assert not (tmp_path / "cut/pets/1.0.0").exists()
    with pytest.raises(UserError, match="is not finished"):
        open_dataset(tmp_path / "cut/pets", tmp_path, size=(8, 8))
    said, read = [], []
    monkeypatch.setattr(source, "read", lambda i: read.append(i) or FolderSource.read(source, i))
    resumed = prepare(source, SPEC, tmp_path / "cut", say=said.append)
    assert said == ["resuming: 12 of 22 entries are done"] and sorted(read) == [*range(12, 22)]
    assert contents(resumed.folder) == contents(one.folder)


PLAN_OF_VERSION_1 = {
    "format": 1, "pillow": PIL.__version__, "source": "folder elsewhere", "height": 8, "width": 8,
    "channels": 3, "filter": "lanczos", "fit": "crop", "ratio": None, "storage": "png",
    "held_out": 0, "max_images": None, "value_range": None, "labels": None,
    "entries": "81df775cab06720c6350eb703a1f048fd1df4b047997b95cc64ea7ecacff3d68",
}  # fmt: skip
MANIFEST_OF_VERSION_1 = {
    "skipped": [["7.bmp", "not a picture"]], "sizes": {"8x8": 3}, "kinds": {"BMP RGB": 3},
    "notes": {"turned as EXIF says": 1}, "classes": {}, "bytes": 450, "digest": "2842cee2",
}  # fmt: skip


def test_work_and_datasets_of_earlier_versions_are_recognized(tmp_path):
    folder = tmp_path / "images"
    levels = [(10 * i,) * 3 for i in range(10)]
    members = {
        f"{i}.bmp": encoded(Image.new("RGB", (8, 8), level), "BMP")
        for i, level in enumerate(levels)
    }
    make_folder(folder, members)
    for name in members:
        os.utime(folder / name, (1_000_000_000, 1_000_000_000))
    with pytest.raises(KeyboardInterrupt):
        prepare(EventfulSource(folder, 9, stop), SPEC, tmp_path)
    unfinished = tmp_path / "pets/unfinished"
    (unfinished / "prepare-plan.json").write_text(json.dumps(PLAN_OF_VERSION_1))
    manifest = unfinished / "pets-train.array_record-00001-of-00003.json"
    assert json.loads(manifest.read_text()).keys() == MANIFEST_OF_VERSION_1.keys()
    manifest.write_text(json.dumps(MANIFEST_OF_VERSION_1))
    said = []
    made = prepare(FolderSource(folder), SPEC, tmp_path, say=said.append)
    assert said == ["resuming: 8 of 10 entries are done"]
    assert made.report["skipped"] == {"not a picture": 1} and made.report["splits"]["train"] == 9
    assert made.report["plan"].keys() == PLAN_OF_VERSION_1.keys()
    keys = (
        "name source size channels splits entries left_out skipped stored_sizes stored_kinds notes "
        "classes labels_of_no_picture megabytes fingerprint plan"
    )
    assert list(made.report) == keys.split()
    made.report["plan"] = PLAN_OF_VERSION_1
    (made.folder / "report.json").write_text(json.dumps(made.report))
    assert not prepare(FolderSource(folder), SPEC, tmp_path).is_new


def test_the_same_spec_writes_nothing_and_another_is_refused(folder, tmp_path):
    source = FolderSource(folder)
    first = prepare(source, SPEC, tmp_path / "data")
    before = contents(first.folder)
    again = prepare(source, SPEC, tmp_path / "data")
    assert first.is_new and not again.is_new and again.report == first.report
    for other in (
        DatasetSpec("pets", Geometry(8, 8, filter="box")),
        DatasetSpec("pets", GEOMETRY, storage="raw"),
        DatasetSpec("pets", GEOMETRY, held_out=1),
    ):
        with pytest.raises(UserError, match="holds another dataset .*choose another --name"):
            prepare(source, other, tmp_path / "data")
    (folder / "a/00.png").write_bytes(png(200))
    with pytest.raises(UserError, match="another dataset .images, times of their files, or"):
        prepare(FolderSource(folder), SPEC, tmp_path / "data")
    assert contents(first.folder) == before


def test_a_report_of_another_program(folder, tmp_path):
    made = prepare(FolderSource(folder), SPEC, tmp_path / "data")
    for text in ("[]", '{"plan": 1}', "{}", "no"):
        (made.folder / "report.json").write_text(text)
        with pytest.raises(UserError, match="1.0.0 was not written by `prepare`: choose another"):
            prepare(FolderSource(folder), SPEC, tmp_path / "data")


def test_the_filter_is_part_of_the_fingerprint(tmp_path):
    members = {f"{i}.png": png(i) for i in range(3)}  # plain, so filters give the same pixels
    source = FolderSource(make_folder(tmp_path / "images", members))
    made = [
        prepare(source, DatasetSpec(name, Geometry(8, 8, filter=name)), tmp_path).report[
            "fingerprint"
        ]
        for name in ("lanczos", "box")
    ]
    assert made[0] != made[1]


@pytest.mark.parametrize("name", ["own.png", "prepare-plan.json"])
def test_nothing_of_others_is_deleted(folder, tmp_path, name):
    unfinished = tmp_path / "data/pets/unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / name).write_text("somebody's")
    with pytest.raises(UserError, match="unfinished was not written by `prepare`: choose"):
        prepare(FolderSource(folder), SPEC, tmp_path / "data")
    assert (unfinished / name).read_text() == "somebody's"
    (unfinished / name).unlink()
    assert prepare(FolderSource(folder), SPEC, tmp_path / "data").is_new


def test_images_where_the_dataset_goes(tmp_path):
    own = make_folder(tmp_path / "data/pets/unfinished", {"a.png": png(1)})
    with pytest.raises(UserError, match="is inside .*choose another --name"):
        prepare(FolderSource(own), SPEC, tmp_path / "data")
    assert (own / "a.png").exists()


def test_unfinished_work_resumes_only_with_its_own_options(folder, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        prepare(EventfulSource(folder, 0, stop), SPEC, tmp_path / "data")
    other = DatasetSpec("pets", Geometry(8, 8, filter="box"))
    with pytest.raises(UserError, match="started with different options or images .filter was"):
        prepare(FolderSource(folder), other, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    said = []
    assert prepare(FolderSource(folder.name), SPEC, "data", say=said.append).is_new


def test_a_source_that_disappears_is_not_a_bad_image(folder, tmp_path):
    source = EventfulSource(folder, 9, lambda: folder.rename(tmp_path / "gone"))
    with pytest.raises(UserError, match="cannot read .*run the same command to resume"):
        prepare(source, SPEC, tmp_path / "data", threads=1)
    (tmp_path / "gone").rename(folder)
    assert prepare(FolderSource(folder), SPEC, tmp_path / "data").report["splits"]["train"] == 22


def test_a_source_that_changes_while_it_is_read(folder, tmp_path):
    source = EventfulSource(folder, 0, lambda: (folder / "b/21.png").write_bytes(png(99)))
    with pytest.raises(UserError, match="changed while being read: run the same command"):
        prepare(source, SPEC, tmp_path / "data")
    assert not (tmp_path / "data/pets/1.0.0").exists()
    assert prepare(FolderSource(folder), SPEC, tmp_path / "data").is_new


def test_held_out_images_that_cannot_be_read(tmp_path):
    members = {f"{i}.png": png(i) if i < 2 else b"no" for i in range(30)}
    source = FolderSource(make_folder(tmp_path / "bad", members))
    with pytest.raises(UserError, match="none of the images drawn by --held-out"):
        prepare(source, DatasetSpec("pets", GEOMETRY, held_out=3), tmp_path / "data")
    assert prepare(source, DatasetSpec("pets", GEOMETRY), tmp_path / "data").is_new


def test_a_range_is_given_after_all_images_needed_one(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 8, 8), np.float32))
    with open_source(str(tmp_path / "x.npy")) as source:
        with pytest.raises(UserError, match="give the values of black and white"):
            prepare(source, SPEC, tmp_path / "data")
        spec = DatasetSpec("pets", GEOMETRY, value_range=(0, 1))
        assert prepare(source, spec, tmp_path / "data").is_new


def test_the_file_of_labels_may_be_named_otherwise(folder, tmp_path, monkeypatch):
    rows = [f"{'ab'[i % 2]}/{i:02d}.png,{i % 3}" for i in range(22)]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)
    for path in ("labels.csv", str(tmp_path / "labels.csv")):
        source = FolderSource(folder)
        made = prepare(source, SPEC, tmp_path / "data", labels=find_labels(source, path))
    assert not made.is_new


def test_a_dataset_that_is_not_finished_says_so(folder, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        prepare(EventfulSource(folder, 9, stop), SPEC, tmp_path / "data")
    for name in (tmp_path / "data/pets", "pets"):
        with pytest.raises(UserError, match="pets is not finished: run its `prepare` command"):
            open_dataset(name, tmp_path / "data", size=(8, 8))


def test_held_out_and_max_images_are_drawn_once_for_all(folder, tmp_path):
    source = FolderSource(folder)
    few = prepare(source, DatasetSpec("few", GEOMETRY, held_out=3, max_images=10), tmp_path)
    assert few.report["splits"] == {"train": 7, "test": 3} and few.report["left_out"] == 12
    other = prepare(source, DatasetSpec("other", GEOMETRY, held_out=3, max_images=10), tmp_path)
    assert levels(few.folder) == levels(other.folder)
    whole = prepare(source, DatasetSpec("whole", GEOMETRY, held_out=3), tmp_path)
    assert levels(few.folder, "test") == levels(whole.folder, "test")


def test_raw_storage_holds_the_same_pixels(folder, tmp_path):
    source = FolderSource(folder)
    raw = prepare(source, DatasetSpec("raw", GEOMETRY, storage="raw"), tmp_path)
    assert levels(raw.folder) == levels(prepare(source, SPEC, tmp_path).folder)
    first = next(iter(tfds.builder_from_directory(raw.folder).as_data_source("train")))
    assert first["image"].shape == (8, 8, 3)


def test_what_cannot_be_read_is_counted(tmp_path):
    members = {"good.png": png(50), "text.png": b"words", "short.png": png(9)[:55], "x.md": b""}
    source = FolderSource(make_folder(tmp_path / "images", members))
    made = prepare(source, SPEC, tmp_path / "data")
    assert made.report["entries"] == 4 and sum(made.report["skipped"].values()) == 3
    assert made.report["skipped"]["not an image"] == 1
    rows = (made.folder / "skipped.csv").read_text().splitlines()
    assert rows[0] == "name,reason" and "text.png,not an image" in rows and len(rows) == 4


def test_a_whole_shard_that_cannot_be_read(tmp_path):
    members = {f"{i}.png": b"rubbish" if i < 5 else png(i) for i in range(8)}
    source = FolderSource(make_folder(tmp_path / "images", members))
    made = prepare(source, SPEC, tmp_path / "data")
    assert levels(made.folder) == [5, 6, 7]


def test_nothing_to_train_on(tmp_path):
    source = FolderSource(make_folder(tmp_path / "bad", {"a.png": b"x", "b.txt": b""}))
    with pytest.raises(UserError, match="no image in folder .*: not an image"):
        prepare(source, SPEC, tmp_path / "data")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no image in folder .* can be read: it is empty"):
        prepare(FolderSource(tmp_path / "empty"), SPEC, tmp_path / "data")
    good = FolderSource(make_folder(tmp_path / "good", {"a.png": png(1)}))
    with pytest.raises(UserError, match="--held-out 1 of 1 images"):
        prepare(good, DatasetSpec("pets", GEOMETRY, held_out=1), tmp_path / "data")
    assert not list(tmp_path.glob("data/*/1.0.0"))


@pytest.mark.parametrize(
    "spec,words",
    [
        (DatasetSpec("Pets", GEOMETRY), "lowercase letters"),
        (DatasetSpec("../up", GEOMETRY), "lowercase letters"),
        (DatasetSpec("pets", Geometry(8, 8, channels=2)), "channels"),
        (DatasetSpec("downloads", GEOMETRY), "--name downloads is reserved"),
        (DatasetSpec("pets", Geometry(0, 8)), "0x8 pixels"),
        (DatasetSpec("pets", Geometry(8, 1 << 27)), "at most 128 megapixels"),
        (DatasetSpec("pets", Geometry(8, 8, fit="Pad")), "fit 'Pad'.* did you mean pad"),
        (DatasetSpec("pets", GEOMETRY, storage="PNG"), "storage 'PNG'.* from png, raw"),
        (DatasetSpec("pets", GEOMETRY, held_out=-1), "--held-out"),
        (DatasetSpec("pets", GEOMETRY, max_images=0), "--max-images"),
        (DatasetSpec("pets", GEOMETRY, value_range=(1, 0)), "--value-range"),
        (DatasetSpec("pets", GEOMETRY, value_range=(0, float("inf"))), "--value-range"),
    ],
)
def test_specs_that_make_no_sense(folder, tmp_path, spec, words):
    with pytest.raises(UserError, match=words):
        prepare(FolderSource(folder), spec, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_second_process_is_refused(folder, tmp_path):
    home = tmp_path / "data/pets"
    home.mkdir(parents=True)
    handle = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is preparing"):
            prepare(FolderSource(folder), SPEC, tmp_path / "data")
        assert not list(home.iterdir())
    finally:
        os.close(handle)
    assert prepare(FolderSource(folder), SPEC, tmp_path / "data").is_new


def test_a_full_disk_keeps_what_is_done(tmp_path):
    random_pixels = np.random.default_rng(0).integers(0, 255, (6, 64, 64, 3), np.uint8)
    np.save(tmp_path / "x.npy", random_pixels)
    spec = DatasetSpec("pets", Geometry(64, 64))
    with open_source(str(tmp_path / "x.npy")) as source:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, hard))
        try:
            with pytest.raises(UserError, match="cannot write .*run the same command to resume"):
                prepare(source, spec, tmp_path / "data")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert not list(tmp_path.glob("data/pets/1.0.0"))
        assert not list(tmp_path.rglob("*.writing"))
        assert prepare(source, spec, tmp_path / "data").report["splits"] == {"train": 6}


def test_a_folder_that_cannot_be_written(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot create .*Not a directory"):
        prepare(FolderSource(folder), SPEC, tmp_path / "file")


KILLED = """
import sys
from ganformer_jax.data import shards
from ganformer_jax.data.fit import Geometry
from ganformer_jax.data.prepare import prepare
from ganformer_jax.data.sources.folder import FolderSource
from ganformer_jax.data.spec import DatasetSpec

shards.ENTRIES_PER_SHARD = 4
print("ready", flush=True)
prepare(FolderSource(sys.argv[1]), DatasetSpec("pets", Geometry(8, 8), held_out=5), sys.argv[2])
"""


def run_killed(folder, data, delay):
    """Prepare in another process and kill it; return whether it was still at work."""
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(folder), str(data)]
    root = pathlib.Path(__file__).parents[1]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=root, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    return process.returncode != 0


def kill_and_resume(tmp_path, folders, seed, kills_each=None):
    members = {f"{i:04d}.png": png(i % 250) for i in range(400)}
    folder = make_folder(tmp_path / "many", members)
    spec = DatasetSpec("pets", GEOMETRY, held_out=5)
    started = time.monotonic()
    whole = prepare(FolderSource(folder), spec, tmp_path / "whole")
    took = time.monotonic() - started
    wanted, drawn, killed = contents(whole.folder), random.Random(seed), 0
    for i in range(folders):
        data, kills = tmp_path / f"data{i}", 0
        while kills != kills_each and not (data / "pets/1.0.0").exists():
            kills += 1
            killed += run_killed(folder, data, drawn.uniform(0.0, 0.8 * took))
            if not (data / "pets/1.0.0").exists():
                with pytest.raises(UserError, match="no dataset_info.json|is not finished"):
                    open_dataset(data / "pets", data, size=(8, 8))
        prepare(FolderSource(folder), spec, data)
        assert contents(data / "pets/1.0.0") == wanted
    return killed


def test_a_kill_and_a_rerun(tmp_path):
    assert kill_and_resume(tmp_path, folders=1, seed=1, kills_each=1)


@pytest.mark.slow
def test_many_kills_at_random_moments(tmp_path):
    assert kill_and_resume(tmp_path, folders=12, seed=2) >= 12


@pytest.mark.parametrize(
    "kind", ["folder", "zip", "tar", "tar.gz", "npz", "npy", "h5", "lmdb", "tfds"]
)
def test_round_trips_from_every_source(tmp_path, kind):
    path = make_source(tmp_path, kind)
    with open_source(str(path), data_dir=tmp_path) as source:
        made = prepare(
            source, DatasetSpec("trip", GEOMETRY), tmp_path / "data", labels=source.labels
        )
    assert levels(made.folder) == [10 * i for i in range(9)]
    if kind in ("npz", "tfds"):
        assert made.report["classes"] == {"0": 3, "1": 3, "2": 3}


def make_source(tmp_path, kind):
    members = {f"{i}.png": png(10 * i) for i in range(9)}
    pixels = np.stack([np.full((8, 8, 3), 10 * i, np.uint8) for i in range(9)])
    path = tmp_path / f"x.{kind}"
    if kind == "folder":
        return make_folder(path, members)
    if kind == "zip":
        return make_zip(path, members)
    if kind.startswith("tar"):
        return make_tar(path, members, "w:gz" if kind == "tar.gz" else "w")
    if kind == "npz":
        np.savez(path, images=pixels, labels=np.arange(9) % 3)
    elif kind == "npy":
        np.save(path, pixels)
    elif kind == "h5":
        h5py = pytest.importorskip("h5py", reason="an optional package, of the extra `formats`")
        with h5py.File(path, "w") as file:
            file["images"] = pixels
    elif kind == "lmdb":
        lmdb = pytest.importorskip("lmdb", reason="an optional package, of the extra `formats`")
        with lmdb.open(str(path), map_size=1 << 20) as database:
            with database.begin(write=True) as transaction:
                for name, encoded in members.items():
                    transaction.put(name.encode(), encoded)
    else:
        np.savez(tmp_path / "x.npz", images=pixels, labels=np.arange(9) % 3)
        with open_source(str(tmp_path / "x.npz")) as source:
            spec = DatasetSpec("first", GEOMETRY)
            return prepare(source, spec, tmp_path / "before", labels=source.labels).folder
    return path


def test_images_are_not_written_among_images(folder):
    with pytest.raises(UserError, match="is inside folder .*choose another --data-dir"):
        prepare(FolderSource(folder), SPEC, folder / "data")
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("names", [("a", "b\nc"), (" ", "b"), ("a", "a"), ("a", " a"), ("\udcff",)])
def test_names_of_classes_that_would_not_come_back(folder, tmp_path, names):
    labels = Labels(names, np.zeros(22, np.int64), "a test")
    with pytest.raises(UserError, match="name of a class|same name"):
        prepare(FolderSource(folder), SPEC, tmp_path / "data", labels=labels)


def test_the_smallest_dataset_is_one_image(tmp_path):
    source = FolderSource(make_folder(tmp_path / "one", {"a.png": png(7)}))
    made = prepare(source, DatasetSpec("one", Geometry(8, 8, 4), storage="raw"), tmp_path / "data")
    assert levels(made.folder, channels=4) == [7]


def test_images_are_drawn_among_those_with_a_label(folder, tmp_path):
    source = FolderSource(folder)
    classes = np.array([i % 2 if i % 3 == 0 else -1 for i in range(22)])
    labels = Labels(("x", "y"), classes, "a table")
    spec = DatasetSpec("few", GEOMETRY, held_out=2, max_images=6)
    few = prepare(source, spec, tmp_path, labels=labels)
    assert few.report["splits"] == {"train": 4, "test": 2} and few.report["left_out"] == 2
    assert few.report["skipped"] == {"no class in a table": 14}
    assert few.report["plan"]["drawn"] == "labeled entries"
    assert not prepare(source, spec, tmp_path, labels=labels).is_new
    many = DatasetSpec("many", GEOMETRY, held_out=8)
    with pytest.raises(UserError, match="--held-out 8 of 8 images"):
        prepare(source, many, tmp_path, labels=labels)
    vectors = np.where(classes < 0, np.nan, classes)[:, None].astype(np.float32)
    measured = Conditions(("size",), vectors, "a table")
    few = prepare(source, DatasetSpec("c", GEOMETRY, max_images=6), tmp_path, labels=measured)
    assert few.report["splits"] == {"train": 6}


@pytest.mark.parametrize("options", [{}, {"max_images": 22}])
def test_without_a_draw_nothing_changes(options):
    spec, labels = DatasetSpec("x", GEOMETRY, **options), Labels(("x",), np.arange(22) % 2 - 1, "a")
    assert labeled_entries(spec, labels) is None
    assert labeled_entries(spec, Labels(("x",), np.zeros(22, np.int64), "a")) is None
    assert [shard.entries for shard in shards.divide(9, spec)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]


def test_the_draw_of_earlier_versions():
    drawn = shards.divide(12, DatasetSpec("x", GEOMETRY, held_out=3, max_images=7))
    order = np.random.default_rng(0).permutation(12)[:7]
    expected = [*np.sort(order[3:]).tolist()], [*np.sort(order[:3]).tolist()]
    assert [list(shard.entries) for shard in drawn] == list(expected)


def test_a_report_is_json(folder, tmp_path):
    made = prepare(FolderSource(folder), SPEC, tmp_path / "data")
    assert json.loads((made.folder / "report.json").read_text()) == made.report


def test_another_version_is_not_joined(folder, tmp_path):
    """With two versions in its folder, neither would be found by the name."""
    other = tmp_path / "data" / "pets" / "2.0.0"
    other.mkdir(parents=True)
    (other / "dataset_info.json").write_text("{}")
    with pytest.raises(UserError, match="pets holds another dataset, version 2.0.0: choose ano"):
        prepare(FolderSource(folder), SPEC, tmp_path / "data")
    assert [path.name for path in other.parent.iterdir()] == ["2.0.0"]
