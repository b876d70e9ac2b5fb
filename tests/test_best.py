"""Which checkpoint is best: a metric has its own name, and only one metric is compared."""

import errno
import json

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from command_line import call
from training import EXPERIMENT, gan_programs, mean_programs, train_mean, with_train

from ganformer_jax import storage
from ganformer_jax.config.dicts import to_dict
from ganformer_jax.errors import UserError
from ganformer_jax.train.checkpoints.best import Best, find_best
from ganformer_jax.train.checkpoints.checkpoints import Checkpoints
from ganformer_jax.train.observing import Observer


@pytest.fixture(scope="module")
def state():
    return mean_programs().init(jax.random.key(0))


def save(run, state, metrics, latest=1):
    """Save checkpoints at steps, each with a metric, its value and a comma, or without one."""
    with Checkpoints(run, latest) as checkpoints:
        for step, metric in metrics.items():
            checkpoints.save(step, state.replace(step=state.step + step), {}, metric)
            checkpoints.wait()


def kept(run, warn=print):
    with Checkpoints(run, read_only=True, warn=warn) as checkpoints:
        return checkpoints.steps(), checkpoints.best()


def store_as_version_0_1(run, step, value):
    """Give a checkpoint its metric as version 0.1 stored it: any metric, as "swd"."""
    path = run / "checkpoints" / str(step) / "metrics" / "metrics"
    assert path.exists()
    path.write_text(json.dumps({"swd": value}))


def test_values_of_another_metric_are_not_compared(tmp_path, state):
    """On resume with another metric, whose values are larger, the old best is not the best."""
    save(tmp_path, state, {1: ("swd", 3.0), 2: ("swd", 5.0)})
    assert kept(tmp_path) == ([1, 2], Best(1, "swd", 3.0))
    save(tmp_path, state, {3: ("fid50k", 90.0)})
    assert kept(tmp_path) == ([3], Best(3, "fid50k", 90.0))
    save(tmp_path, state, {4: ("fid50k", 95.0), 5: None})
    assert kept(tmp_path) == ([3, 5], Best(3, "fid50k", 90.0))
    save(tmp_path, state, {6: ("swd", 4.0)})  # and back
    assert kept(tmp_path) == ([6], Best(6, "swd", 4.0))


def test_values_of_other_numbers_of_images_are_not_compared(tmp_path, state):
    """Fewer images give larger distances; values of earlier versions do not tell theirs."""
    save(tmp_path, state, {1: ("swd2k", 3.0), 2: ("swd500", 5.0)})
    assert kept(tmp_path) == ([2], Best(2, "swd500", 5.0))
    save(tmp_path, state, {3: ("swd500", 6.0)})
    assert kept(tmp_path) == ([2, 3], Best(2, "swd500", 5.0))


def test_the_newest_is_kept_whatever_its_metric(tmp_path, state):
    values = [2.0, 7.0, float("nan"), float("-inf"), 9.0]
    save(tmp_path, state, {step: ("swd", value) for step, value in enumerate(values, 1)}, latest=2)
    assert kept(tmp_path) == ([1, 4, 5], Best(1, "swd", 2.0))


def test_metrics_of_version_0_1_count_as_swd(tmp_path, state):
    save(tmp_path, state, {1: ("x", 3.0), 2: ("x", 5.0)}, latest=2)
    store_as_version_0_1(tmp_path, 1, 3.0)
    store_as_version_0_1(tmp_path, 2, 5.0)
    assert kept(tmp_path) == ([1, 2], Best(1, "swd", 3.0))
    save(tmp_path, state, {3: ("swd", 4.0)})  # a run that continues with swd compares them
    assert kept(tmp_path) == ([1, 3], Best(1, "swd", 3.0))
    save(tmp_path, state, {4: ("fid50k", 4.0)})
    assert kept(tmp_path) == ([4], Best(4, "fid50k", 4.0))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text.replace("3.25", "3.24"),
        lambda text: text.replace("swd", "swe"),
        lambda text: text.replace("crc32", "crc33"),
        lambda text: "[]",
    ],
)
def test_a_damaged_metric_is_no_metric_and_the_checkpoint_stays(tmp_path, state, damage):
    save(tmp_path, state, {1: ("swd", 3.25), 2: ("swd", 5.0)}, latest=2)
    path = tmp_path / "checkpoints" / "1" / "metrics" / "metrics"
    changed = damage(path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)
    said = []
    assert kept(tmp_path, said.append) == ([1, 2], Best(2, "swd", 5.0))
    (line,) = said
    assert line.startswith("warning: the metric of checkpoint 1 is damaged (")
    with Checkpoints(tmp_path, read_only=True, warn=said.append) as checkpoints:
        newest = checkpoints.restore(mean_programs().abstract_state())
        assert newest is not None and int(newest.step) == 2


