"""Checkpoints: damage, what is kept, older versions of the state, what does not fit."""

import dataclasses
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from tiny import random_batches
from training import (
    DATA,
    EXPERIMENT,
    MeanState,
    failing_mean,
    gan_programs,
    init_mean,
    mean_programs,
    mean_trainable,
    on_host,
    train_gan,
    train_mean,
    with_train,
)

from ganformer_jax import load, storage
from ganformer_jax.config.dicts import from_dict, to_dict
from ganformer_jax.config.files import load_config
from ganformer_jax.errors import UserError
from ganformer_jax.train.checkpoints import checkpoints as module
from ganformer_jax.train.checkpoints.checkpoints import Checkpoints
from ganformer_jax.train.checkpoints.checksums import all_finite, by_path, checksums
from ganformer_jax.train.checkpoints.moving import MovedFolder
from ganformer_jax.train.compile import Programs
from ganformer_jax.train.devices import place_on
from ganformer_jax.train.logs.history import events
from ganformer_jax.train.observing import Observer
from ganformer_jax.train.state import ADDED_LEAVES, WEIGHTS
from ganformer_jax.train.weights import with_weights, write_run


@pytest.fixture(scope="module")
def programs():
    return gan_programs(EXPERIMENT)


@pytest.fixture(scope="module")
def state(programs):
    return programs.init(jax.random.key(0))


def marked(state, number):
    """A state that can be told from others."""
    return state.replace(step=jnp.int32(number), w_average=state.w_average + number)


def save(folder, state, metrics, latest=2):
    with Checkpoints(folder, latest) as checkpoints:
        for step, metric in enumerate(metrics, start=1):
            named = None if metric is None else ("swd", metric)
            checkpoints.save(step, marked(state, step), to_dict(EXPERIMENT), named)
            checkpoints.wait()


def restored(run, programs):
    version = programs.trainable.state_version
    with Checkpoints(run, read_only=True, version=version) as checkpoints:
        state = checkpoints.restore(programs.abstract_state())
    assert state is not None
    return state


def test_latest_and_best_are_kept_and_nan_is_never_best(tmp_path, state):
    save(tmp_path, state, [3.0, 1.0, float("nan"), 2.0, float("-inf"), None])
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.steps() == [2, 5, 6]
        assert (best := checkpoints.best()) and best.step == 2


