"""The training loop, with a model that compiles in no time: resume, signals, observers, faults."""

import dataclasses
import errno
import itertools
import json
import os
import shutil
import signal
import tempfile
import threading
import time
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import random_batch, random_batches, tiny_config
from training import (
    DATA,
    EXPERIMENT,
    MeanState,
    failing_mean,
    follow_mean,
    gan_programs,
    init_mean,
    mean_programs,
    mean_trainable,
    on_host,
    train_gan,
    train_mean,
    with_train,
)

from ganformer_jax.config.dicts import to_dict
from ganformer_jax.config.files import load_config
from ganformer_jax.errors import UserError
from ganformer_jax.load import load
from ganformer_jax.train import loop, stalls
from ganformer_jax.train.checkpoints.checkpoints import Checkpoints
from ganformer_jax.train.compile import Programs
from ganformer_jax.train.logs.history import events
from ganformer_jax.train.logs.log import Log
from ganformer_jax.train.observing import Observer
from ganformer_jax.train.run_folder import check_run
from ganformer_jax.train.trainable import Update

STANDSTILL = "no progress for 0 minutes: waiting for data, devices, storage or another host"


def final_state(run, programs=None):
    programs = programs or mean_programs()
    version = programs.trainable.state_version
    with Checkpoints(run, read_only=True, version=version) as checkpoints:
        state = checkpoints.restore(programs.abstract_state())
    assert state is not None
    return on_host(state)


def records(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def losses(run):
    return {r["step"]: r["loss/generator"] for r in records(run) if "loss/generator" in r}


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path):
    config, half = with_train(log_kimg=0.08), with_train(log_kimg=0.08, total_kimg=0.16)
    assert train_mean(tmp_path / "uninterrupted", config)
    assert train_mean(tmp_path / "resumed", half)
    assert train_mean(tmp_path / "resumed", config)
    state = final_state(tmp_path / "uninterrupted")
    same(state, final_state(tmp_path / "resumed"))
    assert int(state.step) == 20 and int(state.images_seen) == 320
    assert losses(tmp_path / "uninterrupted") == losses(tmp_path / "resumed")
    assert list(losses(tmp_path / "resumed")) == [5, 10, 15, 20]


@pytest.mark.slow
def test_a_gan_resumes_bit_for_bit(tmp_path):
    """With attention, every dropout and mixing, and every regularizer."""
    config = load_config(DATA / "run-0.1" / "config.json")
    config = dataclasses.replace(
        config, train=dataclasses.replace(config.train, total_kimg=0.096, checkpoint_kimg=0.048)
    )
    assert train_gan(config, tmp_path / "uninterrupted")
    shutil.copytree(tmp_path / "uninterrupted", tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "6")
    assert train_gan(config, tmp_path / "resumed")
    programs = gan_programs(config)
    one = final_state(tmp_path / "uninterrupted", programs)
    same(one, final_state(tmp_path / "resumed", programs))
    assert int(one.step) == 6


def interrupted(start):
    for number, batch in enumerate(random_batches(start)):
        if number == 6:
            signal.raise_signal(signal.SIGTERM)
        yield batch


def test_a_signal_leaves_a_checkpoint_and_the_same_call_resumes(tmp_path):
    said = []
    assert not train_mean(tmp_path, batches=interrupted, say=said.append)
    assert any("SIGTERM" in line for line in said) and said[-1].startswith("stopped at ")
    (stopped_at,) = [int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()]
    assert 0 < stopped_at < 20
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert train_mean(tmp_path, say=said.append)
    assert any(line.startswith(f"resuming {tmp_path} at ") for line in said)
    assert train_mean(tmp_path, say=said.append)  # nothing left to do
    assert "nothing left" in said[-1]
    assert int(final_state(tmp_path).step) == 20


def test_a_signal_ends_the_wait_for_data_that_never_come(tmp_path):
    def hanging(images_seen):
        yield from itertools.islice(random_batches(images_seen), 8)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        threading.Event().wait()

    said = []
    assert not train_mean(tmp_path, batches=hanging, say=said.append)
    assert said[-1] == "stopped at 0.1 kimg: saved, and can be resumed"
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.steps() == [6]  # two batches were on their way to the devices
    assert train_mean(tmp_path)
    assert train_mean(tmp_path / "usual")
    same(final_state(tmp_path), final_state(tmp_path / "usual"))