def test_a_metric_that_cannot_be_read_now_does_not_cost_the_best_checkpoint(
    tmp_path, state, monkeypatch
):
    save(tmp_path, state, {2: ("swd", 1.0), 3: ("swd", 9.0), 4: ("swd", 9.0)}, latest=2)
    usual = ocp.CheckpointManager.metrics

    def fail(self, step):
        if step == 2:
            raise OSError(errno.ESTALE, "Stale file handle")
        return usual(self, step)

    with monkeypatch.context() as patched:
        patched.setattr(ocp.CheckpointManager, "metrics", fail)
        patched.setattr(storage, "delays", (0,))
        with pytest.raises(UserError, match="cannot read the metric of checkpoint 2: Stale"):
            Checkpoints(tmp_path)
    save(tmp_path, state, {5: ("swd", 9.0)}, latest=2)
    assert kept(tmp_path) == ([2, 4, 5], Best(2, "swd", 1.0))


def test_without_a_metric_nothing_is_best():
    assert find_best({}) is None and find_best({3: None}) is None


def test_the_first_metric_of_the_last_observer_decides_and_is_stored_by_name(tmp_path):
    names = iter(["fid5k", "fid5k", "rkid5k"])

    def measure(now):
        return {"other": 1.0, f"metric/{next(names)}": 10.0 - now.step, "metric/more": 0.0}

    train_mean(
        tmp_path, with_train(checkpoint_kimg=0.16), observers=[Observer(0.16, measure)]
    )  # at steps 0, 10 and 20
    assert kept(tmp_path) == ([10, 20], Best(20, "rkid5k", -10.0))


def test_the_number_of_images_is_part_of_a_metric_s_name(tmp_path):
    swd = Observer(0.16, lambda now: {"metric/swd": 3.0}, metric_suffix="2k")
    train_mean(tmp_path, with_train(total_kimg=0.16), observers=[swd])
    assert kept(tmp_path) == ([10], Best(10, "swd2k", 3.0))
    assert '"metric/swd": 3.0' in (tmp_path / "metrics.jsonl").read_text()


def test_best_of_the_command_line_says_what_decided(tmp_path, capsys):
    networks = gan_programs(EXPERIMENT).init(jax.random.key(0))
    with Checkpoints(tmp_path) as checkpoints:
        for step, value in {1: 1.5, 2: 2.5}.items():
            checkpoints.save(step, networks, to_dict(EXPERIMENT), ("swd", value))
            checkpoints.wait()
    code, out, err = call(capsys, "export", "--workdir", str(tmp_path), "--best")
    assert code == 0, err
    assert out.startswith(f"checkpoint 1 has the lowest swd, 1.5 ({tmp_path})\n")


def test_a_killed_save_leaves_nothing_for_ever(tmp_path, state):
    save(tmp_path, state, {1: None, 2: None}, latest=2)
    left = tmp_path / "checkpoints" / "3.orbax-checkpoint-tmp"
    (tmp_path / "checkpoints" / "2").rename(left)  # as a process killed in a save leaves it
    assert kept(tmp_path)[0] == [1] and left.exists()  # readers leave it alone
    save(tmp_path, state, {4: None}, latest=2)
    assert not left.exists() and kept(tmp_path)[0] == [1, 4]


def test_damage_after_damage_does_not_fill_the_disk(tmp_path, state):
    for _ in range(3):
        save(tmp_path, state, {1: None, 2: None, 3: None}, latest=3)
        for step in (2, 3):
            (tmp_path / "checkpoints" / str(step) / "config" / "metadata").write_text("{")
        with Checkpoints(tmp_path, warn=lambda line: None) as checkpoints:
            found = checkpoints.restore(mean_programs().abstract_state())
            assert found is not None and int(found.step) == 1
        names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
        assert names == {"1", "damaged-2", "damaged-3"}
    np.testing.assert_array_equal(found.mean, state.mean)
