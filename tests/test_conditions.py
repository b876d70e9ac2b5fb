"""Conditions, vectors of numbers: read, stored, trained on, sampled with and evaluated."""

import json
import math
import shlex

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from command_line import call, complaint
from images import make_folder, png
from tfrecords import write_dataset
from tiny import tiny_config

from ganformer_jax.classes import save_class_names
from ganformer_jax.conditions import (
    load_condition_names,
    parse_condition,
    save_condition_names,
)
from ganformer_jax.config import DiscriminatorConfig
from ganformer_jax.data.batches import open_dataset, train_batches
from ganformer_jax.data.fit import Geometry
from ganformer_jax.data.labeling import find_labels
from ganformer_jax.data.prepare import prepare
from ganformer_jax.data.sources.arrays import ArraySource
from ganformer_jax.data.sources.conditions import Conditions
from ganformer_jax.data.sources.folder import FolderSource
from ganformer_jax.data.sources.prepared import TfdsSource
from ganformer_jax.data.sources.records import TfrecordSource
from ganformer_jax.data.sources.source import Labels
from ganformer_jax.data.spec import DatasetSpec
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.image_sets import sample_labels
from ganformer_jax.experiment.chosen_labels import choose_labels
from ganformer_jax.experiment.evaluation import labeled_dataset
from ganformer_jax.models import Discriminator

NAMES = ["smile", "hat", "age"]
SPEC = DatasetSpec("faces", Geometry(8, 8, 3))
# Options that keep a run tiny; without components and R1, quicker to compile.
TINY = """
    --generator.components 0 --generator.latent-size 8 --generator.mapping.num-layers 1
    --loss.r1-gamma 0
    --generator.synthesis.channel-base 64 --generator.synthesis.channel-max 8
    --discriminator.channel-base 64 --discriminator.channel-max 8
    --train.batch-size 4 --train.total-kimg 0.008 --train.metrics rkid --train.metric-kimg 0
    --train.image-kimg 0.004
""".split()


def rows(count):
    return [[i % 2, int(i % 3 == 0), i / 8] for i in range(count)]


def faces(path, labels, **extra):
    """Write images, the i-th of level 10 i, and dataset.json with their labels."""
    members = {f"{i}.png": png(10 * i) for i in range(len(labels))}
    table = {"labels": [[f"{i}.png", label] for i, label in enumerate(labels)], **extra}
    members["dataset.json"] = json.dumps(table).encode()
    return make_folder(path, members)


def read(path, labels, **extra):
    return find_labels(FolderSource(faces(path, labels, **extra)), "auto")


# Reading


@pytest.mark.parametrize(
    "labels",
    [
        [[1, 1, 0], [0, 0, 1], [0, 0, 0]],
        [[0.2, 0.8], [1, 0]],
        [[0.5], [-2.0]],
        [[-1, 1], [1, 1]],
        [[2, 0], [0, 1]],
    ],
)
def test_vectors_that_are_not_one_hot_are_conditions(tmp_path, labels):
    found = read(tmp_path, labels)
    assert isinstance(found, Conditions) and found.vectors.dtype == np.float32
    np.testing.assert_array_equal(found.vectors, np.float32(labels))
    assert found.names == tuple(map(str, range(len(labels[0])))) and found.unused == 0


