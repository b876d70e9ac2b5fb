"""Datasets in buckets of Google Cloud Storage, as far as a bucket on this machine can tell."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_gcs import BUCKET, serve

from ganformer_jax.data.batches import open_dataset
from ganformer_jax.data.fit import Geometry
from ganformer_jax.data.prepare import prepare
from ganformer_jax.data.sources.arrays import ArraySource
from ganformer_jax.data.spec import DatasetSpec
from ganformer_jax.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[1]
READ = """
import sys
import numpy as np
from ganformer_jax.data.batches import open_dataset, train_batches
from ganformer_jax.errors import UserError

sys.modules |= {name: None for name in sys.argv[3:]}
try:
    source = open_dataset(sys.argv[1], "", size=(8, 8))
    batches = train_batches(source, batch_size=4, seed=0, mirror=True, threads=2)
    np.save(sys.argv[2], [next(batches)["images"] for _ in range(3)])
except UserError as error:
    print(error)
"""


def read(name, out, *missing, environment):
    """What is said of reading a dataset, whose first batches go to a file."""
    result = subprocess.run(
        [sys.executable, "-c", READ, name, out, *missing],
        env=os.environ | environment | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def bucket(tmp_path):
    folder = tmp_path / "bucket"
    folder.mkdir()
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 255, (9, 8, 8, 3), np.uint8))
    prepare(ArraySource(tmp_path / "a.npy"), DatasetSpec("pets", Geometry(8, 8)), folder / "data")
    return folder


def test_a_bucket_gives_the_batches_that_a_folder_gives(bucket, tmp_path):
    pytest.importorskip("gcsfs", reason="an optional package, of the extra `gcs`")
    here, there = tmp_path / "here.npy", tmp_path / "there.npy"
    with serve(bucket) as environment:
        assert not read(f"{bucket}/data/pets", here, environment={})
        assert not read(f"gs://{BUCKET}/data/pets", there, environment=environment)
        said = read(f"gs://{BUCKET}/data/cats", there, environment=environment)
    np.testing.assert_array_equal(np.load(here), np.load(there))
    assert "cats is not a dataset that TFDS prepared" in said


def test_without_gcsfs(tmp_path):
    said = read(f"gs://{BUCKET}/data/pets", tmp_path / "there.npy", "gcsfs", environment={})
    assert 'pip install "ganformer-jax[gcs]"' in said


def test_other_places(tmp_path):
    with pytest.raises(UserError, match="from folders and from gs:// buckets"):
        open_dataset("s3://bucket/pets", tmp_path, size=(8, 8))