def test_what_was_trained_is_saved_when_data_fail(tmp_path):
    def failing(images_seen):
        yield from itertools.islice(random_batches(images_seen), 12)
        raise UserError("the disk of the data is gone")

    with pytest.raises(UserError, match="the disk of the data is gone"):
        train_mean(tmp_path, batches=failing)
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.steps() == [10]
    assert train_mean(tmp_path)
    assert train_mean(tmp_path / "usual")
    same(final_state(tmp_path), final_state(tmp_path / "usual"))


def test_a_measurement_that_fails_does_not_end_training(tmp_path):
    def measure(now):
        if now.step == failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return {"metric/swd": 1.0}

    said, failing = [], 10
    observers = [Observer(0.16, measure)]
    assert train_mean(tmp_path / "run", observers=observers, say=said.append)
    assert [line for line in said if line.startswith("warning")] == [
        "warning: a figure or metric failed (Input/output error); training continues"
    ]
    failing = 0  # which says at once that it cannot work
    with pytest.raises(OSError, match="Input/output error"):
        train_mean(tmp_path / "never", observers=observers)


def test_a_signal_with_numbers_that_are_not_finite_ends_training(tmp_path):
    said, config = [], with_train(checkpoint_kimg=0.064, log_kimg=0.016)

    def say(line):
        said.append(line)
        if "not finite" in line:
            os.kill(os.getpid(), signal.SIGTERM)

    trainable = failing_mean(9, only_key=jax.random.key(config.train.seed))
    assert not train_mean(tmp_path, config, trainable=trainable, say=say)
    assert said[-1].startswith("stopped: resumes from the last checkpoint")
    last = list(events(tmp_path))[-1]
    assert (last["event"], last["step"], last["kimg"]) == ("stopped", 10, 0.16)
    assert train_mean(tmp_path, config, trainable=trainable)


