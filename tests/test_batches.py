"""Preparing the scenes, opening datasets, and the order of batches."""

import dataclasses
import resource
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import small_scenes
import tensorflow_datasets as tfds

from ganformer_jax.config import Config, DataConfig, GeneratorConfig
from ganformer_jax.data.batches import held_out_images, open_dataset, train_batches
from ganformer_jax.data.examples import decode_example
from ganformer_jax.data.find import NoSplit
from ganformer_jax.data.folders import open_folder, open_held_out
from ganformer_jax.data.reading import read_all
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.component_metrics import read_labels
from ganformer_jax.evaluate.image_sets import sample_labels
from ganformer_jax.experiment.data import ExperimentData
from ganformer_jax.scenes import dataset as scenes_dataset
from ganformer_jax.scenes.dataset import (
    Scenes,
    ScenesConfig,
    prepare_scenes,
    scenes_are_prepared,
)
from ganformer_jax.scenes.layout import HELD_OUT_START, VARIANTS
from ganformer_jax.scenes.rendering import render_batch

COUNT, HELD_OUT = 45, 9
CHUNK = small_scenes.CHUNK


@pytest.fixture(scope="module", autouse=True)
def small_chunks():
    """Render few scenes at once: every test here shares one small program."""
    with small_scenes.small_chunks():
        yield


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, small_chunks):
    folder = tmp_path_factory.mktemp("datasets")
    prepare_scenes(folder, 32, COUNT, HELD_OUT, seed=3)
    return folder


@pytest.fixture(scope="module")
def source(data_dir):
    return open_dataset("scenes", data_dir, size=(32, 32))


