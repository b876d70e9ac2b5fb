"""Benchmarks measure each run once, trained with the options that are given."""

import json
import sys
from pathlib import Path

import pytest

METRICS = {"swd2k": 20.0}


@pytest.fixture
def runs(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "benchmarks")
    import benchmark_runs

    yield benchmark_runs
    del sys.modules["benchmark_runs"]


def test_a_run_of_another_length_is_not_taken_for_this_one(runs, tmp_path):
    (_, run, options), *_ = runs.cells(tmp_path, {"a, b": []}, ["a, b"], [0], 50.0)
    run.mkdir()
    stored = {"train": {"total_kimg": 50.0}, "data": {"train_images": 500}}
    (run / "config.json").write_text(json.dumps(stored))
    (run / runs.MEASURED).write_text(json.dumps(METRICS))
    assert runs.train_and_measure(run, options, "swd2k") == METRICS
    ((_, same, longer),) = runs.cells(tmp_path, {"a, b": []}, ["a, b"], [0], 100.0)
    with pytest.raises(SystemExit, match="--train.total-kimg 50, not 100: choose another --f"):
        runs.train_and_measure(same, longer, "swd2k")
    assert runs.train_and_measure(run, [*options, runs.IMAGES, "500"], "swd2k") == METRICS
    with pytest.raises(SystemExit, match="with --data.train-images 500, not 100: choose another"):
        runs.train_and_measure(run, [*options, runs.IMAGES, "100"], "swd2k")


def test_curves_by_minutes(runs):
    """The one that takes twice the time for an image has half the images at each minute."""
    line = {0.0: 100.0, 10.0: 60.0, 20.0: 40.0}
    found = runs.by_minutes({"quick": line, "slow": line}, {"quick": 15.0, "slow": 30.0})
    assert list(found["slow"]) == list(range(1, 11))
    assert found["quick"] == {mark: found["slow"][2 * mark] for mark in (1, 2, 3, 4, 5)}
    assert [found["slow"][mark] for mark in (2.0, 5.0, 10.0)] == [84, 60, 40]
    late = runs.by_minutes({"late": {10.0: 60.0, 20.0: 40.0}}, {"late": 30.0})["late"]
    assert late == {5: 60, 6: 56, 7: 52, 8: 48, 9: 44, 10: 40}