def flip_bits(folder):
    """Flip one bit in each eighth of the largest file; not every byte of it is read."""
    largest = max(folder.rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    content = bytearray(largest.read_bytes())
    for eighth in range(8):
        content[(2 * eighth + 1) * len(content) // 16] ^= 1
    largest.write_bytes(content)


def truncate(folder):
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size > 100:
            path.write_bytes(path.read_bytes()[:50])


def lose_config(folder):
    (folder / "config" / "metadata").write_text("{")


@pytest.mark.parametrize("damage", [flip_bits, lambda p: truncate(p / "state"), lose_config])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, programs, state, damage):
    save(tmp_path, state, [None, None])
    damage(tmp_path / "checkpoints" / "2")
    said = []
    checkpoints = Checkpoints(tmp_path, warn=said.append)
    older = checkpoints.restore(programs.abstract_state())
    assert older is not None and int(older.step) == 1
    (line,) = said
    assert line.startswith(f"warning: checkpoint 2 in {tmp_path} is damaged (")
    assert line.endswith("); trying an older one") and "\n" not in line
    checkpoints.save(2, marked(state, 2), to_dict(EXPERIMENT))  # and training can pass it again
    checkpoints.close()
    assert int(restored(tmp_path, programs).step) == 2
    assert (tmp_path / "checkpoints" / "damaged-2").is_dir()


def test_one_wrong_number_is_noticed(tmp_path, programs, state, monkeypatch):
    """Where the storage itself is consistent, only the checksum can tell."""
    wrong = jax.tree.map(lambda p: p.at[(0,) * p.ndim].add(1e-3), state.ema)
    monkeypatch.setattr(module, "checksums", lambda _: checksums(marked(state, 1)))
    save(tmp_path, state.replace(ema=wrong), [None])
    monkeypatch.undo()
    with pytest.raises(UserError, match="every checkpoint .* is damaged: the checksum of ema"):
        Checkpoints(tmp_path).restore(programs.abstract_state())


def files_of(run):
    """Contents of all files but the lock; Orbax may touch what it reads."""
    files = (p for p in run.rglob("*") if p.is_file() and p.name != ".lock")
    return {path: path.read_bytes() for path in files}


def test_a_run_whose_checkpoints_are_all_damaged_is_left_alone(tmp_path, state):
    save(tmp_path, state, [None, None])
    for step in "12":
        truncate(tmp_path / "checkpoints" / step / "state")
    before = files_of(tmp_path)
    for _ in range(2):
        with pytest.raises(UserError, match="every checkpoint .* is damaged: .*Error") as caught:
            train_gan(EXPERIMENT, tmp_path)
        assert "\n" not in str(caught.value)
        assert files_of(tmp_path) == before
    for step in "12":
        (tmp_path / "checkpoints" / step).rename(tmp_path / "checkpoints" / f"damaged-{step}")
    before = files_of(tmp_path)
    with pytest.raises(UserError, match="only damaged checkpoints .*: choose another --workdir"):
        train_gan(EXPERIMENT, tmp_path)
    assert files_of(tmp_path) == before


class FullDisk:
    """An Orbax manager that cannot write."""

    def __init__(self, manager):
        self.manager = manager

    def all_steps(self):
        return self.manager.all_steps()

    def reload(self):
        pass

    def save(self, *_, **__):
        raise ValueError("RESOURCE_EXHAUSTED: no space left on device\nwhile writing x")

    wait_until_finished = close = save


@pytest.mark.parametrize("call", ["save", "wait", "close"])
def test_a_checkpoint_that_cannot_be_written_is_one_line(tmp_path, state, call):
    save(tmp_path, state, [None])
    checkpoints = Checkpoints(tmp_path)
    manager = checkpoints._manager
    checkpoints._manager = FullDisk(manager)  # type: ignore[assignment]
    arguments = (2, state, to_dict(EXPERIMENT)) if call == "save" else ()
    with pytest.raises(UserError) as caught:
        getattr(checkpoints, call)(*arguments)
    said = f"cannot write checkpoint to {tmp_path}: ValueError: RESOURCE_EXHAUSTED: no space left"
    assert str(caught.value) == f"{said} on device; the previous ones are kept"
    manager.close()


def test_weights_alone_are_checked_too(tmp_path, state):
    save(tmp_path, state, [None, None])
    flip_bits(tmp_path / "checkpoints" / "2" / "state")
    said = []
    weights = Checkpoints(tmp_path, warn=said.append, read_only=True).weights()[0]
    np.testing.assert_array_equal(weights["w_average"], state.w_average + 1)
    assert set(weights) == set(WEIGHTS) and len(said) == 1
    with pytest.raises(UserError, match="no undamaged checkpoint"):
        Checkpoints(tmp_path, warn=said.append, read_only=True).weights(2)
    with pytest.raises(UserError, match="no checkpoint 7"):
        Checkpoints(tmp_path, read_only=True).weights(7)


def test_weights_come_with_the_config_of_the_same_checkpoint(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        checkpoints.save(step, marked(state, step), to_dict(with_train(total_kimg=step)))
        checkpoints.wait()
    checkpoints.close()
    lose_config(tmp_path / "checkpoints" / "3")
    weights, config = Checkpoints(tmp_path, warn=lambda _: None, read_only=True).weights()
    np.testing.assert_array_equal(weights["w_average"], state.w_average + 2)
    assert config.train.total_kimg == 2


def test_what_is_being_written_is_restored_whole(tmp_path, state, programs):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, {})
        restored = checkpoints.restore(programs.abstract_state())
        weights, _ = checkpoints.weights()
    for one, other in zip(*map(jax.tree.leaves, map(on_host, (restored, state))), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(weights["w_average"], state.w_average)


FAILURES = [
    OSError(errno.ESTALE, "Stale file handle"),
    # As TensorStore says it.
    ValueError("UNKNOWN: Error reading ocdbt: [OS error 5: EIO Input/output error]"),
    ValueError("DEADLINE_EXCEEDED: the bucket does not answer"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=["ESTALE", "EIO", "bucket"])
def test_a_disk_that_fails_is_not_damage(tmp_path, monkeypatch, capsys, failure):
    config = with_train(total_kimg=0.16, checkpoint_kimg=0.08)
    train_mean(tmp_path, config)
    usual, fails = ocp.StandardCheckpointHandler.restore, iter(range(3))

    def fail(*arguments, **options):
        if next(fails, None) is not None:
            raise failure
        return usual(*arguments, **options)

    monkeypatch.setattr(ocp.StandardCheckpointHandler, "restore", fail)
    monkeypatch.setattr(storage, "delays", (0,))
    with pytest.raises(UserError, match="cannot read .*try again once the disk can be read"):
        train_mean(tmp_path, config)  # twice
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} >= {"5", "10"}
    said = []
    assert train_mean(tmp_path, with_train(total_kimg=0.32), say=said.append)  # the third time
    assert said[0].startswith(f"resuming {tmp_path} at 0.2 kimg")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" (")[0] for line in lines] == ["warning: cannot read a checkpoint"] * 2