def test_training_that_stands_still_says_so(monkeypatch):
    """By a clock of its own, so that a busy machine changes nothing."""
    now, said, ended, polled = [0.0], [], [], threading.Event()

    def clock():
        polled.set()
        return now[0]

    def wait(minutes):
        """Let time pass, and the thread look at the clock more than once."""
        now[0] += 60 * minutes
        for _ in range(2):
            polled.clear()
            assert polled.wait(60)

    monkeypatch.setattr(stalls, "POLL", 0.001)
    monkeypatch.setattr(stalls, "time", types.SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(stalls.hosts, "end_all", lambda *arguments: ended.append(arguments))
    with stalls.Stalls(20.0, said.append) as watch:
        for _ in range(5):
            wait(9.0)
            watch.progress()
        assert not said
        wait(15.0)
        wait(1.0)
        assert said == [f"warning: {STANDSTILL.replace(' 0 ', ' 15 ')}"] and not ended
        wait(5.0)
    assert len(said) == 1
    assert ended[0] == (f"{STANDSTILL.replace(' 0 ', ' 21 ')} (train.stall_minutes)", 75)


@pytest.mark.parametrize("place", ["data", "checkpoint", "metric", "opening", "start"])
def test_whatever_training_waits_for_counts(tmp_path, monkeypatch, place):
    """Steps go by first, so that a hang right after one is seen as well."""
    monkeypatch.setattr(stalls, "POLL", 0.01)
    monkeypatch.setattr(stalls, "WARN_MINUTES", 0.01)
    said = []

    def hang():
        deadline = time.monotonic() + 20
        while not any(STANDSTILL in line for line in said):
            assert time.monotonic() < deadline, "nothing was said"
            time.sleep(0.02)

    def batches(images_seen):
        if place == "opening":
            hang()
        for number, batch in enumerate(random_batches(images_seen)):
            if place == "data" and number == 5:
                hang()
            yield batch

    def observe(now):
        if place == "metric" and now.step == 4:
            hang()
        return {}

    def save(*arguments, usual=Checkpoints.save):
        if place == "checkpoint":
            hang()
        return usual(*arguments)

    def stored_config(*arguments, usual=Checkpoints.stored_config):
        if place == "start":
            hang()
        return usual(*arguments)

    monkeypatch.setattr(Checkpoints, "save", save)
    monkeypatch.setattr(Checkpoints, "stored_config", stored_config)
    observers = [Observer(0.064, observe)]
    assert train_mean(tmp_path, batches=batches, observers=observers, say=said.append)
    assert any(STANDSTILL in line for line in said)


def test_few_steps_wait_for_the_devices(tmp_path, monkeypatch):
    """As all of them end before a signal is acted on; without the limit there are more."""

    def update(state, batch):
        state, info = follow_mean(state, batch)
        still = jnp.eye(128) * jnp.where(jnp.isfinite(state.mean[0]), 1.0, 0.0)
        still = jax.lax.fori_loop(0, 200, lambda _, x: x @ x, still)
        return state.replace(mean=state.mean * still[0, 0]), info

    def most_waiting(folder, limit):
        infos, waiting = [], []

        def step(self, *arguments, usual=Programs.step):
            waiting.append(sum(not info["loss/generator"].is_ready() for info in infos))
            state, info = usual(self, *arguments)
            infos.append(info)
            return state, info

        monkeypatch.setattr(loop, "AHEAD", limit)
        with monkeypatch.context() as patch:
            patch.setattr(Programs, "step", step)
            assert train_mean(folder, config, trainable=trainable)
        return max(waiting)

    trainable = mean_trainable(updates=(Update("mean", update),))
    config = with_train(log_kimg=0, checkpoint_kimg=0)
    assert most_waiting(tmp_path / "limited", loop.AHEAD) <= loop.AHEAD
    assert most_waiting(tmp_path / "free", 100) > 4


def test_batches_that_end_are_an_error_and_the_state_is_saved(tmp_path):
    few = lambda images_seen: itertools.islice(random_batches(images_seen), 5)  # noqa: E731
    with pytest.raises(UserError, match="the batches ended after 80 images: give an iterator"):
        train_mean(tmp_path, batches=few)
    assert int(final_state(tmp_path).step) == 5


def test_the_state_is_saved_when_an_observer_fails(tmp_path):
    def observe(now):
        return {} if now.step < 8 else {"metric/swd": 1 / 0}

    with pytest.raises(ZeroDivisionError):
        train_mean(tmp_path, observers=[Observer(0.064, observe)])
    assert int(final_state(tmp_path).step) == 8
    assert train_mean(tmp_path)


def test_a_stop_does_not_save_the_metric_of_an_earlier_step(tmp_path):
    observer = Observer(0.016, lambda _: {"metric/swd": 1.0})
    assert not train_mean(tmp_path, batches=interrupted, observers=[observer])
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.steps() and checkpoints.best() is None


def measured(run):
    return {r["step"]: r["metric/swd"] for r in records(run) if "metric/swd" in r}


@pytest.mark.parametrize("at", [4, 20])
def test_what_a_signal_left_out_is_measured_by_the_next_command(tmp_path, at):
    """Also if another signal comes then, and at the end of the run, which compiles nothing."""
    signals = 2

    def measure(now):
        nonlocal signals
        if now.step == at and signals:
            signals -= 1
            signal.raise_signal(signal.SIGTERM)
        return {"metric/swd": 100.0 - now.step if now.step <= at else 100.0}

    def observers():
        return [Observer(0.064, measure)]

    run, usual = tmp_path / "run", tmp_path / "usual"
    for left in (1, 0):
        said = []
        assert not train_mean(run, observers=observers(), say=said.append)
        assert "not complete" in said[-1]
        assert signals == left and at not in measured(run)
        with Checkpoints(run, read_only=True) as checkpoints:
            best = checkpoints.best()
            assert best is None or best.step != at
    assert train_mean(run, observers=observers())
    assert train_mean(usual, observers=observers())
    assert measured(run) == measured(usual) and list(measured(run)) == [0, 4, 8, 12, 16, 20]
    with Checkpoints(run, read_only=True) as checkpoints:
        best = checkpoints.best()
        assert best and (best.step, best.value) == (at, 100.0 - at)
    assert train_mean(run, observers=observers(), say=said.append)
    assert said[-1].startswith("nothing left to do")
    assert (run / "metrics.jsonl").read_text().count("metric/swd") == 6


def test_what_a_signal_left_out_is_measured_once_by_a_command_that_recovers(tmp_path):
    config, calls = with_train(checkpoint_kimg=0, log_kimg=0.016), []

    def measure(now):
        calls.append(now.step)
        if calls == [0, 4]:
            signal.raise_signal(signal.SIGTERM)
        return {"metric/swd": 1.0}

    trainable = failing_mean(9, only_key=jax.random.key(config.train.seed))
    options = {"trainable": trainable, "observers": [Observer(0.064, measure)]}
    assert not train_mean(tmp_path, config, **options)
    assert train_mean(tmp_path, config, **options)
    assert "recovered" in [event["event"] for event in events(tmp_path)]
    assert calls == [0, 4, 4, 8, 8, 12, 16, 20]
    assert list(measured(tmp_path)) == [0, 4, 8, 12, 16, 20]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (jnp.zeros((0, 3)), r"cannot hold extra of the state, float32 \[0, 3\]: leave out what is"),
        (jnp.zeros(3, jnp.complex64), r"extra of the state, complex64 \[3\]: use real numbers of"),
        ({"a.b": jnp.zeros(1), "a": {"b": jnp.zeros(1)}}, "two arrays of the state have one path"),
    ],
)
def test_a_state_that_cannot_be_stored_is_refused_before_it_is_trained(tmp_path, extra, message):
    class Extended(MeanState):
        extra: Any

    def init(key):
        mean = init_mean(key)
        return Extended(mean.mean, mean.decay, mean.step, mean.images_seen, mean.key, extra)

    read = []
    with pytest.raises(UserError, match=message):
        train_mean(tmp_path, batches=read.append, trainable=mean_trainable(init=init))
    assert not read