class Labeled(tfds.core.GeneratorBasedBuilder):
    """Ten flat images: image i has the level 20 * i on its left half and class i % 3."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(num_classes=3),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for index in range(10):
            pixels = np.zeros((8, 8, 3), np.uint8)
            pixels[:, :4] = 20 * index
            yield index, {"image": scenes_dataset._encode_png(pixels), "label": index % 3}


@pytest.fixture(scope="module")
def labeled_dir(tmp_path_factory):
    builder = Labeled(data_dir=str(tmp_path_factory.mktemp("labeled")))
    builder.download_and_prepare(file_format="array_record")
    return Path(builder.data_path)


@pytest.fixture(scope="module")
def labeled(labeled_dir):
    return open_dataset(labeled_dir, labeled_dir, size=(8, 8))


def take(source, count, **options):
    batches = train_batches(source, seed=5, threads=2, **options)
    return [next(batches) for _ in range(count)]


def one_line(raised) -> str:
    message = str(raised.value)
    assert message and "\n" not in message and len(message) < 400
    return message


@pytest.mark.parametrize("missing", [[], ["test"], ["test", "validation"]])
def test_held_out_images_are_of_the_first_split_that_there_is(missing):
    def open_split(name):
        if name in missing:
            raise NoSplit(name)
        return name

    found = open_held_out(open_split)
    assert found == ("test", "validation", "train")[len(missing)]


def test_a_held_out_split_that_cannot_be_read_is_not_replaced():
    def open_split(name):
        if name == "test":
            raise UserError("the bucket does not answer")
        return name

    with pytest.raises(UserError, match="does not answer"):
        open_held_out(open_split)


def test_what_is_read_by_many_threads_is_in_order_and_ends_at_the_first_error():
    assert read_all(lambda index: 2 * index, np.arange(100)) == list(range(0, 200, 2))
    asked = []

    def read(index):
        asked.append(index)
        if index == 3:
            raise UserError("damaged")
        time.sleep(0.01)

    with pytest.raises(UserError, match="damaged"):
        read_all(read, range(10_000))
    assert len(asked) < 5_000


@pytest.mark.slow
def test_hard_scenes_are_a_dataset_of_their_own(tmp_path):
    assert not scenes_are_prepared(tmp_path, 32, COUNT, HELD_OUT, name="scenes_hard")
    prepare_scenes(tmp_path, 32, COUNT, HELD_OUT, name="scenes_hard")
    assert scenes_are_prepared(tmp_path, 32, COUNT, HELD_OUT, name="scenes_hard")
    with pytest.raises(UserError, match="no scenes at 32x32"):
        open_dataset("scenes", tmp_path, size=(32, 32))
    data = DataConfig(
        name="scenes_hard",
        directory=str(tmp_path),
        train_images=COUNT,
        held_out_images=HELD_OUT,
    )
    config = Config(generator=GeneratorConfig(resolution=32), data=data)
    source = ExperimentData(config).open("test")
    start, variant = HELD_OUT_START, VARIANTS["scenes_hard"]
    rendered = render_batch(
        np.arange(start, start + CHUNK, dtype=np.uint32), 0, 32, variant=variant
    )
    for index in range(min(CHUNK, HELD_OUT)):
        record = source.record(index)
        np.testing.assert_array_equal(record["image"], rendered.images[index])
        np.testing.assert_array_equal(record["mask"][..., 0], rendered.masks[index])
        count = int(rendered.scenes.present[index].sum())
        assert len(record["objects"]["shape"]) == count >= variant.min_objects


@pytest.mark.parametrize("split,start,count", [("train", 0, COUNT), ("test", 2**31, HELD_OUT)])
def test_stored_scenes_equal_the_renderer(data_dir, split, start, count):
    source = open_dataset("scenes", data_dir, size=(32, 32), split=split)
    assert len(source) == count
    rendered = render_batch(np.arange(start, start + CHUNK, dtype=np.uint32), 3, 32)
    for index in range(CHUNK):
        record = source.record(index)
        np.testing.assert_array_equal(record["image"], rendered.images[index])
        np.testing.assert_array_equal(record["mask"][..., 0], rendered.masks[index])
        np.testing.assert_array_equal(record["image"], source[index]["images"])
        objects, number = record["objects"], int(rendered.scenes.present[index].sum())
        for name in ("shape", "size", "material", "colour", "position", "rotation"):
            attribute = "color" if name == scenes_dataset.STORED_COLOR else name
            expected = getattr(rendered.scenes, attribute)[index, :number]
            np.testing.assert_array_equal(objects[name], expected, err_msg=name)
        pixels = rendered.pixel_positions[index, :number]
        np.testing.assert_array_equal(objects["pixel_position"], pixels)
        assert record["index"] == start + index
    assert "tensorflow" not in sys.modules


def test_train_and_test_are_disjoint_and_test_does_not_depend_on_count(data_dir, tmp_path):
    train = held_out_images(open_dataset("scenes", data_dir, size=(32, 32)), COUNT)
    test = held_out_images(open_dataset("scenes", data_dir, size=(32, 32), split="test"), HELD_OUT)
    assert not {image.tobytes() for image in train} & {image.tobytes() for image in test}
    prepare_scenes(tmp_path, 32, 2, 4, seed=3)
    other = open_dataset("scenes", tmp_path, size=(32, 32), split="test")
    np.testing.assert_array_equal(held_out_images(other, 4), test[:4])
    assert HELD_OUT_START >= 2**31


def test_class_names_are_stored(data_dir):
    folder = next(data_dir.glob("scenes/*/*/dataset_info.json")).parent
    features: Any = tfds.builder_from_directory(folder).info.features
    objects = features["objects"]
    assert objects["colour"].feature.names[1] == "red"
    assert objects["shape"].feature.names == ["cube", "sphere", "cylinder"]


def test_preparing_again_renders_nothing(data_dir, monkeypatch):
    monkeypatch.setattr(scenes_dataset, "render_batch", None)
    builder = prepare_scenes(data_dir, 32, COUNT, HELD_OUT, seed=3)
    assert builder.is_prepared()


def test_an_interrupted_preparation_leaves_no_dataset_and_can_be_repeated(tmp_path, monkeypatch):
    calls = []

    def interrupted(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return render_batch(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(scenes_dataset, "render_batch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare_scenes(tmp_path, 32, COUNT, 1)
    # What a killed process leaves behind.
    debris = tmp_path / "scenes" / ScenesConfig().name / "incomplete.ABC_1.0.0"
    debris.mkdir(parents=True)
    (debris / "dataset_info.json").write_text("{}")
    with pytest.raises(UserError, match="no scenes at 32x32"):
        open_dataset("scenes", tmp_path, size=(32, 32))
    prepare_scenes(tmp_path, 32, 2, 1)
    assert len(open_dataset("scenes", tmp_path, size=(32, 32))) == 2


def test_a_builder_without_a_config_has_the_defaults(tmp_path):
    config = Scenes(data_dir=str(tmp_path)).builder_config
    assert config and config.name == ScenesConfig().name == "32px_train10000_test1000_seed0"


@pytest.mark.parametrize(
    "options,words",
    [
        ({"resolution": 16}, "resolution of 32 or more, not 16"),
        ({"count": 0}, "at least one image"),
        ({"held_out": 0}, "at least one image"),
        ({"seed": -1}, "seed of scenes"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, options, words):
    with pytest.raises(UserError, match=words) as raised:
        prepare_scenes(tmp_path, **options)
    one_line(raised)


def test_a_folder_that_cannot_be_written_or_filled(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="cannot write scenes to .*file") as raised:
        prepare_scenes(tmp_path / "file" / "data", 32, 2, 1)
    one_line(raised)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
    with pytest.raises(UserError, match="has 1 MiB free") as raised:
        prepare_scenes(tmp_path / "data", 32, 10_000, 1)
    one_line(raised)


def test_a_disk_that_fills_up_while_writing(data_dir, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, hard))
    try:
        with pytest.raises(UserError, match="cannot write scenes to .* write.. failed") as raised:
            prepare_scenes(tmp_path, 32, 64, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    one_line(raised)
    assert not list(tmp_path.glob("scenes/*/*")), "what was written is removed"


@pytest.mark.parametrize(
    "dataset,options,words",
    [
        ("scenes", {"size": (64, 64)}, "no scenes at 64x64"),
        ("scenes", {"size": (32, 32), "split": "validation"}, "it has: train, test"),
        ("scenes", {"size": (32, 32), "split": "train[:0]"}, "is empty"),
        ("scenes", {"size": (32, 32), "channels": 1}, "32x32x3, not 32x32x1"),
        ("no_such_data", {"size": (32, 32)}, "no dataset 'no_such_data'"),
        (".", {"size": (32, 32)}, "no dataset_info.json"),
    ],
)
def test_datasets_that_cannot_be_opened(data_dir, dataset, options, words):
    with pytest.raises(UserError, match=words) as raised:
        open_dataset(dataset, data_dir, **options)
    one_line(raised)


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_shard_is_reported_in_one_line(labeled_dir, tmp_path, damage):
    folder = shutil.copytree(labeled_dir, tmp_path / "labeled")
    (shard,) = folder.glob("*.array_record*")
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2] + b"!" + whole[len(whole) // 2 + 1 :])
    if damage == "cut":
        shard.write_bytes(whole[: len(whole) // 2])
    if damage == "gone":
        shard.unlink()
    with pytest.raises(UserError, match="cannot be read, copy or prepare it again") as raised:
        source = open_dataset(folder, "", size=(8, 8), channels=3)
        take(source, 10, batch_size=4)
    one_line(raised)


@pytest.mark.parametrize("split", ["train[abc]", "train[5:3]", "train[:150%]", "tr ain", ""])
def test_splits_that_do_not_exist_are_one_line(labeled_dir, split):
    with pytest.raises(UserError, match="has no split|is empty") as raised:
        open_dataset(labeled_dir, labeled_dir, size=(8, 8), split=split)
    one_line(raised)


def test_splits_are_added(labeled_dir):
    assert len(open_dataset(labeled_dir, "", size=(8, 8), split="train[:2]+train[5:]")) == 7


@pytest.mark.parametrize("name", ["mnist", "coco", "cifar10:9.9.9"])
def test_a_prepared_dataset_may_be_called_like_one_of_tfds(
    labeled_dir, tmp_path, monkeypatch, name
):
    """And like a folder of what it was made of."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="there is no dataset|is not prepared") as raised:
        open_dataset(name, tmp_path / "data", size=(8, 8))
    one_line(raised)
    shutil.copytree(labeled_dir, tmp_path / "data" / name / "1.0.0")
    assert len(open_dataset(name, tmp_path / "data", size=(8, 8))) == 10
    (tmp_path / name).mkdir()
    assert len(open_dataset(name, tmp_path / "data", size=(8, 8))) == 10


