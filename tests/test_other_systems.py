"""Systems and disks without what Linux has: other modules, locks, waiting for the disk."""

import errno
import os

import pytest
from processes import HERE, TINY_OPTIONS, run_code

from ganformer_jax import files, locks
from ganformer_jax.errors import UserError
from ganformer_jax.files import sync, write_atomically
from ganformer_jax.locks import exclusive_lock

# Modules that only POSIX has, and packages that have no wheels for Windows.
HIDE = """
import sys

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"no module {{name}} here", name=name)

for name in [name for name in sys.modules if name.partition(".")[0] in {hidden!r}]:
    del sys.modules[name]
sys.meta_path.insert(0, Hide())
from ganformer_jax.cli import main
main(sys.argv[1:])
"""
POSIX_ONLY = {"fcntl", "resource", "pwd", "grp", "termios"}


def run_without(hidden, *arguments):
    ran = run_code(HIDE.format(hidden=hidden), *arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_sampling_and_export_need_no_posix_and_no_data_pipeline(tmp_path):
    hidden, run = POSIX_ONLY | {"grain", "array_record"}, str(HERE / "data" / "run-0.1")
    export = tmp_path / "e.safetensors"
    run_without(hidden, "export", "--workdir", run, "--out", str(export))
    run_without(hidden, "sample", "--workdir", str(export), "--count", "1")
    assert (tmp_path / "e-generated" / "000000.png").exists()


def test_modules_of_posix_are_imported_where_they_may_be_missing():
    code = "import ganformer_jax.experiment.run, ganformer_jax.data.prepare, ganformer_jax.scenes"
    source = HIDE.format(hidden=POSIX_ONLY).partition("from ganformer_jax.cli")[0] + code
    ran = run_code(source)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("package", ["tyro", "grain", "scipy"])
def test_a_missing_package_is_named_in_one_line(package, tmp_path):
    code = HIDE.format(hidden={package}).replace(
        "from ganformer_jax.cli import", "from ganformer_jax.__main__ import"
    )
    code = code.replace("main(sys.argv[1:])", "main()")
    train = ["train", *TINY_OPTIONS, "--generator.resolution", "32"]
    ran = run_code(code, *train, cwd=tmp_path)
    assert ran.returncode == 1 and "Traceback" not in ran.stderr
    assert ran.stderr.splitlines()[-1].startswith(f"error: no module {package}: ")


def no_locks(*arguments):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@pytest.mark.parametrize("missing", ["the module", "locks of the disk"])
def test_without_locks_a_warning_is_said_once(tmp_path, monkeypatch, missing):
    if missing == "the module":
        monkeypatch.setattr(locks, "fcntl", None)
    else:
        monkeypatch.setattr(locks.fcntl, "flock", no_locks)
    said = []
    with exclusive_lock(tmp_path, "training in", said.append):
        pass
    (line,) = said
    assert line.startswith("warning: ") and "from training in it" in line


def test_with_locks_nothing_is_said_and_the_second_is_refused(tmp_path):
    said = []
    with exclusive_lock(tmp_path, "preparing", said.append):
        with pytest.raises(UserError, match="another process is preparing"):
            with exclusive_lock(tmp_path, "preparing", said.append):
                pass
    assert not said


def test_a_disk_that_cannot_wait_is_used_and_a_broken_one_is_not(tmp_path, monkeypatch):
    def fail(number):
        def fsync(handle):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fsync)

    fail(errno.EINVAL)
    write_atomically(tmp_path / "a", "text")
    sync(tmp_path)
    assert (tmp_path / "a").read_text() == "text"
    fail(errno.EIO)
    with pytest.raises(UserError, match="cannot write"):
        write_atomically(tmp_path / "b", "text")
    assert not (tmp_path / "b").exists()


def test_outside_posix_folders_are_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_POSIX", False)
    sync(tmp_path)
    write_atomically(tmp_path / "a", "text")
    assert (tmp_path / "a").read_text() == "text"