def test_a_checkpoint_that_is_not_finite_is_set_aside(tmp_path):
    train_mean(tmp_path, with_train(total_kimg=0.032))
    with Checkpoints(tmp_path) as poisoned:
        state = poisoned.restore(mean_programs().abstract_state())
        assert state is not None
        bad = state.replace(step=state.step + 1, mean=state.mean * np.nan)
        poisoned.save(3, bad, to_dict(EXPERIMENT))
    said = []
    assert train_mean(tmp_path, say=said.append)
    assert any("checkpoint 3" in line and "not finite" in line for line in said)
    assert "damaged-3" in {p.name for p in (tmp_path / "checkpoints").iterdir()}
    assert np.isfinite(final_state(tmp_path).mean).all()


def test_a_run_recovers_from_numbers_that_are_not_finite(tmp_path):
    said, config = [], with_train(checkpoint_kimg=0.064, log_kimg=0.016)
    trainable = failing_mean(9, only_key=jax.random.key(config.train.seed))
    assert train_mean(tmp_path, config, trainable=trainable, say=said.append)
    assert any("loss/generator not finite by step 10" in line for line in said)
    assert "returned to 0.1 kimg, with other random numbers" in said
    assert np.isfinite(list(losses(tmp_path).values())).all()
    assert list(losses(tmp_path)) == list(range(1, 21))
    state = final_state(tmp_path)
    assert int(state.step) == 20 and np.isfinite(state.mean).all()
    history = [event["event"] for event in events(tmp_path)]
    assert history == ["started", "recovered", "completed"]


def test_a_run_that_never_recovers_stops_with_the_first_layer_that_fails(tmp_path):
    config = with_train(checkpoint_kimg=0.064, log_kimg=0.032, recoveries=2)
    said = []
    words = "by step 10, 2 recoveries in a row; first in step 10: layer of step 10; checkpoint 8"
    with pytest.raises(UserError, match=words):
        train_mean(tmp_path, config, trainable=failing_mean(9), say=said.append)
    assert sum("returned to" in line for line in said) == 2
    path = tmp_path / "checkpoints"
    assert {p.name for p in path.iterdir() if p.name.isdigit()} == {"4", "8"}
    assert train_mean(tmp_path)  # the fault is gone: the same run resumes


def test_steps_repeated_to_find_the_first_layer_are_progress(tmp_path, monkeypatch):
    opened, calls = [], []
    monkeypatch.setattr(stalls.Stalls, "progress", lambda self: calls.append(self))

    def batches(images_seen):
        opened.append(len(calls))
        return random_batches(images_seen)

    config = with_train(checkpoint_kimg=0.064, log_kimg=0.032, recoveries=0)
    with pytest.raises(UserError, match="first in step 10"):
        train_mean(tmp_path, config, batches=batches, trainable=failing_mean(9))
    assert len(calls) - opened[1] == 2  # steps 9 and 10, after the checkpoint