@pytest.mark.parametrize("failures", [1, 2])
def test_training_survives_one_save_that_fails_in_the_background(tmp_path, monkeypatch, failures):
    """The next one is waited for, and ends training if it fails too."""
    usual, fails, said = MovedFolder.finalize, iter(range(failures)), []

    async def finalize(self):
        if next(fails, None) is not None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        await usual(self)

    monkeypatch.setattr(MovedFolder, "finalize", finalize)
    config = with_train(checkpoint_kimg=0.08)  # at 5, 10, 15 and 20 steps
    if failures == 1:
        assert train_mean(tmp_path, config, say=said.append)
    else:
        with pytest.raises(UserError, match="cannot write checkpoint to .*Input/output error"):
            train_mean(tmp_path, config, say=said.append)
        assert train_mean(tmp_path, config)
    (warning,) = [line for line in said if line.startswith("warning")]
    assert warning.startswith("warning: a checkpoint was not written (OSError: [Errno 5]")
    assert not list(tmp_path.glob("checkpoints/*tmp*"))
    assert set(Checkpoints(tmp_path, read_only=True).steps()) == {15, 20}


def test_a_run_recovers_from_the_checkpoint_before_one_that_was_not_written(tmp_path, monkeypatch):
    usual, failed, said = MovedFolder.finalize, [], []

    async def finalize(self):
        if self.get_final().name == "8" and not failed:
            failed.append("8")
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        await usual(self)

    monkeypatch.setattr(MovedFolder, "finalize", finalize)
    config = with_train(checkpoint_kimg=0.064, log_kimg=0.016)  # at 4, 8, 12, 16 and 20 steps
    trainable = failing_mean(9, only_key=jax.random.key(config.train.seed))
    assert train_mean(tmp_path, config, trainable=trainable, say=said.append)
    assert any("a checkpoint was not written (OSError: [Errno 5]" in line for line in said)
    assert [e["step"] for e in events(tmp_path) if e["event"] == "recovered"] == [4]
    assert set(Checkpoints(tmp_path, read_only=True).steps()) == {16, 20}


def on_devices(monkeypatch):
    """Compute checksums as on accelerators."""
    monkeypatch.setattr("ganformer_jax.train.checkpoints.checksums._on_host", lambda leaves: False)


@pytest.mark.parametrize("place", ["host", "devices"])
def test_any_single_bit_changes_a_checksum(monkeypatch, place):
    if place == "devices":
        on_devices(monkeypatch)
    array = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    good = checksums({"a": jnp.asarray(array)})
    words = array.view(np.uint32)
    for bit in (0, 13, 31):
        flipped = words.copy()
        flipped[1, 2] ^= np.uint32(1 << bit)
        assert checksums({"a": jnp.asarray(flipped.view(np.float32))}) != good
    swapped = array[:, ::-1]
    assert checksums({"a": jnp.asarray(swapped)}) != good


def test_the_host_and_the_devices_compute_the_same(monkeypatch):
    random = np.random.default_rng(0)
    tree = {
        "floats": jnp.asarray(random.standard_normal((3, 5, 7)), jnp.float32),
        "half": jnp.asarray(random.standard_normal((4, 3)), jnp.bfloat16),
        "bytes": jnp.asarray(random.integers(0, 255, (9,)), jnp.uint8),
        "flags": jnp.asarray(random.integers(0, 2, (9,)), bool),
        "scalar": jnp.int32(-3),
        "empty": jnp.zeros((0, 2)),
        "key": jax.random.key(5),
    }
    spoiled = tree | {"half": tree["half"].at[1, 1].set(jnp.nan)}
    found = checksums(tree), all_finite(tree), all_finite(spoiled)
    on_devices(monkeypatch)
    assert found == (checksums(tree), all_finite(tree), all_finite(spoiled))
    assert found[1:] == (True, False)