def test_names_make_any_vectors_conditions(tmp_path):
    one_hot = [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert isinstance(read(tmp_path, one_hot), Labels)
    found = read(tmp_path, one_hot, condition_names=NAMES)
    assert isinstance(found, Conditions) and found.names == tuple(NAMES)
    assert found.vectors.tolist() == one_hot and found.ranges()["smile"] == (0, 1)


def test_an_image_without_a_condition_has_none(tmp_path):
    faces(tmp_path, rows(3))
    table = {"labels": [["0.png", [1, 0.5]], ["2.png", [2, 0.25]], ["9.png", [3, 3]]]}
    (tmp_path / "labels.json").write_text(json.dumps(table))
    found = find_labels(FolderSource(tmp_path), str(tmp_path / "labels.json"))
    assert isinstance(found, Conditions) and found.unused == 1
    assert found.at(1) is None and found.ranges() == {"0": (1, 2), "1": (0.25, 0.5)}
    made = prepare(FolderSource(tmp_path), SPEC, tmp_path.with_name("data"), labels=found)
    assert made.report["skipped"][f"no condition in {tmp_path / 'labels.json'}"] == 1


@pytest.mark.parametrize(
    ("labels", "extra", "words"),
    [
        ([[1, 1], [1, 1, 0]], {}, "conditions of 2 and of 3 numbers: give all"),
        ([[1, 1], [1, math.nan]], {}, r"condition \[1, nan\]: a condition is a list of finite"),
        ([[1, 1], [1, -math.inf]], {}, "a list of finite numbers"),
        ([[1, 1], [1, 1e39]], {}, "a list of finite numbers"),
        ([[1, 1], [1, 10**400]], {}, "a list of finite numbers"),
        ([[1, 1], [1, "x"]], {}, "a list of finite numbers"),
        ([[1, 1], [1, True]], {}, "a list of finite numbers"),
        ([[1, 1], [1, None]], {}, "a list of finite numbers"),
        ([[1, 1], [[1], 0]], {}, "a list of finite numbers"),
        ([[], []], {}, "a list of finite numbers"),
        ([[1, 1], 1], {}, "labels should be integers"),
        ([0.5, 0.7], {}, "the label 0.5: labels should be integers"),
        ([0, 1], {"condition_names": ["a"]}, "condition 0: a condition is a list"),
        ([[1, 1]], {"condition_names": ["a"]}, "a list of 2 names"),
        ([[1, 1]], {"condition_names": "ab"}, "a list of 2 names"),
        ([[1, 1]], {"condition_names": ["a", " a"]}, "same name, a"),
        ([[1, 1]], {"condition_names": ["a", 1]}, "'1' cannot be the name"),
        ([[1, 1]], {"condition_names": ["a", " "]}, "' ' cannot be the name"),
        ([[1, 1]], {"condition_names": ["a", "b,c"]}, "without commas"),
        ([[1, 1]], {"condition_names": ["a", "b=c"]}, "without commas"),
    ],
)
def test_what_is_no_condition_is_refused_in_one_line(tmp_path, labels, extra, words):
    with pytest.raises(UserError, match=words) as raised:
        read(tmp_path, labels, **extra)
    assert "\n" not in str(raised.value) and "dataset.json" in str(raised.value)


def test_conditions_beside_an_array(tmp_path):
    images, vectors = np.zeros((4, 8, 8, 3), np.uint8), np.float32(rows(4))
    np.savez(tmp_path / "a.npz", images=images, labels=vectors, class_names=NAMES)
    np.savez(tmp_path / "b.npz", images=images, labels=vectors, class_names=NAMES[:2])
    np.save(tmp_path / "c.npy", images)
    np.save(tmp_path / "c-labels.npy", vectors)
    for name, names in (("a.npz", NAMES), ("b.npz", "012"), ("c.npy", "012")):
        with ArraySource(tmp_path / name) as source:
            assert isinstance(source.labels, Conditions) and source.labels.names == tuple(names)
            np.testing.assert_array_equal(source.labels.vectors, vectors)
    vectors[2, 1] = np.nan
    np.savez(tmp_path / "d.npz", images=images, labels=vectors)
    with ArraySource(tmp_path / "d.npz") as source:
        assert source.labels is None and "rows of finite numbers" in str(source.label_error)


def test_conditions_of_tfrecords_follow_their_shards(tmp_path):
    folder = write_dataset(tmp_path / "cats", count=7, shards=3)
    classes = np.eye(7, dtype=np.float32)
    with (folder / "cats-rxx.labels").open("wb") as file:
        np.save(file, classes)
    of_classes = TfrecordSource(folder).labels
    assert isinstance(of_classes, Labels)
    with (folder / "cats-rxx.labels").open("wb") as file:
        np.save(file, classes / 2)
    found = TfrecordSource(folder).labels
    assert isinstance(found, Conditions)
    np.testing.assert_array_equal(found.vectors.argmax(axis=1), of_classes.classes)


# Storing


@pytest.fixture
def dataset(tmp_path):
    source = FolderSource(faces(tmp_path / "faces", rows(9), condition_names=NAMES))
    labels = find_labels(source, "auto")
    return prepare(source, SPEC, tmp_path / "data", labels=labels)


def test_conditions_follow_their_images(dataset):
    source = open_dataset(dataset.folder, dataset.folder, size=(8, 8))
    assert source.condition_names == tuple(NAMES) and source.label_count == 3
    assert not source.class_names and set(source.features) == {"image", "name", "condition"}
    expected = np.float32(rows(9))
    for index in range(9):
        level = int(source[index]["images"][0, 0, 0]) // 10
        np.testing.assert_array_equal(source[index]["labels"], expected[level])
        np.testing.assert_array_equal(source.label(index), expected[level])
    batch = next(train_batches(source, batch_size=6, seed=0))
    assert batch["labels"].dtype == np.float32
    np.testing.assert_array_equal(
        batch["labels"], expected[batch["images"][:, 0, 0, 0].astype(int) // 10]
    )
    drawn = np.stack(sample_labels(source, range(18)))
    np.testing.assert_array_equal(drawn[:9], drawn[9:])
    assert sorted(drawn[:9].tolist()) == sorted(expected.tolist())


def test_a_dataset_of_conditions_says_so(dataset, tmp_path):
    assert dataset.report["conditions"] == {"smile": (0, 1), "hat": (0, 1), "age": (0, 1)}
    assert dataset.report["classes"] == {}
    info = tfds.builder_from_directory(dataset.folder).info
    assert info.metadata and info.metadata["condition_names"] == NAMES
    again = FolderSource(tmp_path / "faces")
    assert not prepare(again, SPEC, tmp_path / "data", labels=find_labels(again, "auto")).is_new
    others = faces(tmp_path / "faces", rows(9)[::-1], condition_names=NAMES)
    changed = find_labels(FolderSource(others), "auto")
    with pytest.raises(UserError, match="holds another dataset .images, times of"):
        prepare(FolderSource(others), SPEC, tmp_path / "data", labels=changed)


def test_a_dataset_of_conditions_is_a_source_of_another(dataset):
    with TfdsSource(dataset.folder) as source:
        assert isinstance(source.labels, Conditions) and source.labels.names == tuple(NAMES)
        np.testing.assert_array_equal(source.labels.vectors, np.float32(rows(9)))


def test_a_feature_that_another_program_calls_condition_is_ignored(dataset):
    metadata = dataset.folder / "metadata.json"
    stored = json.loads(metadata.read_text())
    metadata.write_text(json.dumps({**stored, "condition_names": None}))
    assert open_dataset(dataset.folder, dataset.folder, size=(8, 8)).label_count == 0
    metadata.write_text(json.dumps({**stored, "condition_names": NAMES[:2]}))
    with pytest.raises(UserError, match="no condition of 2 numbers: prepare it again"):
        open_dataset(dataset.folder, dataset.folder, size=(8, 8))


def test_another_dataset_gives_conditions_if_it_has_them(dataset, tmp_path):
    run = tmp_path / "run"
    run.mkdir()

    def found():
        source = labeled_dataset(run, dataset.folder, "train", 3)
        return source and source.condition_names

    assert found() == tuple(NAMES)  # imported weights do not say which they take
    save_condition_names(NAMES, run)
    assert found() == tuple(NAMES)
    save_condition_names(NAMES[::-1], run)
    with pytest.raises(UserError, match="name its folder with --real"):
        found()
    (run / "conditions.json").unlink()
    save_class_names(NAMES, run)
    with pytest.raises(UserError, match="name its folder with --real"):
        found()


# Training


def test_a_condition_of_zeros_hides_no_image_from_the_discriminator():
    config = tiny_config(0).discriminator
    images = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32)
    zeros = np.zeros((4, 3), np.float32)

    def logits(config: DiscriminatorConfig, labels):
        network = Discriminator(config)
        variables = network.init(jax.random.key(0), images, labels)
        return np.asarray(network.apply(variables, images, labels)[0])

    projected = DiscriminatorConfig(**{**vars(config), "label_logit": "projection"})
    assert not logits(config, zeros).any() and np.ptp(logits(projected, zeros)) > 0
    difference = logits(projected, zeros + 1) - logits(projected, zeros)
    np.testing.assert_allclose(difference, logits(config, zeros + 1), rtol=1e-4, atol=1e-5)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "plain.py").write_text(
        "from ganformer_jax.config import Config\n\nconfig = Config()\n"
    )
    return tmp_path