def test_weights_that_an_update_spoils_are_named(tmp_path):
    """The loss and all that it was computed from are finite: the report is of the new state."""

    def spoil(state, batch):
        state, info = follow_mean(state, batch)
        nan = jnp.where(state.step > 9, jnp.nan, 0.0)
        return state.replace(mean=state.mean + nan), {"loss/generator": jnp.float32(0)}

    trainable = mean_trainable(updates=(Update("mean", spoil),))
    config = with_train(checkpoint_kimg=0.064, recoveries=0)
    with pytest.raises(UserError, match="first in step 10: mean after the update; checkpoint 8"):
        train_mean(tmp_path, config, trainable=trainable)


def test_another_batch_size_resumes_at_the_same_image(tmp_path):
    assert train_mean(tmp_path, with_train(total_kimg=0.16))
    config, asked, said = with_train(batch_size=32), [], []

    def batches(images_seen):
        asked.append(images_seen)
        return (random_batch(n, 32) for n in itertools.count())

    trainable = mean_trainable(batch={"images": jax.ShapeDtypeStruct((32, 8, 8, 3), np.uint8)})
    assert train_mean(tmp_path, config, batches, trainable=trainable, say=said.append)
    assert asked == [160] and "changed: train.batch_size was 16, now 32" in said
    state = final_state(tmp_path)
    assert (int(state.step), int(state.images_seen)) == (15, 320)


def test_observers_run_before_during_and_after_and_their_metric_decides(tmp_path):
    seen = []

    def measure(snapshot):
        seen.append(snapshot.step)
        images = snapshot.sample([0, 2])
        assert images.dtype == np.uint8 and (images[1] == images[0] + 2).all()
        return {"metric/swd": {0: 9.0, 8: 1.0}.get(snapshot.step, float("nan"))}

    config = with_train(checkpoint_kimg=0.064, total_kimg=0.256, checkpoints_kept=1)
    train_mean(tmp_path, config, observers=[Observer(0.128, measure)])
    assert seen == [0, 8, 16]
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        best = checkpoints.best()
        assert checkpoints.steps() == [8, 16]
        assert best and best.step == 8
    first = records(tmp_path)[0]
    assert first["step"] == 0 and first["metric/swd"] == 9.0


def test_the_untrained_state_is_observed_after_the_first_step(tmp_path):
    """The step donates what it is given, so a copy must have been kept."""
    read, shown = [], []

    def batches(start):
        for batch in random_batches(start):
            read.append(start)
            yield batch

    def show(snapshot):
        shown.append((len(read), on_host(snapshot.state)))
        return {}

    train_mean(tmp_path, batches=batches, observers=[Observer(100.0, show)])
    (before, untrained), (_, trained) = shown
    assert before > 0
    key = jax.random.key(EXPERIMENT.train.seed)
    same(untrained, on_host(mean_programs().init(key)))
    assert trained.mean[0] != untrained.mean[0]


def test_what_needs_no_data_is_observed_at_once(tmp_path, monkeypatch):
    """Samples of the untrained state are there before data are read; updates compile meanwhile."""
    events = []
    start = Programs.compile_in_background
    monkeypatch.setattr(
        Programs,
        "compile_in_background",
        lambda self, seen=0: (events.append("start"), start(self, seen))[1],
    )

    def batches(images_seen):
        events.append("batches")
        return random_batches(images_seen)

    def show(name):
        return lambda now: events.append(f"{name} {now.step}") or {}

    observers = [Observer(100.0, show("metric")), Observer(100.0, show("samples"), at_once=True)]
    train_mean(tmp_path, with_train(total_kimg=0.008), batches=batches, observers=observers)
    assert [e for e in events if e != "start"] == [
        *("samples 0", "batches", "metric 0", "metric 1", "samples 1")
    ]
    assert events[0] == "start"


def test_a_signal_at_the_first_samples_ends_the_command(tmp_path, monkeypatch):
    """Neither data are read nor updates waited for."""
    read = []
    monkeypatch.setattr(Programs, "compile_in_background", lambda self, images_seen=0: None)
    monkeypatch.setattr(Programs, "wait", lambda self, check: read.append("updates"))

    def batches(images_seen):
        read.append(images_seen)
        return random_batches(images_seen)

    def interrupted(now):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        return {}

    observers = [Observer(100.0, interrupted, at_once=True)]
    assert not train_mean(tmp_path, batches=batches, observers=observers)
    assert not read


