"""Weights and Biases, offline: the same numbers and images, and one run however often it resumes.

Nothing here uses a network. The tests skip where the package is not installed.
"""

import importlib.util
import json
import struct
import threading
import time
import types

import numpy as np
import pytest
from command_line import complaint
from training import train_mean, with_train

from ganformer_jax.errors import UserError
from ganformer_jax.train.logs.wandb_log import Wandb, check_wandb
from ganformer_jax.train.observing import Observer

installed = pytest.mark.skipif(
    importlib.util.find_spec("wandb") is None, reason="the package wandb is not installed"
)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


def stored(run, seconds=60.0):
    """((id, project), rows by step) of each start of a run, once its process has closed them."""
    until = time.monotonic() + seconds
    found = records(run)
    while not all(closed for _, _, closed in found):
        assert time.monotonic() < until, "not closed"
        time.sleep(0.05)
        found = records(run)
    return [(who, rows) for who, rows, _ in found]


def records(run):
    from wandb.proto import wandb_internal_pb2  # pyright: ignore[reportMissingImports]

    found = []
    for path in sorted(run.glob("wandb/*run-*/run-*.wandb"), key=lambda p: p.stat().st_mtime_ns):
        who, rows, closed = None, {}, False
        for body in bodies(path.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(body)
            if record.HasField("run"):
                who = record.run.run_id, record.run.project
            for item in record.history.item:
                row = rows.setdefault(record.history.step.num, {})
                row["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
            closed |= record.HasField("exit")
        found.append((who, rows, closed))
    return found


def bodies(data):
    """The records of a log of LevelDB's format, behind a header of seven bytes."""
    place, body = 7, b""
    while place + 7 <= len(data):
        size, kind = struct.unpack("<4xHB", data[place : place + 7])
        body += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield body
            body = b""


@installed
def test_numbers_and_images_reach_one_run_that_resumes(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    observers = [Observer(0.16, lambda now: {"metric/swd": 4.0, "images/samples": image})]
    for total in (0.16, 0.32):
        config = with_train(log_kimg=0.08, total_kimg=total)
        assert train_mean(tmp_path, config, observers=observers, wandb="tests")
    (first, rows), (second, later) = stored(tmp_path)
    assert first == second and first[1] == "tests"
    assert sorted(rows) == [0, 5, 10] and sorted(later) == [15, 20]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["loss/generator"] for line in lines if "loss/generator" in line}
    logged = {step: row["loss/generator"] for step, row in (rows | later).items() if step}
    assert logged == losses
    assert rows[10]["metric/swd"] == 4.0 and rows[10]["kimg"] == 0.16
    assert (rows[10]["images/samples/width"], rows[10]["images/samples/height"]) == (24, 16)
    files = list(tmp_path.glob("wandb/*run-*/files/media/images/images/*.jpg"))
    assert len(files) == 3  # at steps 0, 10 and 20
    assert json.loads((tmp_path / "wandb.json").read_text())["id"] == first[0]


@installed
def test_another_project_is_another_run_and_a_complete_run_logs_nothing(tmp_path):
    config = with_train(total_kimg=0.032)
    train_mean(tmp_path, config, wandb="one")
    train_mean(tmp_path, config, wandb="one")  # nothing left to do
    assert len(stored(tmp_path)) == 1
    train_mean(tmp_path, with_train(total_kimg=0.064), wandb="two")
    (one, _), (two, _) = stored(tmp_path)
    assert one[0] != two[0] and (one[1], two[1]) == ("one", "two")


@installed
def test_a_refusal_is_one_line(tmp_path):
    with pytest.raises(
        UserError, match="cannot log to wandb: .*; correct it, or leave out --wandb"
    ):
        Wandb("no/such project", tmp_path, {})
    assert not (tmp_path / "wandb.json").exists()


@installed
def test_a_run_resumes_though_the_service_is_away(tmp_path, monkeypatch):
    def away(*arguments, **options):
        raise ConnectionError("no network")

    monkeypatch.setattr("wandb.init", away)
    with pytest.raises(UserError, match="no network"):
        train_mean(tmp_path / "new", wandb="tests")
    train_mean(tmp_path / "run", with_train(total_kimg=0.032))
    (tmp_path / "run" / "wandb.json").write_text('{"project": "tests", "id": "x"}')
    said = []
    assert train_mean(tmp_path / "run", wandb="tests", say=said.append)
    (warning,) = [line for line in said if line.startswith("warning")]
    assert "no network" in warning and warning.endswith("training continues without it")


def test_what_is_left_is_not_waited_for_longer_than_a_minute(monkeypatch):
    monkeypatch.setattr("ganformer_jax.train.logs.wandb_log.LAST_SECONDS", 0.1)
    released, log = threading.Event(), Wandb.__new__(Wandb)
    log._run = types.SimpleNamespace(finish=released.wait)
    with pytest.raises(UserError, match="TimeoutError: no end after 0 s: try `wandb sync`"):
        log.close()
    released.set()


def test_without_the_package_one_line_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "wandb" else found(name, *a)
    )
    with pytest.raises(UserError, match="the package wandb is not installed: pip install"):
        check_wandb()
    run = tmp_path / "run"
    said = complaint(capsys, "train", "--workdir", str(run), "--wandb", "tests")
    assert "pip install 'ganformer-jax[wandb]', or leave out --wandb" in said
    assert not run.exists()