KILLED_SAVE = """
import os, sys, conftest, jax, training
from ganformer_jax.train.checkpoints.checkpoints import Checkpoints
state = training.mean_programs().init(jax.random.key(0))
checkpoints = Checkpoints(sys.argv[1])
checkpoints.save(1, state.replace(step=state.step + 1), {})
checkpoints.wait()
checkpoints.save(2, state.replace(step=state.step + 2), {})
print("saving", flush=True)
os.kill(os.getpid(), 9)
"""


def test_killed_while_saving(tmp_path):
    folder = Path(__file__).parent
    result = subprocess.run(
        [sys.executable, "-c", KILLED_SAVE, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": f"{folder}:{folder.parent}"},
        capture_output=True,
        text=True,
    )
    assert result.stdout == "saving\n", result.stderr[-2000:]
    assert result.returncode == -signal.SIGKILL
    assert int(restored(tmp_path, mean_programs()).step) in (1, 2)


def test_weights_of_another_run_start_a_new_one(tmp_path, programs, state):
    save(tmp_path, state, [None])
    source = Checkpoints(tmp_path, read_only=True)
    fresh = programs.init(jax.random.key(1))
    started = with_weights(fresh, source.weights()[0], "there")
    for name in ("generator", "ema", "discriminator"):
        for a, b in zip(
            jax.tree.leaves(getattr(started, name)),
            jax.tree.leaves(getattr(state, name)),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)
    assert int(started.step) == 0


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("generator", "latent_size"), 16, "is .* there, .* here"),
        (("generator", "components"), 2, "is missing there"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, state, path, value, message):
    values = to_dict(EXPERIMENT)
    values[path[0]][path[1]] = value
    weights = {name: getattr(state, name) for name in WEIGHTS}
    with pytest.raises(UserError, match=f"weights of there do not fit: .* {message}"):
        write_run(tmp_path / "new", from_dict(type(EXPERIMENT), values), weights, "there")
    assert not (tmp_path / "new").exists()


def test_saving_does_not_hold_up_training(tmp_path, state):
    """`save` returns once arrays are on the host; the state may be donated at once."""
    checkpoints = Checkpoints(tmp_path)
    copy = jax.tree.map(jnp.copy, state)
    checkpoints.save(1, copy, to_dict(EXPERIMENT))
    jax.jit(lambda s: jax.tree.map(jnp.zeros_like, s.ema), donate_argnums=0)(copy)
    for leaf in jax.tree.leaves(copy):
        leaf.delete()
    started = time.perf_counter()
    checkpoints.close()
    assert time.perf_counter() - started < 60
    found, _ = Checkpoints(tmp_path, read_only=True).weights()
    for a, b in zip(jax.tree.leaves(found["ema"]), jax.tree.leaves(state.ema), strict=True):
        np.testing.assert_array_equal(a, b)


# Runs of earlier versions


def test_weights_of_other_networks_are_not_loaded(tmp_path, state):
    """As of a version whose generator had other arrays, or the same ones of another name."""
    ema = dict(state.ema)
    ema["mapping_of_old"] = ema.pop("mapping")
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state.replace(ema=ema), to_dict(EXPERIMENT))
    with pytest.raises(UserError, match="other networks: they have no params/mapping/.*version"):
        load(tmp_path)


@pytest.mark.slow
def test_a_run_of_version_0_1_resumes_bit_for_bit_where_the_numerics_are_the_same(tmp_path):
    """Its later state was written by version 0.1 itself; another CPU may round otherwise."""
    run = tmp_path / "run"
    shutil.copytree(DATA / "run-0.1", run)
    config = load_config(run / "config.json")
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, total_kimg=0.096))
    said = []
    assert train_gan(config, run, say=said.append)
    assert said[0].startswith(f"resuming {run} at 0.0 kimg")
    found = by_path(on_host(restored(run, gan_programs(config))))
    with np.load(DATA / "run-0.1-at-6.npz") as expected:
        added = {path for path in found if path.startswith(tuple(ADDED_LEAVES))}
        assert set(expected.files) == set(found) - {"key"} - added
        assert {path: float(found[path]) for path in added} == dict.fromkeys(added, 0.0)
        for path in expected.files:
            np.testing.assert_allclose(found[path], expected[path], 1e-4, 1e-5, err_msg=path)
    assert not list(run.glob("checkpoints/damaged-*"))


