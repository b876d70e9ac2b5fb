"""Checkpoints: resuming bit for bit, damage, what is kept, and what does not belong together."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import random_batches, tiny_config

from ganformer_jax.config_files import from_dict, to_dict
from ganformer_jax.errors import UserError
from ganformer_jax.train import checkpoint
from ganformer_jax.train.checkpoint import Checkpoints, adopt_weights, checksums
from ganformer_jax.train.compile import CompiledGame
from ganformer_jax.train.log import Log
from ganformer_jax.train.loop import Observer, train
from ganformer_jax.train.same_run import check_new_run

CONFIG = tiny_config(components=0)  # 20 rounds of 16 images


def with_train(**values):
    return dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, **values))


@pytest.fixture(scope="module")
def game():
    return CompiledGame(CONFIG, jax.devices()[:1])


@pytest.fixture(scope="module")
def state(game):
    return game.create(jax.random.key(0))


def marked(state, number):
    """A state that can be told from others."""
    return state.replace(step=jnp.int32(number), w_average=state.w_average + number)


def save(folder, state, metrics, latest=2):
    checkpoints = Checkpoints(folder, latest)
    for step, metric in enumerate(metrics, start=1):
        checkpoints.save(step, marked(state, step), CONFIG, metric)
        checkpoints.wait()
    checkpoints.close()


def final_state(run, game):
    checkpoints = Checkpoints(run, read_only=True)
    state = checkpoints.restore(game.abstract_state(), game.config)
    checkpoints.close()
    assert state is not None
    return state


def lines(run):
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    keep = ("loss/generator", "loss/discriminator", "step")
    return [{k: r[k] for k in keep} for r in records if "loss/generator" in r]


def test_twenty_rounds_equal_ten_and_ten_bit_for_bit(tmp_path):
    """With attention, its dropout, and every regularizer."""
    config = tiny_config(path_length_weight=1.0)
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, log_kimg=0.08))
    short = dataclasses.replace(config, train=dataclasses.replace(config.train, total_kimg=0.16))
    assert train(config, tmp_path / "whole", random_batches, say=lambda _: None)
    assert train(short, tmp_path / "halves", random_batches, say=lambda _: None)
    assert train(config, tmp_path / "halves", random_batches, say=lambda _: None)
    game = CompiledGame(config, jax.devices()[:1])
    whole, halves = final_state(tmp_path / "whole", game), final_state(tmp_path / "halves", game)
    assert int(whole.step) == 20 and int(whole.images_seen) == 320
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(halves), strict=True):
        if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(a, b)
    assert lines(tmp_path / "whole") == lines(tmp_path / "halves")
    assert [record["step"] for record in lines(tmp_path / "whole")] == [5, 10, 15, 20]


def test_a_signal_leaves_a_checkpoint_and_the_same_command_goes_on(tmp_path, game):
    def interrupted(start):
        for number, batch in enumerate(random_batches(start)):
            if number == 6:
                signal.raise_signal(signal.SIGTERM)
            yield batch

    said = []
    assert not train(CONFIG, tmp_path, interrupted, say=said.append)
    assert any("SIGTERM" in line for line in said) and "stopped" in said[-1]
    (stopped_at,) = [int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()]
    assert 0 < stopped_at < 20
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert train(CONFIG, tmp_path, random_batches, say=said.append)
    assert train(CONFIG, tmp_path, random_batches, say=said.append)  # nothing left to do
    assert "nothing left" in said[-1]
    assert int(final_state(tmp_path, game).step) == 20


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_its_checkpoint(tmp_path):
    config = with_train(total_kimg=0.032)
    train(config, tmp_path, random_batches, say=lambda _: None)
    before = sorted((tmp_path / "checkpoints").rglob("*"))
    path = tmp_path / "checkpoints"
    poisoned = Checkpoints(tmp_path)
    state = poisoned.restore(CompiledGame(CONFIG, jax.devices()[:1]).abstract_state(), CONFIG)
    assert state is not None
    bad = jax.tree.map(lambda p: p * jnp.nan, state.generator)
    poisoned.save(3, state.replace(step=jnp.int32(3), generator=bad), CONFIG)
    poisoned.close()
    with pytest.raises(UserError, match="not finite by step .*: stopped; the last checkpoint, 3"):
        train(CONFIG, tmp_path, random_batches, say=lambda _: None)
    assert set(before) <= set(path.rglob("*"))
    assert {p.name for p in path.iterdir() if p.name.isdigit()} == {"2", "3"}


def test_latest_and_best_are_kept_and_nan_is_never_best(tmp_path, state):
    save(tmp_path, state, [3.0, 1.0, float("nan"), 2.0, float("-inf"), None])
    checkpoints = Checkpoints(tmp_path, read_only=True)
    assert checkpoints.steps() == [2, 5, 6]
    assert checkpoints.best_step() == 2
    checkpoints.close()


def test_observers_run_before_during_and_after_and_their_metric_decides(tmp_path):
    seen = []

    def measure(snapshot):
        seen.append(snapshot.step)
        assert set(snapshot.variables) == {"params", "constants", "moments"}
        return {"metric/swd": {0: 9.0, 8: 1.0}.get(snapshot.step, float("nan"))}

    config = with_train(checkpoint_kimg=0.064, total_kimg=0.256, checkpoints_kept=1)
    train(config, tmp_path, random_batches, [Observer(0.128, measure)], say=lambda _: None)
    assert seen == [0, 8, 16]
    checkpoints = Checkpoints(tmp_path, read_only=True)
    assert checkpoints.steps() == [8, 16] and checkpoints.best_step() == 8
    checkpoints.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["step"] == 0 and lines[0]["metric/swd"] == 9.0


def test_the_untrained_generator_is_shown_after_the_first_step(tmp_path):
    """The step donates what it is given, so a copy must have been kept."""
    played, shown = [], []

    def batches(start):
        for batch in random_batches(start):
            played.append(start)
            yield batch

    def show(snapshot):
        shown.append((len(played), jax.device_get(snapshot.variables)))
        return {}

    train(CONFIG, tmp_path, batches, [Observer(100.0, show)], say=lambda _: None)
    (before, untrained), (_, trained) = shown
    assert before > 0
    key = jax.random.key(CONFIG.train.seed)
    expected = CompiledGame(CONFIG, jax.devices()).create(key).generator_variables()
    jax.tree.map(np.testing.assert_array_equal, untrained, jax.device_get(expected))
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), untrained, trained)
    assert max(jax.tree.leaves(moved)) > 0


def test_a_complete_run_compiles_nothing(tmp_path, monkeypatch):
    """Compilation cannot be interrupted: the process would wait for it."""
    config = with_train(total_kimg=0.016)
    assert train(config, tmp_path, random_batches, say=lambda _: None)
    monkeypatch.setattr(CompiledGame, "prepare", lambda self: pytest.fail("compiles"))
    said = []
    assert train(config, tmp_path, random_batches, say=said.append)
    assert said[-1].startswith("nothing left to do")


def flip_a_bit(folder):
    largest = max(folder.rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)


def truncate(folder):
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size > 100:
            path.write_bytes(path.read_bytes()[:50])


def lose_config(folder):
    (folder / "config" / "metadata").write_text("{")


@pytest.mark.parametrize("damage", [flip_a_bit, lambda p: truncate(p / "state"), lose_config])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, game, state, damage):
    save(tmp_path, state, [None, None])
    damage(tmp_path / "checkpoints" / "2")
    said = []
    checkpoints = Checkpoints(tmp_path, warn=said.append)
    restored = checkpoints.restore(game.abstract_state(), CONFIG)
    assert restored is not None and int(restored.step) == 1
    (line,) = said
    assert line.startswith(f"warning: checkpoint 2 in {tmp_path} is damaged (")
    assert line.endswith("); trying an older one") and "\n" not in line
    checkpoints.save(2, marked(state, 2), CONFIG)  # and training can pass it again
    checkpoints.close()
    assert int(final_state(tmp_path, game).step) == 2
    assert (tmp_path / "checkpoints" / "damaged-2").is_dir()


def test_one_wrong_number_is_noticed(tmp_path, game, state, monkeypatch):
    """Where the storage itself is consistent, only the checksum can tell."""
    wrong = jax.tree.map(lambda p: p.at[(0,) * p.ndim].add(1e-3), state.ema)
    monkeypatch.setattr(checkpoint, "checksums", lambda _: checksums(marked(state, 1)))
    save(tmp_path, state.replace(ema=wrong), [None])
    monkeypatch.undo()
    with pytest.raises(UserError, match="every checkpoint .* is damaged: the checksum of ema"):
        Checkpoints(tmp_path).restore(game.abstract_state(), CONFIG)


def files_of(run):
    """Contents of all files; Orbax may touch what it reads."""
    return {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}


def test_a_run_whose_checkpoints_are_all_damaged_is_left_alone(tmp_path, state):
    save(tmp_path, state, [None, None])
    for step in "12":
        truncate(tmp_path / "checkpoints" / step / "state")
    before = files_of(tmp_path)
    for _ in range(2):
        with pytest.raises(UserError, match="every checkpoint .* is damaged: .*Error") as caught:
            train(CONFIG, tmp_path, random_batches, say=lambda _: None)
        assert "\n" not in str(caught.value)
        assert files_of(tmp_path) == before
    for step in "12":
        (tmp_path / "checkpoints" / step).rename(tmp_path / "checkpoints" / f"damaged-{step}")
    before = files_of(tmp_path)
    with pytest.raises(UserError, match="only damaged checkpoints .*: choose another --workdir"):
        train(CONFIG, tmp_path, random_batches, say=lambda _: None)
    assert files_of(tmp_path) == before


OTHER = json.dumps(to_dict(tiny_config(components=2)))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.json": OTHER}, "generator.components was 2, now 0"),
        ({"config.json": "{"}, "config.json is not of such a run"),
        ({"config.json": '{"what": 1}'}, "config.json is not of such a run .*unknown option what"),
        ({"config.json": "[1]"}, "config.json is not of such a run"),
        ({"metrics.jsonl": '{"step": 1}\n'}, "metrics.jsonl is of another run"),
    ],
)
def test_what_is_left_of_another_run_is_not_overwritten(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=f"{message}.*: choose another --workdir"):
        train(CONFIG, tmp_path, random_batches, say=lambda _: None)
    assert {p.name: p.read_text() for p in tmp_path.iterdir() if p.is_file()} == files


def test_a_run_that_never_saved_starts_again(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(to_dict(CONFIG)))
    check_new_run(with_train(total_kimg=7.0), tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n{"step": 3}\n{"ste')
    Log(tmp_path, 0).close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 0}\n'


@pytest.mark.parametrize("line", ["loss 1.5", "[1]", '{"loss": 1}', '{"step": null}', "\udcff"])
def test_numbers_that_are_not_of_a_run_are_kept(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(f'{{"step": 1}}\n{line}\n'.encode(errors="surrogateescape"))
    before = path.read_bytes()
    with pytest.raises(UserError, match="metrics.jsonl has a line that is not of a run"):
        Log(tmp_path, 0)
    assert path.read_bytes() == before


class FullDisk:
    """An Orbax manager that cannot write."""

    def __init__(self, manager):
        self.manager = manager

    def all_steps(self):
        return self.manager.all_steps()

    def save(self, *_, **__):
        raise ValueError("RESOURCE_EXHAUSTED: no space left on device\nwhile writing x")

    wait_until_finished = close = save


@pytest.mark.parametrize("call", ["save", "wait", "close"])
def test_a_checkpoint_that_cannot_be_written_is_one_line(tmp_path, state, call):
    save(tmp_path, state, [None])
    checkpoints = Checkpoints(tmp_path)
    manager = checkpoints._manager
    checkpoints._manager = FullDisk(manager)  # type: ignore[assignment]
    arguments = (2, state, CONFIG) if call == "save" else ()
    with pytest.raises(UserError) as caught:
        getattr(checkpoints, call)(*arguments)
    said = f"cannot write checkpoint to {tmp_path}: ValueError: RESOURCE_EXHAUSTED: no space left"
    assert str(caught.value) == f"{said} on device; the previous ones are kept"
    manager.close()


def test_a_stop_does_not_save_the_number_of_an_earlier_round(tmp_path):
    def interrupted(start):
        for number, batch in enumerate(random_batches(start)):
            if number == 6:
                signal.raise_signal(signal.SIGTERM)
            yield batch

    observer = Observer(0.016, lambda _: {"metric/swd": 1.0})
    assert not train(CONFIG, tmp_path, interrupted, [observer], say=lambda _: None)
    checkpoints = Checkpoints(tmp_path, read_only=True)
    assert checkpoints.steps() and checkpoints.best_step() is None
    checkpoints.close()


def test_weights_alone_are_checked_too(tmp_path, state):
    save(tmp_path, state, [None, None])
    flip_a_bit(tmp_path / "checkpoints" / "2" / "state")
    said = []
    weights = Checkpoints(tmp_path, warn=said.append, read_only=True).weights()[0]
    np.testing.assert_array_equal(weights["w_average"], state.w_average + 1)
    assert set(weights) == set(checkpoint.WEIGHTS) and len(said) == 1
    with pytest.raises(UserError, match="no undamaged checkpoint"):
        Checkpoints(tmp_path, warn=said.append, read_only=True).weights(2)
    with pytest.raises(UserError, match="no checkpoint 7"):
        Checkpoints(tmp_path, read_only=True).weights(7)


def test_weights_come_with_the_config_of_the_same_checkpoint(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        checkpoints.save(step, marked(state, step), with_train(total_kimg=step))
        checkpoints.wait()
    checkpoints.close()
    lose_config(tmp_path / "checkpoints" / "3")
    weights, config = Checkpoints(tmp_path, warn=lambda _: None, read_only=True).weights()
    np.testing.assert_array_equal(weights["w_average"], state.w_average + 2)
    assert config.train.total_kimg == 2


def test_any_single_bit_changes_a_checksum():
    array = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    good = checksums({"a": jnp.asarray(array)})
    words = array.view(np.uint32)
    for bit in (0, 13, 31):
        flipped = words.copy()
        flipped[1, 2] ^= np.uint32(1 << bit)
        assert checksums({"a": jnp.asarray(flipped.view(np.float32))}) != good
    swapped = array[:, ::-1]
    assert checksums({"a": jnp.asarray(swapped)}) != good


KILLED_SAVE = """
import os, sys, conftest, jax, test_checkpoint as t
from ganformer_jax.train.checkpoint import Checkpoints
state = t.CompiledGame(t.CONFIG, jax.devices()[:1]).create(jax.random.key(0))
checkpoints = Checkpoints(sys.argv[1])
checkpoints.save(1, t.marked(state, 1), t.CONFIG)
checkpoints.wait()
checkpoints.save(2, t.marked(state, 2), t.CONFIG)
print("saving", flush=True)
os.kill(os.getpid(), 9)
"""


def test_killed_while_saving(tmp_path, game):
    folder = Path(__file__).parent
    result = subprocess.run(
        [sys.executable, "-c", KILLED_SAVE, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": f"{folder}:{folder.parent}"},
        capture_output=True,
        text=True,
    )
    assert result.stdout == "saving\n", result.stderr[-2000:]
    assert result.returncode == -signal.SIGKILL
    assert int(final_state(tmp_path, game).step) in (1, 2)


def test_a_run_of_another_config_is_refused_and_left_alone(tmp_path, state):
    save(tmp_path, state, [None])
    other = tiny_config(components=2)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "checkpoints").rglob("*")}
    with pytest.raises(UserError) as error:
        train(other, tmp_path, random_batches, say=lambda _: None)
    assert "generator.components was 0, now 2" in str(error.value)
    assert "total_kimg" not in str(error.value)
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "checkpoints").rglob("*")}
    assert before == after


def test_weights_of_another_run_start_a_new_one(tmp_path, game, state):
    save(tmp_path, state, [None])
    source = Checkpoints(tmp_path, read_only=True)
    fresh = game.create(jax.random.key(1))
    adopted = adopt_weights(fresh, source.weights()[0], "there")
    for name in ("generator", "ema", "discriminator"):
        for a, b in zip(
            jax.tree.leaves(getattr(adopted, name)),
            jax.tree.leaves(getattr(state, name)),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)
    assert int(adopted.step) == 0


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("generator", "latent_size"), 16, "is .* there, .* here"),
        (("generator", "components"), 2, "is missing there"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, state, path, value, message):
    save(tmp_path / "source", state, [None])
    values = to_dict(CONFIG)
    values[path[0]][path[1]] = value
    with pytest.raises(UserError, match=f"weights of .* do not fit: .* {message}"):
        train(
            from_dict(type(CONFIG), values),
            tmp_path / "new",
            random_batches,
            init_from=str(tmp_path / "source"),
            say=lambda _: None,
        )
    assert not list((tmp_path / "new" / "checkpoints").iterdir())


def test_saving_does_not_hold_up_training(tmp_path, state):
    """`save` returns once arrays are on the host; the state may be donated at once."""
    checkpoints = Checkpoints(tmp_path)
    copy = jax.tree.map(jnp.copy, state)
    checkpoints.save(1, copy, CONFIG)
    jax.jit(lambda s: jax.tree.map(jnp.zeros_like, s.ema), donate_argnums=0)(copy)
    for leaf in jax.tree.leaves(copy):
        leaf.delete()
    started = time.perf_counter()
    checkpoints.close()
    assert time.perf_counter() - started < 60
    found, _ = Checkpoints(tmp_path, read_only=True).weights()
    for a, b in zip(jax.tree.leaves(found["ema"]), jax.tree.leaves(state.ema), strict=True):
        np.testing.assert_array_equal(a, b)
