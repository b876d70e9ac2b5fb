"""Disks that rename files but no folders, such as mounted buckets."""

import errno
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from images import make_folder, png
from processes import TINY_OPTIONS, run_code
from training import EXPERIMENT, gan_programs

from ganformer_jax.config.dicts import to_dict
from ganformer_jax.data.dataset_dir import VERSION
from ganformer_jax.data.prepare import prepare
from ganformer_jax.data.sources.folder import FolderSource
from ganformer_jax.data.spec import DatasetSpec, Geometry
from ganformer_jax.errors import UserError
from ganformer_jax.files import is_moving, move_folder
from ganformer_jax.train.checkpoints.checkpoints import Checkpoints


class CutOff(Exception):
    """The process is killed here."""


@pytest.fixture
def bucket(monkeypatch):
    """Make renaming folders fail; after `left` files moved to `under`, if set, the move is cut."""
    whole, disk = os.rename, type("Disk", (), {"left": None, "moved": 0, "under": ""})()

    def rename(source, target, **settings):
        if os.path.isdir(source):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if str(target).startswith(disk.under):
            if disk.left is not None and disk.moved >= disk.left:
                raise CutOff
            disk.moved += 1
        whole(source, target, **settings)

    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(os, "replace", rename)
    return disk


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_files_are_moved_one_by_one_and_a_cut_move_is_finished(tmp_path, bucket):
    names = ["a", "first", "sub/b", "sub/deep/c", "z"]
    for left in range(len(names) + 2):
        source, target = tmp_path / f"source{left}", tmp_path / f"target{left}"
        for name in names:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(name)
        before = contents(source)
        bucket.left, bucket.moved = left, 0
        try:
            move_folder(source, target, last=["first"])
        except CutOff:
            assert is_moving(source) and not (target / "first").exists() or left == len(names)
            bucket.left = None
            move_folder(source, target, last=["first"])
        assert contents(target) == before and not source.exists()


def test_other_errors_move_nothing(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").touch()
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "b").touch()
    with pytest.raises(OSError):
        move_folder(tmp_path / "source", tmp_path / "target")
    assert contents(tmp_path / "source") == {"a": b""} and contents(tmp_path / "target") == {
        "b": b""
    }


def test_a_dataset_is_whole_or_not_seen(tmp_path, bucket):
    source = FolderSource(make_folder(tmp_path / "in", {f"{i}.png": png(i) for i in range(5)}))
    spec = DatasetSpec("pets", Geometry(8, 8, 3))
    expected = contents(prepare(source, spec, tmp_path / "whole").folder)
    bucket.moved = 0
    prepare(source, spec, tmp_path / "counted")
    for left in range(bucket.moved + 1):
        data = tmp_path / f"data{left}"
        bucket.left, bucket.moved = left, 0
        try:
            prepare(source, spec, data)
        except (CutOff, UserError):
            folder = data / "pets" / VERSION
            seen = (folder / "dataset_info.json").exists()
            assert not seen or expected.items() <= contents(folder).items()
        bucket.left = None
        made = prepare(source, spec, data)
        assert contents(made.folder) == expected
        assert {path.name for path in (data / "pets").iterdir()} == {VERSION, ".lock"}
    assert left > 5


@pytest.fixture(scope="module")
def programs():
    return gan_programs(EXPERIMENT)


def checkpoint(run, state, number):
    with Checkpoints(run) as checkpoints:
        checkpoints.save(number, state.replace(step=jnp.int32(number)), to_dict(EXPERIMENT))
        checkpoints.wait()


def restored(run, programs):
    with Checkpoints(run, warn=lambda line: None) as checkpoints:
        state = checkpoints.restore(programs.abstract_state())
        assert state is not None
        return state, checkpoints.steps()


def test_checkpoints_are_written_and_restored(tmp_path, bucket, programs):
    state = programs.init(jax.random.key(0))
    checkpoint(tmp_path, state, 1)
    checkpoint(tmp_path, state, 2)
    found, steps = restored(tmp_path, programs)
    assert steps == [1, 2] and int(found.step) == 2
    jax.tree.map(np.testing.assert_array_equal, found.generator, state.generator)
    assert not any(".orbax-checkpoint-tmp" in p.name for p in (tmp_path / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("under", "left", "expected"),
    [("2.orbax-checkpoint-tmp", 0, 1), ("2.orbax-checkpoint-tmp", 3, 1)]
    + [("2/", left, 2) for left in (0, 1, 5)],
)
def test_after_a_cut_a_whole_checkpoint_is_restored(
    tmp_path, bucket, programs, under, left, expected
):
    state = programs.init(jax.random.key(0))
    checkpoint(tmp_path, state, 1)
    bucket.under = str(tmp_path / "checkpoints") + f"/{under}"
    bucket.left, bucket.moved = left, 0
    with pytest.raises((UserError, CutOff)):
        checkpoint(tmp_path, state, 2)
    bucket.left = None
    found, steps = restored(tmp_path, programs)
    assert steps[-1] == int(found.step) == expected


# What a bucket that is mounted at the current folder lacks.
MOUNTED = """
import errno, fcntl, os, sys

here = os.getcwd()

def refuse(number):
    raise OSError(number, os.strerror(number))

def files_only(call):
    def rename(source, target, **settings):
        if os.path.isdir(source) and os.path.abspath(source).startswith(here):
            refuse(errno.EMFILE)
        return call(source, target, **settings)
    return rename

os.rename, os.replace = files_only(os.rename), files_only(os.replace)
fcntl.flock = lambda *arguments: refuse(errno.ENOTSUP)
os.fsync = lambda handle: refuse(errno.EINVAL)
os.link = lambda *arguments, **settings: refuse(errno.ENOTSUP)

from ganformer_jax.cli import main
main(sys.argv[1:])
"""


def on_a_mounted_disk(*arguments, cwd):
    ran = run_code(MOUNTED, *arguments, cwd=cwd)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.slow
def test_commands_on_a_mounted_disk(tmp_path):
    train = ["train", *TINY_OPTIONS, "--generator.resolution", "32", "--train.batch-size", "16"]
    on_a_mounted_disk(*train, "--train.total-kimg", "0.064", cwd=tmp_path)
    on_a_mounted_disk(*train, "--train.total-kimg", "0.128", cwd=tmp_path)
    made = {path.name for path in (tmp_path / "runs" / "scenes" / "checkpoints").iterdir()}
    assert {"4", "8"} <= made and not any("tmp" in name for name in made)
    on_a_mounted_disk("sample", "--count", "2", "--out", "made", cwd=tmp_path)
    assert (tmp_path / "made" / "000001.png").exists()
    on_a_mounted_disk("prepare", "made", "--name", "pets", "--resolution", "32", cwd=tmp_path)
    assert (tmp_path / "data" / "pets" / VERSION / "dataset_info.json").exists()