def test_images_without_a_class_are_not_of_the_last_one(labeled, monkeypatch):
    def decode(features, record):
        return decode_example(features, record) | {"label": np.int64(-1)}

    monkeypatch.setattr("ganformer_jax.data.batches.decode_example", decode)
    for read in (labeled.label, labeled.__getitem__):
        with pytest.raises(UserError, match="has images without a class: run `prepare` on it"):
            read(0)
    assert dataclasses.replace(labeled, label_count=0)[0]["labels"].shape == (0,)


def test_two_sets_of_scenes_must_be_told_apart(tmp_path, data_dir):
    shutil.copytree(data_dir, tmp_path / "two")
    prepare_scenes(tmp_path / "two", 32, 2, 1, seed=4)
    with pytest.raises(UserError, match="several sets of scenes"):
        open_dataset("scenes", tmp_path / "two", size=(32, 32))
    folder = next((tmp_path / "two").glob("scenes/*seed4/*"))
    assert len(open_dataset(folder, tmp_path, size=(32, 32))) == 2


def test_labels_are_one_hot_and_follow_their_images(labeled):
    assert labeled.label_count == 3 and labeled.class_names == ("0", "1", "2")
    for batch in take(labeled, 5, batch_size=4):
        assert batch["labels"].dtype == np.float32 and batch["labels"].shape == (4, 3)
        np.testing.assert_array_equal(batch["labels"].sum(axis=1), 1)
        classes = batch["images"].max(axis=(1, 2, 3)) // 20 % 3
        np.testing.assert_array_equal(batch["labels"].argmax(axis=1), classes)