def test_another_start_is_where_a_new_run_starts(tmp_path):
    def from_zero(state):
        return state.replace(mean=state.mean * 0)

    short = with_train(total_kimg=0.016)
    train_mean(tmp_path / "usual", short)
    train_mean(tmp_path / "zero", short, warm_start=from_zero)
    usual, zero = final_state(tmp_path / "usual"), final_state(tmp_path / "zero")
    decay = float(usual.decay)
    np.testing.assert_allclose(usual.mean - zero.mean, 7 * (1 - decay), rtol=1e-5)


def test_a_run_without_checkpoints_recovers_to_where_it_started(tmp_path):
    config = with_train(recoveries=1, log_kimg=0.016)
    starts = []

    def start(state):
        starts.append(int(state.step))
        return state.replace(mean=state.mean * 0)

    failing = failing_mean(2, only_key=jax.random.key(config.train.seed))
    assert train_mean(tmp_path, config, trainable=failing, warm_start=start)
    assert starts == [0, 0]


def test_a_complete_run_compiles_nothing(tmp_path, monkeypatch):
    """Compilation cannot be interrupted: the process would wait for it."""
    config = with_train(total_kimg=0.016)
    assert train_mean(tmp_path, config)
    monkeypatch.setattr(Programs, "compile_in_background", lambda *_: pytest.fail("compiles"))
    said = []
    assert train_mean(tmp_path, config, say=said.append)
    assert said[-1].startswith("nothing left to do")


OTHER = json.dumps(to_dict(tiny_config(components=2)))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.json": OTHER}, "generator.components was 2, now 0"),
        ({"config.json": "{"}, "config.json cannot be read as the config"),
        (
            {"config.json": '{"what": 1}'},
            "cannot be read as the config .*unknown option what",
        ),
        ({"config.json": "[1]"}, "config.json cannot be read as the config"),
        ({"metrics.jsonl": '{"step": 1}\n'}, "metrics.jsonl is of another run"),
    ],
)
def test_what_is_left_of_another_run_is_not_overwritten(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=f"{message}.*: choose another --workdir"):
        train_mean(tmp_path)
    left = {p.name: p.read_text() for p in tmp_path.iterdir() if p.is_file()}
    assert left.pop(".lock") and left == files


def test_a_run_of_another_config_is_refused_and_left_alone(tmp_path):
    train_mean(tmp_path, with_train(total_kimg=0.016))
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "checkpoints").rglob("*")}
    with pytest.raises(UserError) as error:
        train_mean(tmp_path, tiny_config(components=2))
    assert "generator.components was 0, now 2" in str(error.value)
    assert "total_kimg" not in str(error.value)
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "checkpoints").rglob("*")}
    assert before == after


def test_a_run_that_never_saved_starts_again(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(to_dict(EXPERIMENT)))
    check_run(tmp_path, with_train(total_kimg=7.0), None)
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n{"step": 3}\n{"ste')
    Log(tmp_path, 0, 16, print).close()
    assert (tmp_path / "metrics.jsonl").read_text() == ""


@pytest.mark.parametrize("edit", ["change", "remove"])
def test_a_config_file_that_is_not_that_of_its_run_is_no_advice(tmp_path, edit):
    assert train_mean(tmp_path, with_train(total_kimg=0.016))
    path, other = tmp_path / "config.json", tiny_config(components=2)
    with pytest.raises(UserError, match=f"or give --config {path} --workdir {tmp_path} to resume"):
        train_mean(tmp_path, other)
    path.write_text(json.dumps(to_dict(other))) if edit == "change" else path.unlink()
    with pytest.raises(UserError, match="or set these options as they were to resume this run"):
        train_mean(tmp_path, other)


def test_a_run_whose_checkpoints_are_gone_keeps_its_log(tmp_path):
    assert train_mean(tmp_path, with_train(total_kimg=0.032))
    before = (tmp_path / "metrics.jsonl").read_bytes()
    shutil.move(tmp_path / "checkpoints", tmp_path / "elsewhere")
    with pytest.raises(UserError, match="was trained to step 2, and its checkpoints are not the"):
        train_mean(tmp_path, with_train(total_kimg=0.048))
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)
    shutil.move(tmp_path / "elsewhere", tmp_path / "checkpoints")
    assert train_mean(tmp_path, with_train(total_kimg=0.048))


