"""Datasets in the layouts that others are published in, from the source to the dataset."""

import os

import numpy as np
import pytest
import tensorflow_datasets as tfds
from published_archives import (
    write_cifar,
    write_idx,
    write_nested,
    write_parquet,
    write_webdataset,
)

from ganformer_jax.data import shards
from ganformer_jax.data.decode import decode
from ganformer_jax.data.fit import Geometry
from ganformer_jax.data.labeling import find_labels
from ganformer_jax.data.prepare import prepare
from ganformer_jax.data.sources.open import open_source
from ganformer_jax.data.spec import DatasetSpec

MAKERS = {
    "cifar": lambda folder: write_cifar(folder / "cifar-10-python.tar.gz"),
    "cifar100": lambda folder: write_cifar(folder / "cifar-100-binary.tar.gz", 100, True),
    "idx": lambda folder: write_idx(folder / "mnist", count=11),
    "nested": lambda folder: write_nested(folder / "train.tar"),
    "webdataset": lambda folder: write_webdataset(folder / "shards"),
    "parquet": lambda folder: write_parquet(folder / "train.parquet"),
}


@pytest.fixture(params=MAKERS)
def path(request, tmp_path):
    return MAKERS[request.param](tmp_path)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "ENTRIES_PER_SHARD", 2)


def test_a_source_is_the_same_every_time_and_in_any_order(path):
    with open_source(str(path)) as one, open_source(str(path)) as other:
        assert list(one.names) == list(other.names) and len(set(one.names)) == len(one) > 2
        assert one.fingerprint() == other.fingerprint() and not one.skipped
        forward = [np.asarray(decode(one.read(i)).image) for i in range(len(one))]
        backward = [np.asarray(decode(other.read(i)).image) for i in reversed(range(len(one)))]
        assert all(map(np.array_equal, forward, reversed(backward)))
        assert len({image.tobytes() for image in forward}) == len(one)


def test_fingerprints_follow_changes(path):
    with open_source(str(path)) as source:
        before = source.fingerprint()
    file = sorted(path.iterdir())[0] if path.is_dir() else path
    os.utime(file, (1, 1))
    with open_source(str(path)) as source:
        assert source.fingerprint() != before


def read_back(folder):
    return [
        (example["name"], int(example["label"]), example["image"].tobytes())
        for example in tfds.builder_from_directory(folder).as_data_source("train")
    ]


def test_interrupted_preparation_resumes_with_equal_results(path, tmp_path, monkeypatch):
    spec = DatasetSpec("pets", Geometry(8, 8))

    def prepared(data_dir):
        with open_source(str(path)) as source:
            labels = find_labels(source, "auto")
            assert labels is not None and (labels.classes >= 0).all()
            expected = dict(zip(source.names, labels.classes.tolist(), strict=True))
            return prepare(source, spec, tmp_path / data_dir, labels=labels, threads=1), expected

    whole, classes = prepared("whole")
    assert {name.decode(): label for name, label, _ in read_back(whole.folder)} == classes
    written, original = [], shards._write_shard

    def stop_at_the_second(*arguments):
        written.append(arguments)
        if len(written) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(shards, "_write_shard", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        prepared("stopped")
    monkeypatch.setattr(shards, "_write_shard", original)
    resumed, _ = prepared("stopped")
    assert read_back(resumed.folder) == read_back(whole.folder)
    assert resumed.report["fingerprint"] == whole.report["fingerprint"]
