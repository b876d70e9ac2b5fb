"""The log of a run: numbers, images, a full disk, and progress on a terminal and elsewhere."""

import errno
import io
import json
import os
import re
import resource
import time
from types import SimpleNamespace
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from event_files import images, read_events, scalars
from PIL import Image
from terminal import terminal
from training import train_mean, with_train

from ganformer_jax import files, hosts
from ganformer_jax.experiment.observers import draw_curve, draw_figures
from ganformer_jax.train.logs import history, writers
from ganformer_jax.train.logs.log import Log
from ganformer_jax.train.logs.progress import progress_words
from ganformer_jax.train.logs.writers import BestEffort, append, encode_jpeg
from ganformer_jax.train.observing import Moment, Observer

GRID = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)


def records(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_numbers_and_images_reach_json_lines_and_tensorboard(tmp_path):
    def observe(now):
        return {"metric/swd": 2.5, "images/samples": GRID, "images/gray": GRID[..., 0]}

    train_mean(tmp_path, with_train(log_kimg=0.16), observers=[Observer(0.16, observe)])
    losses = {r["step"]: r["loss/generator"] for r in records(tmp_path) if "loss/generator" in r}
    found = scalars(tmp_path / "tensorboard")
    assert list(losses) == [10, 20]
    for step, loss in losses.items():
        assert found[step, "loss/generator"] == pytest.approx(loss)
    assert {step for step, name in found if name == "metric/swd"} == {0, 10, 20}
    for line in records(tmp_path):
        if "images_per_second" in line:
            assert line["seconds_per_kimg"] == pytest.approx(1000 / line["images_per_second"])
    drawn = images(tmp_path / "tensorboard")
    assert set(drawn) == {(s, f"images/{n}") for s in (0, 10, 20) for n in ("samples", "gray")}
    encoded, width, height = drawn[20, "images/samples"]
    image = np.asarray(Image.open(io.BytesIO(encoded)))
    assert image.shape == GRID.shape == (height, width, 3)
    assert np.asarray(Image.open(io.BytesIO(drawn[20, "images/gray"][0]))).shape == (24, 40, 3)


def test_what_is_not_finite_is_null_in_json_lines(tmp_path):
    values = {"loss/generator": np.nan, "loss/r1": np.float64(np.inf), "loss/r2": 2.0}
    writers.JsonLines(tmp_path / "metrics.jsonl", 0).write_numbers(1, 16, values)
    history.History(tmp_path, {}, print).add("finished", 1, 16, metrics=[{"ari": np.nan}])

    def refuse(name):
        raise ValueError(f"{name} is not JSON")

    line = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=refuse)
    assert [line[name] for name in values] == [None, None, 2.0]
    event = json.loads((tmp_path / "history.jsonl").read_text(), parse_constant=refuse)
    assert event["metrics"] == [{"ari": None}]


def test_a_resumed_run_purges_what_it_repeats(tmp_path):
    train_mean(tmp_path, with_train(total_kimg=0.16))
    train_mean(tmp_path, with_train(total_kimg=0.32))
    events = read_events(tmp_path / "tensorboard")
    starts = [event.step for event in events if event.HasField("session_log")]
    assert starts == [1, 11]
    assert [event.file_version for event in events if event.file_version] == ["brain.Event:2"] * 2


def test_large_images_are_reduced():
    image = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (1, 8, 3)).repeat(1024, 0)
    small = Image.open(io.BytesIO(encode_jpeg(image)))
    assert image.shape == (1024, 2048, 3) and small.size == (1024, 512)
    same = np.asarray(Image.open(io.BytesIO(encode_jpeg(image[:512, :1024])))).astype(int)
    assert np.abs(same - image[:512, :1024]).mean() < 3


# A full disk