def test_a_run_of_version_0_1_loads():
    generator, variables = load(DATA / "run-0.1")
    z_1xKxD = jnp.ones((1, generator.config.num_latents, generator.config.z_size))
    images, _ = generator.apply(variables, z_1xKxD, noise="const")
    assert images.shape == (1, 8, 8, 3) and np.isfinite(images).all()


class GrownState(MeanState):
    """A later version of the state, with an augmentation's probability."""

    probability: jax.Array


def init_grown(key):
    return GrownState(**vars(init_mean(key)), probability=jnp.float32(0.25))


def grown_trainable(added):
    return mean_trainable(init=init_grown, state_version=2, added_leaves=added)


def test_an_older_checkpoint_resumes_with_the_initial_values_of_what_is_new(tmp_path):
    train_mean(tmp_path, with_train(total_kimg=0.16))
    before = by_path(on_host(restored(tmp_path, mean_programs())))
    probabilities = []

    def batches(start):
        assert start == 160
        return random_batches(start)

    def observe(now):
        probabilities.append(float(now.state.probability))
        return {}

    assert train_mean(
        tmp_path,
        batches=batches,
        observers=[Observer(0.016, observe)],
        trainable=grown_trainable({"probability": 2}),
    )
    assert len(probabilities) == 10 and set(probabilities) == {0.25}
    train_mean(tmp_path.with_name("usual"))
    usual = by_path(on_host(restored(tmp_path.with_name("usual"), mean_programs())))
    programs = Programs(grown_trainable({"probability": 2}), place_on(jax.devices()[:1]))
    with Checkpoints(tmp_path, read_only=True, version=2) as checkpoints:
        grown = checkpoints.restore(programs.abstract_state())
    found = by_path(on_host(grown))
    assert found.pop("probability") == 0.25 and int(before["step"]) == 10
    for path, value in usual.items():  # what the older state had goes its usual way
        np.testing.assert_array_equal(found[path], value, err_msg=path)


def files_and_times(run):
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in run.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("saved", "asked", "message"),
    [
        ({}, {"init": init_grown}, "does not fit: it has no probability"),
        (
            {},
            {"init": init_grown, "state_version": 2, "added_leaves": {"decay": 2}},
            "does not fit: it has no probability",
        ),
        ({"init": init_grown}, {}, "does not fit: it has an unknown probability"),
        ({"state_version": 2}, {}, "was written by a later version of ganformer_jax"),
        (
            {},
            {"init": lambda key: init_mean(key).replace(mean=jnp.zeros(4))},
            r"does not fit: mean is \(3,\) there, \(4,\) here",
        ),
    ],
)
def test_another_structure_is_refused_in_words_and_nothing_is_renamed(
    tmp_path, saved, asked, message
):
    train_mean(tmp_path, with_train(total_kimg=0.016), trainable=mean_trainable(**saved))
    before = files_and_times(tmp_path / "checkpoints")
    with pytest.raises(UserError, match=f"checkpoint 1 in .* {message}"):
        train_mean(tmp_path, trainable=mean_trainable(**asked))
    assert files_and_times(tmp_path / "checkpoints") == before


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config/metadata", lambda path: path.write_text(path.read_text().replace("net", "ned"))),
        ("version/metadata", lambda path: path.write_text(path.read_text().replace("1", "3"))),
        ("state/array_metadatas/process_0", lambda path: path.unlink()),
    ],
    ids=["a letter of the config", "the version", "the types of arrays"],
)
def test_damage_beside_the_arrays_is_noticed(tmp_path, name, change):
    train_mean(tmp_path, with_train(total_kimg=0.16, checkpoint_kimg=0.08))
    path = tmp_path / "checkpoints" / "10" / name
    before = path.read_bytes()
    change(path)
    assert not path.exists() or path.read_bytes() != before
    said = []
    assert train_mean(tmp_path, say=said.append)
    assert any("checkpoint 10" in line and "is damaged" in line for line in said)
    assert any(line.startswith(f"resuming {tmp_path} at 0.1 kimg") for line in said)