@pytest.mark.parametrize(
    "line",
    ['{"identities": null}', '{"devices": 3}', '{"step": "four", "event": "stopped"}', "[1]", "{"],
)
def test_a_damaged_line_of_the_history_is_left_out(tmp_path, line):
    (tmp_path / "history.jsonl").write_text(f'{line}\n{{"event": "started", "step": 0}}\n')
    assert list(events(tmp_path)) == [{"event": "started", "step": 0}]


def test_an_event_without_a_step_does_not_end_the_next_command(tmp_path):
    (tmp_path / "history.jsonl").write_text('{"event": "resumed"}\n')
    assert train_mean(tmp_path, with_train(total_kimg=0.016))


@pytest.mark.parametrize(
    "line", ["loss 1.5", '{"step": 1e400}', "[1]", '{"loss": 1}', '{"step": null}', "\udcff"]
)
def test_numbers_that_are_not_of_a_run_are_kept(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(f'{{"step": 1}}\n{line}\n'.encode(errors="surrogateescape"))
    before = path.read_bytes()
    with pytest.raises(UserError, match="metrics.jsonl has a line that is not of a run"):
        Log(tmp_path, 0, 16, print)
    assert path.read_bytes() == before
    Log(tmp_path, 1, 16, print).close()  # of a run that resumes: damaged
    assert path.read_text() == '{"step": 1}\n'


def test_a_run_resumes_without_new_files_beside_its_checkpoints(tmp_path, monkeypatch):
    """Lines of the log that a killed command left are cut off without a copy of the file."""
    config = with_train(log_kimg=0.016)
    assert train_mean(tmp_path, with_train(log_kimg=0.016, total_kimg=0.16))
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config), indent=2) + "\n")
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write('{"step": 11, "loss/generator": 0}\n{"step": 12, "lo')

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "mkstemp", full)
    assert train_mean(tmp_path, config)
    assert list(losses(tmp_path)) == list(range(1, 21)) and losses(tmp_path)[11] != 0


def test_a_run_is_trained_by_one_command_at_a_time(tmp_path):
    def observe(now):
        with pytest.raises(UserError, match="another process is training in .*: wait"):
            train_mean(tmp_path)
        return {}

    assert train_mean(tmp_path, observers=[Observer(0.16, observe)])
    assert train_mean(tmp_path)


def test_a_run_of_another_model_is_not_loaded_as_a_gan(tmp_path):
    train_mean(tmp_path, with_train(total_kimg=0.016))
    with pytest.raises(UserError, match="is not a run of a GAN: its checkpoints have no "):
        load(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to .*file"):
        train_mean(tmp_path / "file" / "run")


def test_data_of_another_name_and_the_same_checksum_resume(tmp_path):
    config = with_train(total_kimg=0.16)
    moved = dataclasses.replace(
        EXPERIMENT, data=dataclasses.replace(EXPERIMENT.data, name="moved/elsewhere")
    )
    assert train_mean(tmp_path, config, identities={"data.name": "12ab"})
    for other in ({}, {"data.name": "34cd"}):
        with pytest.raises(UserError, match=r"another config \(data.name was scenes, now moved"):
            train_mean(tmp_path, moved, identities=other)
    for _ in range(2):  # the wrong checksum is not remembered
        with pytest.raises(UserError, match="checksum of data.name was 12ab and is 34cd; put the"):
            train_mean(tmp_path, config, identities={"data.name": "34cd"})
    said = []
    assert train_mean(tmp_path, moved, identities={"data.name": "12ab"}, say=said.append)
    assert "changed: data.name was scenes, now moved/elsewhere" in said
    changes = [event["changes"] for event in events(tmp_path) if "changes" in event]
    assert changes[0] == [] and len(changes[1]) == 2


def test_observers_always_run_in_the_same_thread(tmp_path):
    """matplotlib opens its fonts anew for every thread, and never closes them."""
    threads = set()

    def observe(now):
        threads.add(threading.get_ident())
        return {}

    train_mean(tmp_path, observers=[Observer(0.016, observe), Observer(0.032, observe)])
    assert len(threads) == 1