def test_every_image_comes_once_an_epoch_in_changing_order(labeled):
    levels = np.concatenate(
        [batch["images"].max(axis=(1, 2, 3)) // 20 for batch in take(labeled, 10, batch_size=4)]
    )
    epochs = levels.reshape(4, 10)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(10), (4, 1)))
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4


@pytest.mark.parametrize("hosts", [1, 2])
def test_a_host_may_have_one_image_of_a_batch(labeled, hosts):
    """As in the published settings of CycleGAN, whose batch is one image."""
    batches = side_by_side(labeled, hosts, 20 // hosts, batch_size=hosts, mirror=True)
    found = np.concatenate([batch["images"] for batch in batches])
    expected = np.concatenate([b["images"] for b in take(labeled, 5, batch_size=4, mirror=True)])
    np.testing.assert_array_equal(found, expected)
    (later,) = take(labeled, 1, batch_size=1, mirror=True, images_seen=13)
    np.testing.assert_array_equal(later["images"], expected[13:14])


def test_mirroring_takes_half_the_images_anew_each_time(labeled):
    batches = take(labeled, 50, batch_size=8, mirror=True)
    images = np.concatenate([batch["images"] for batch in batches])
    images = images[images.max(axis=(1, 2, 3)) > 0]
    mirrored = images[:, 0, 0, 0] == 0
    assert np.all(images[mirrored][:, :, 4:] > 0) and np.all(images[~mirrored][:, :, :4] > 0)
    assert 0.4 < mirrored.mean() < 0.6
    levels = images.max(axis=(1, 2, 3))
    assert all(len(set(mirrored[levels == level])) == 2 for level in np.unique(levels))
    plain = take(labeled, 5, batch_size=8)
    assert all(np.all(batch["images"][:, :, 4:] == 0) for batch in plain)


def side_by_side(source, hosts, count, **options):
    """Global batches, as they are assembled from the shares of all hosts."""
    shares = [
        take(source, count, host_index=host, host_count=hosts, **options) for host in range(hosts)
    ]
    return [
        {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        for batches in zip(*shares, strict=True)
    ]


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_any_number_of_hosts_sees_the_same_global_batches(source, labeled, hosts):
    """Their rows too, mirrored the same, past the end of an epoch, and after a restart."""
    for images, count, restart in ((source, 12, 10), (labeled, 5, 2)):
        options = {"batch_size": 8, "mirror": True}
        alone = take(images, count, **options)
        together = side_by_side(images, hosts, count, **options)
        after = side_by_side(images, hosts, count - restart, images_seen=8 * restart, **options)
        for expected, batch in zip(alone + alone[restart:], together + after, strict=True):
            np.testing.assert_array_equal(batch["images"], expected["images"])
            np.testing.assert_array_equal(batch["labels"], expected["labels"])


def test_a_host_reads_only_its_own_rows(source):
    read = []

    class Counted:
        def __len__(self):
            return len(source)

        def __getitem__(self, index):
            read.append(index)
            return source[index]

    options = {"batch_size": 8, "seed": 5, "threads": 0, "host_count": 4}
    for host in range(4):
        batches = train_batches(Counted(), host_index=host, images_seen=16, **options)
        assert [len(next(batches)["images"]) for _ in range(3)] == [2, 2, 2]
        assert len(read) == 6 * (host + 1)
    assert len(set(read)) == 24, "all in the first epoch, so none may be read twice"


@pytest.mark.parametrize("start", [1, 11])
def test_starting_after_images_equals_skipping_them(source, start):
    options = {"batch_size": 8, "mirror": True, "host_index": 1, "host_count": 2}
    whole = take(source, start + 3, **options)
    resumed = take(source, 3, images_seen=8 * start, **options)
    for expected, batch in zip(whole[start:], resumed, strict=True):
        np.testing.assert_array_equal(batch["images"], expected["images"])


def test_batches_depend_on_the_seed_and_not_on_the_threads(source):
    first, again, other = (
        next(train_batches(source, batch_size=16, seed=seed, threads=threads))["images"]
        for seed, threads in [(0, 0), (0, 3), (1, 3)]
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_requests_that_cannot_be_met(source):
    with pytest.raises(UserError, match="multiple of the number of hosts: 6 over 4"):
        train_batches(source, batch_size=6, seed=0, host_count=4)
    with pytest.raises(UserError, match="holds 45 images; 46 were requested"):
        held_out_images(source, 46)


def test_a_prepared_folder_says_how_large_its_images_are(data_dir, labeled_dir):
    found = open_folder(next(data_dir.rglob("dataset_info.json")).parent, "test")
    assert len(found) == HELD_OUT and found.size == (32, 32)
    with pytest.raises(UserError, match="does not declare the size of its images"):
        open_folder(labeled_dir, "train")


def test_classes_without_images(labeled):
    assert [labeled.label(i) for i in range(4)] == [
        int(labeled[i]["labels"].argmax()) for i in range(4)
    ]
    drawn = sample_labels(labeled, range(30))
    assert drawn == sample_labels(labeled, range(30)) and drawn[:10] == drawn[10:20]
    assert sorted(drawn[:10]) == sorted(labeled.label(i) for i in range(10))
    assert sample_labels(labeled, [13, 2]) == [drawn[13], drawn[2]]


def test_what_is_known_of_scenes(source, labeled):
    truth = read_labels(source, CHUNK)
    drawn = render_batch(np.arange(CHUNK, dtype=np.uint32), 3, 32)
    np.testing.assert_array_equal(truth.images, drawn.images)
    np.testing.assert_array_equal(truth.masks, drawn.masks)
    present = np.asarray(drawn.scenes.present)
    np.testing.assert_array_equal(truth.classes[present][:, 3], drawn.scenes.color[present])
    with pytest.raises(UserError, match="has no masks"):
        read_labels(labeled, 1)
    with pytest.raises(UserError, match="has 45 scenes; 46 were requested"):
        read_labels(source, 46)


def test_scenes_that_another_process_made_meanwhile_are_used(tmp_path, monkeypatch):
    prepare = Scenes.download_and_prepare

    def late(builder, **options):
        prepare(builder, **options)
        raise FileExistsError("the destination exists")

    monkeypatch.setattr(Scenes, "download_and_prepare", late)
    assert prepare_scenes(tmp_path, 32, 2, 1).info.splits["train"].num_examples == 2


def test_a_source_without_images_is_refused():
    with pytest.raises(UserError, match="no images to make batches of"):
        train_batches([], batch_size=1, seed=0)
