"""Benchmarks measure each run once, after as many images as they say."""

import json
import sys
from pathlib import Path

import pytest

METRICS = {"swd2k": 20.0}


@pytest.fixture
def runs(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "benchmarks")
    import runs

    yield runs
    del sys.modules["runs"]


def test_a_run_of_another_length_is_not_taken_for_this_one(runs, tmp_path):
    (_, run, options), *_ = runs.cells(tmp_path, {"a, b": []}, ["a, b"], [0], 50.0)
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"train": {"total_kimg": 50.0}}))
    (run / runs.MEASURED).write_text(json.dumps(METRICS))
    assert runs.train_and_measure(run, options, "swd2k") == METRICS
    ((_, same, longer),) = runs.cells(tmp_path, {"a, b": []}, ["a, b"], [0], 100.0)
    with pytest.raises(SystemExit, match="was measured after 50 thousand images, not 100"):
        runs.train_and_measure(same, longer, "swd2k")