def records(folder):
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_from_files_to_samples_of_a_condition(home, capsys):
    """What the documentation walks through, with the command that `prepare` prints."""
    faces(home / "faces", rows(12), condition_names=NAMES)
    code, out, err = call(capsys, "prepare", "faces", "--name", "faces", "--resolution", "8")
    assert code == 0 and "0 to 1.375      age" in out and "no classes" not in out, err
    command = [*shlex.split(out.splitlines()[-1])[1:], "--config", "plain.py", *TINY]
    assert "--discriminator.label-logit projection" in " ".join(command)
    said = complaint(capsys, *command, "--discriminator.label-logit", "class")
    assert "has conditions, not classes: set --discriminator.label-logit projection" in said
    said = complaint(capsys, *command, "--generator.label-size", "2")
    assert "has conditions of 3 numbers: set --generator.label-size 3" in said
    assert not (home / "runs").exists()
    code, _, err = call(capsys, *command)
    assert code == 0, err
    run = home / "runs/faces"
    assert load_condition_names(run, 3) == NAMES and not (run / "classes.json").exists()
    assert (run / "samples/00000001.png").exists()

    sample = ["sample", "--workdir", "runs/faces", "--count", "3"]
    for out, given in (("a", "0,0.5,-1"), ("b", "age=-1, hat=0.5"), ("c", "-1,0,0")):
        code, _, err = call(capsys, *sample, "--out", out, "--condition", given)
        assert code == 0, err
    assert [r["condition"] for r in records(home / "a")] == [
        {"smile": 0, "hat": 0.5, "age": -1}
    ] * 3
    for name in (f"{seed:06d}.png" for seed in range(3)):
        images = [(home / out / name).read_bytes() for out in "abc"]
        assert images[0] == images[1] != images[2]

    code, _, err = call(capsys, *sample)  # the conditions of images of the dataset
    assert code == 0, err
    source = open_dataset(home / "data/faces", home, size=(8, 8))
    expected = np.stack(sample_labels(source, range(3)))
    drawn = [list(r["condition"].values()) for r in records(run / "generated")]
    np.testing.assert_array_equal(np.float32(drawn), expected)

    for options, words in (
        (["--condition", "1,2"], "2 numbers, but a condition has 3: smile, hat, age"),
        (["--condition", "smle=1"], "did you mean smile?"),
        (["--class", "1"], "was trained on conditions, use --condition"),
        (["--class", "1", "--condition", "1,1,1"], "cannot be combined"),
    ):
        assert words in complaint(capsys, *sample, "--out", "d", *options)
    (home / "data/faces").rename(home / "moved")
    said = complaint(capsys, *sample, "--out", "d")
    assert "give --condition, as the dataset of runs/faces is not available" in said
    assert "a condition has 3: smile, hat, age" in said and not (home / "d").exists()
    evaluate = ["evaluate", "--workdir", "runs/faces", "--metrics", "rkid4", "--batch-size", "4"]
    code, out, err = call(capsys, *evaluate, "--real", "moved")
    assert code == 0 and "rkid4" in out, err