def test_a_file_is_appended_to_completely_or_not_at_all(tmp_path):
    """At a real limit, where the system writes what fits before it fails."""
    path, limits = tmp_path / "file", resource.getrlimit(resource.RLIMIT_FSIZE)
    append(path, b"first\n")
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            append(path, b"second\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    append(path, b"third\n")
    assert path.read_bytes() == b"first\nthird\n"


class Disk:
    """A disk that is full while a test says so; only logs and figures are written to it."""

    def __init__(self, monkeypatch):
        self.full, sync = False, files.sync
        for module in (writers, history):
            monkeypatch.setattr(module, "append", lambda *a: self.check() or append(*a))
        monkeypatch.setattr(files, "sync", lambda *a: self.check() or sync(*a))

    def check(self):
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_does_not_end_training(tmp_path, monkeypatch):
    """It is said once for each file; when there is space again, logs continue."""
    disk, said, config = Disk(monkeypatch), [], with_train(log_kimg=0.016, checkpoint_kimg=1.0)
    run, usual, attempt = tmp_path / "run", tmp_path / "usual", BestEffort(said.append)

    def observe(now):
        draw_curve(run, attempt, now)
        disk.full = 4 <= now.step < 12
        return {"images/samples": GRID}

    assert train_mean(run, config, observers=[Observer(0.064, observe)], say=said.append)
    warnings = [line for line in said if line.startswith("warning")]
    curve, reason = run / "curve.png", "No space left on device"
    assert sorted(warnings) == [
        f"warning: {curve} is not written (cannot write {curve}: {reason}); training continues",
        f"warning: metrics.jsonl is not written ({reason}); training continues",
        f"warning: tensorboard is not written ({reason}); training continues",
    ]
    steps = [r["step"] for r in records(run)]
    assert steps == [*range(1, 5), *range(13, 21)]
    assert sorted({step for step, _ in scalars(run / "tensorboard")}) == steps
    assert {step for step, _ in images(run / "tensorboard")} == {0, 12, 16, 20}
    train_mean(usual, config)
    logged = {r["step"]: r["loss/generator"] for r in records(usual)}
    assert len(logged) == 20
    for record in records(run):
        assert record["loss/generator"] == logged[record["step"]]


def test_there_is_no_curve_before_the_first_line_of_the_log(tmp_path):
    """As with --train.log-kimg 0, and where images are drawn before losses are logged."""
    said = []
    draw_curve(tmp_path, BestEffort(said.append), cast(Moment, SimpleNamespace(step=3)))
    assert said == [] and list(tmp_path.iterdir()) == []


def test_sample_grids_that_cannot_be_written_reach_the_log(tmp_path, monkeypatch):
    disk, said = Disk(monkeypatch), []
    attempt, drawn = BestEffort(said.append), {"samples": GRID, "attention": GRID}
    for step, disk.full in ((1, False), (2, True), (3, True), (4, False)):
        now = Moment(step, step, None, lambda indices: GRID[None], lambda: None)
        found = draw_figures(lambda: drawn, "samples", tmp_path, attempt, said.append, now)
        assert set(found) == {"images/samples", "images/attention"}
    names = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert names == [f"0000000{step}{n}.png" for step in (1, 4) for n in ("-attention", "")]
    (line,) = said
    assert line.endswith("No space left on device); training continues")


def test_what_draws_a_figure_cannot_wait_for_other_processes(tmp_path):
    """Data that captions need are opened before: two processes waited for each other here."""
    now = Moment(1, 1, None, lambda indices: GRID[None], lambda: None)
    with pytest.raises(RuntimeError, match="all processes must make"):
        draw_figures(lambda: hosts.first(dict), "", tmp_path, BestEffort(print), print, now)


# Alarms and progress


def test_alarms_are_said_with_the_reports(tmp_path):
    said, device = [], jax.devices()[0]
    log = Log(tmp_path, 0, 1000, said.append, total_kimg=100.0)
    for step in range(1, 31):
        log.add({"overfitting/r_t": jnp.float32(0.9), "logits/real": 1.0, "logits/fake": -1.0})
        log.report(step, step * 1000, device)
    log.close()
    (line,) = [line for line in said if line.startswith("warning")]
    assert line.startswith("warning: r_t has been above 0.8 for 20 kimg")
    assert said.index(line) == 21  # after the line of its report


LINE = r" +0\.\d of 0\.32 kimg +\d+\.\d img/s +\d+\.\d s/kimg +\d+s left  G \S+  R1 \S+  GiB \S+"


def test_elsewhere_than_on_a_terminal_progress_is_lines(tmp_path):
    said = []
    train_mean(tmp_path, with_train(log_kimg=0.16), say=said.append)
    assert len([line for line in said if re.fullmatch(LINE, line)]) == 2


def test_the_first_step_and_what_is_measured_after_it_are_no_part_of_the_speed(tmp_path):
    """Its programs are compiled, and a clock that began after it would have seen no step."""
    slow = Observer(0.16, lambda now: time.sleep(0.3) or {})
    train_mean(tmp_path, with_train(log_kimg=0.032, total_kimg=0.064), observers=[slow])
    train_mean(tmp_path / "each", with_train(log_kimg=0.016, total_kimg=0.032), observers=[slow])
    first, second = (line for line in records(tmp_path / "each") if "loss/generator" in line)
    assert "images_per_second" not in first and second["images_per_second"] > 0
    assert all("images_per_second" in line for line in records(tmp_path))


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (0, 160), (24, 0)])
def test_a_terminal_of_unknown_size_has_lines(tmp_path, monkeypatch, rows, columns):
    with terminal(monkeypatch, rows, columns) as lines:
        train_mean(tmp_path, with_train(log_kimg=0.16), say=print)
    assert len([line for line in lines if re.fullmatch(LINE, line)]) == 2


def test_no_time_is_left_after_a_last_step_that_passes_the_end():
    assert "     0s left" in progress_words(0.512, 0.5, {"images_per_second": 20.0})
    assert " 5m00s left" in progress_words(0.5, 6.5, {"images_per_second": 20.0})


def test_on_a_terminal_progress_is_a_bar_below_what_is_said(tmp_path, monkeypatch):
    observers = [Observer(0.16, lambda now: {"metric/swd": 2.5})]
    config = with_train(log_kimg=0.016)
    with terminal(monkeypatch) as lines:
        train_mean(tmp_path, config, observers=observers, say=print)
    bars = [line for line in lines if "%|" in line]
    assert len(bars) == 1, lines
    expected = r"100%\|█{10}\| 0\.3 of 0\.32 kimg +\d+\.\d img/s +\d+\.\d s/kimg +0s left  G \S+ .*"
    assert re.fullmatch(expected, bars[0])
    others = [line for line in lines if line and "%|" not in line]
    assert others[0].startswith(f"training in {tmp_path} on ")
    assert others[-1].startswith("done: 20 steps")
    assert [line for line in others if "metric/swd" in line] == [
        "     0.0 kimg  metric/swd 2.5",
        "     0.2 kimg  metric/swd 2.5",
        "     0.3 kimg  metric/swd 2.5",
    ]
    assert not [line for line in others if "img/s" in line]
