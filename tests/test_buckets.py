"""Datasets in buckets of Google Cloud Storage, as far as a bucket on this machine can tell."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_gcs import BUCKET, serve

from ganformer_jax.data.batches import open_dataset, train_batches
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
for name in sys.argv[2].split():
    try:
        source = open_dataset(name, "", size=(8, 8))
        batches = train_batches(source, batch_size=4, seed=0, mirror=True, threads=2)
        np.save(sys.argv[1], [next(batches)["images"] for _ in range(3)])
    except UserError as error:
        print(error)
"""


def read(names, out, *missing, environment):
    """Read datasets in another process, write first batches to a file, and return the messages."""
    result = subprocess.run(
        [sys.executable, "-c", READ, out, " ".join(names), *missing],
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
    there = tmp_path / "there.npy"
    with serve(bucket) as environment:
        names = [f"gs://{BUCKET}/data/{name}" for name in ("cats", "pets")]
        said = read(names, there, environment=environment)
    assert said.count("\n") == 1 and "cats is not a dataset prepared by TFDS" in said
    here = open_dataset(bucket / "data/pets", "", size=(8, 8))
    batches = train_batches(here, batch_size=4, seed=0, mirror=True, threads=2)
    np.testing.assert_array_equal(np.load(there), [next(batches)["images"] for _ in range(3)])


def test_without_gcsfs(tmp_path):
    said = read([f"gs://{BUCKET}/data/pets"], tmp_path / "there.npy", "gcsfs", environment={})
    assert 'pip install "ganformer-jax[gcs]"' in said


def test_other_places(tmp_path):
    with pytest.raises(UserError, match="from folders and from gs:// buckets"):
        open_dataset("s3://bucket/pets", tmp_path, size=(8, 8))