# Choosing


def test_an_export_takes_classes_and_conditions(tmp_path):
    """It does not say which of both its generator was trained on."""
    given = choose_labels(tmp_path / "x.safetensors", 3, [7, 8], condition="1=0.5")
    np.testing.assert_array_equal(given.labels, np.float32([[0, 0.5, 0]] * 2))
    assert given.facts[1] == {"condition": {"0": 0, "1": 0.5, "2": 0}} and given.columns is None
    given = choose_labels(tmp_path / "x.safetensors", 3, range(4), ["2", "0"])
    assert given.labels == [2, 0, 2, 0] and given.columns == 2
    assert given.facts[0] == {"class": "2"}
    assert choose_labels(tmp_path / "x.safetensors", 3, range(4)).labels == [0, 1, 2, 0]
    assert choose_labels(tmp_path / "x.safetensors", 0, range(4)).labels is None


def test_a_condition_where_none_is_taken(tmp_path):
    with pytest.raises(UserError, match="--condition: the generator was trained without"):
        choose_labels(tmp_path, 0, [1], condition="1")
    save_class_names(["a", "b"], tmp_path)
    with pytest.raises(UserError, match="--condition: .* was trained on classes, use --class"):
        choose_labels(tmp_path, 2, [1], condition="1,0")


# Text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5,1,0", [0.5, 1, 0]),
        (" 1 , -2e-1,3", [1, float(np.float32(-0.2)), 3]),
        ("age=3", [0, 0, 3]),
        ("hat = 1,smile=0.5", [0.5, 1, 0]),
    ],
)
def test_conditions_as_text(text, expected):
    assert parse_condition(text, NAMES) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "1 numbers, but a condition has 3"),
        ("1,2,3,4", "4 numbers, but a condition has 3: smile, hat, age"),
        ("1,x,3", "'x' is not a number"),
        ("1,,3", "'' is not a number"),
        ("1,nan,3", "nan is not a finite number"),
        ("1,inf,3", "inf is not a finite number"),
        ("1,1e39,3", "1e39 is not a finite number"),
        ("beard=1", "no number is called 'beard'; a condition has 3"),
        ("agee=1", "did you mean age"),
        ("age=1,age=2", "age is given twice"),
        ("age=1,2", "'2' among names"),
        ("age=", "'' is not a number"),
        ("=1", "no number is called ''"),
    ],
)
def test_text_that_is_no_condition(text, words):
    with pytest.raises(UserError, match=words) as raised:
        parse_condition(text, NAMES)
    assert "\n" not in str(raised.value)


def test_names_of_a_run(tmp_path):
    assert load_condition_names(tmp_path, 3) is None
    save_condition_names(NAMES, tmp_path)
    assert load_condition_names(tmp_path, 3) == NAMES
    with pytest.raises(UserError, match="names 3 numbers of a condition, but the generator has 2"):
        load_condition_names(tmp_path, 2)
    (tmp_path / "conditions.json").write_text("[")
    with pytest.raises(UserError, match=r"conditions.json is damaged"):
        load_condition_names(tmp_path, 3)
