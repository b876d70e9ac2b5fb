"""Pages of runs of every kind, from their files alone."""

import base64
import dataclasses
import gzip
import io
import json
import re
import shlex
import tracemalloc

import numpy as np
import pytest
from command_line import call, complaint
from html_pages import addresses, parse
from PIL import Image
from processes import run_code
from report_runs import NASTY, write_image, write_run
from tiny import tiny_config

from ganformer_jax.config import Config
from ganformer_jax.config.dicts import from_dict, to_dict
from ganformer_jax.config.files import load_experiment
from ganformer_jax.report import MARK, comparison_page, read_run_folder, run_page
from ganformer_jax.report.curves import BUCKETS, read_log
from ganformer_jax.report.figures import charts
from ganformer_jax.report.images import encode_file, gallery, spread
from ganformer_jax.report.options import differing_options, nearest_config, train_command
from ganformer_jax.report.summary import higher_is_better, metric_kind, metrics, run_state

IMAGE = re.compile(r"^data:image/(\w+);base64,(.*)$")


def page_of(folder, **options):
    return parse(run_page(read_run_folder(folder), program="ganformer-jax", **options))


def section(root, name):
    return next(e for e in root.all("section") if e.attributes["id"] == name)


def figures_of(root):
    scripts = [e for e in root.all("script") if e.attributes.get("type") == "application/json"]
    return [json.loads(script.text) for script in scripts]


# The command


def test_the_command_writes_a_page_and_replaces_it(tmp_path, capsys):
    run = write_run(tmp_path / "runs" / "a")
    for _ in range(2):
        code, out, err = call(capsys, "report", str(run), "--neighbors", "0")
        assert (code, err) == (0, "") and str(run / "report.html") in out
    page = (run / "report.html").read_text()
    root = parse(page)
    assert MARK in page[:1000]
    assert addresses(root) <= {"data:", "#"}
    assert next(root.all("h1")).text == "a"
    assert [e.attributes["id"] for e in root.all("section")] == [
        "samples",
        "metrics",
        "curves",
        "config",
        "history",
        "reproduce",
    ]


def test_a_comparison_is_beside_the_first_run(tmp_path, capsys, monkeypatch):
    for name in "ab":
        write_run(tmp_path / name)
    monkeypatch.chdir(tmp_path / "a")
    for first in (".", "../b/../a"):
        assert call(capsys, "report", first, "../b")[0] == 0
        (tmp_path / "report-a-b.html").unlink()


@pytest.mark.parametrize("kind", ["future", ["x"], {"x": 1}, None, 3])
def test_a_run_of_a_kind_that_is_not_known(tmp_path, capsys, kind):
    run = write_run(tmp_path / "a")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"kind": kind}))
    code, out, err = call(capsys, "report", str(run), "--neighbors", "0")
    assert (code, err) == (0, "") and "report.html" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--inception needs --neighbor-network inception"),
        (["--neighbor-network", "inception", "--neighbors", "0"], "no effect on --neighbors 0"),
        (["b", "--neighbor-network", "inception"], "no effect on a comparison of runs"),
    ],
)
def test_weights_that_would_not_be_used_are_refused(tmp_path, capsys, options, message):
    run = write_run(tmp_path / "a")
    assert message in complaint(capsys, "report", str(run), *options, "--inception", "x.pth")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["b", "--neighbors", "3"], "--neighbors has no effect on a comparison of runs"),
        (["b", "--real", "x"], "--real has no effect on a comparison of runs: leave it out"),
        (["--neighbors", "0", "--real", "x"], "--real has no effect on --neighbors 0"),
        (["--neighbors", "0", "--neighbor-images", "9"], "--neighbor-images has no effect on"),
    ],
)
def test_options_of_neighbors_that_are_not_searched_are_refused(tmp_path, capsys, options, message):
    run = str(write_run(tmp_path / "a"))
    assert message in complaint(capsys, "report", run, *options)


def test_other_files_are_not_replaced(tmp_path, capsys):
    run, out = write_run(tmp_path / "a"), tmp_path / "mine.html"
    out.write_text("<p>mine")
    arguments = ["report", str(run), "--neighbors", "0", "--out", str(out)]
    assert "choose another --out, or --overwrite" in complaint(capsys, *arguments)
    assert out.read_text() == "<p>mine"
    assert call(capsys, *arguments, "--overwrite")[0] == 0 and MARK in out.read_text()
    assert "is a folder" in complaint(capsys, *arguments[:-1], str(tmp_path))


@pytest.mark.parametrize("make", ["nothing", "empty", "file"])
def test_what_is_not_a_run(tmp_path, capsys, make):
    path = tmp_path / "x"
    if make == "empty":
        path.mkdir()
    elif make == "file":
        path.write_text("")
    message = complaint(capsys, "report", str(path))
    assert "name the folder of a run" in message or "is not a run: it has no config" in message


def test_wrong_options(tmp_path, capsys):
    run = str(write_run(tmp_path / "a"))
    assert "--neighbors must be" in complaint(capsys, "report", run, "--neighbors", "-1")
    assert "named twice" in complaint(capsys, "report", run, run)
    assert "did you mean --neighbors?" in complaint(capsys, "report", "--neighbours", "1", code=2)


def test_a_missing_package_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = complaint(capsys, "report", str(write_run(tmp_path / "a")))
    assert 'report needs jinja2: pip install "ganformer-jax[report]"' in message


def test_what_commands_import(tmp_path):
    write_run(tmp_path / "a")
    code = """
import sys
from ganformer_jax import cli
def heavy():
    names = ("tensorflow", "torch", "jinja2", "plotly", "tensorflow_datasets", "matplotlib")
    return [name for name in names if name in sys.modules]
before = heavy()
cli.main(["report", "a", "--neighbors", "0"])
print(before, heavy())
"""
    ran = run_code(code, cwd=tmp_path)
    assert ran.stdout.splitlines()[-1] == "[] ['jinja2', 'plotly']", ran.stderr


# Runs of every kind


def test_the_state_and_the_facts_of_a_run(tmp_path):
    root = page_of(write_run(tmp_path / "a", end="stopped"))
    header = next(root.all("header")).words()
    assert "Stopped by a signal at 4.0 of 50 thousand images" in header
    assert "Best swd 50 at 4.0 kimg" in header and "32 × 32" in header
    assert "Latent components 8" in header and "1m21s" in header
    assert "completed" in page_of(write_run(tmp_path / "b")).words()
    words = page_of(write_run(tmp_path / "c", end=None)).words()
    assert "was killed. Last line of the log: 2027-01-15 08:04 UTC." in words


def test_a_run_that_has_just_started(tmp_path):
    run = write_run(tmp_path / "a", kimg=0, samples=0, end=None)
    assert run_state(read_run_folder(run)).word == "just started"
    root = page_of(run)
    for name, words in [
        ("samples", "No samples yet."),
        ("metrics", "No metrics were measured"),
        ("curves", "Nothing is logged yet."),
    ]:
        assert words in section(root, name).words()
    (run / "metrics.jsonl").unlink()
    (run / "history.jsonl").unlink()
    assert "No history is recorded." in page_of(run).words()


def test_a_run_without_attention_or_metrics(tmp_path):
    config = tiny_config(components=0)
    run = write_run(tmp_path / "a", attention=False, metrics=False, config=config)
    root = page_of(run)
    assert "The networks have no attention." in section(root, "samples").words()
    assert len(list(section(root, "samples").all("img"))) == 3
    assert "No metrics were measured" in section(root, "metrics").words()
    assert "Latent components none" in next(root.all("header")).words()


def test_a_run_without_a_config(tmp_path):
    run = write_run(tmp_path / "a")
    for text in (None, "{", "[]"):
        (run / "config.json").unlink()
        if text is not None:
            (run / "config.json").write_text(text)
        root = page_of(run)
        assert "Missing: config.json is" in section(root, "config").words()
        assert "Missing: config.json is" in section(root, "reproduce").words()
        (run / "config.json").touch()


def test_old_configs_and_those_of_later_versions(tmp_path):
    run = write_run(tmp_path / "a")
    values = json.loads((run / "config.json").read_text())
    del values["augment"]
    values["loss"]["invented"] = {"deep": [1, None]}
    (run / "config.json").write_text(json.dumps(values))
    words = section(page_of(run), "config").words()
    assert "loss.invented.deep changed [1, null] not stored not stored" in words


def test_everything_of_a_run_is_escaped(tmp_path):
    line = {"step": 1, "kimg": 9, NASTY: 1.0, f"metric/{NASTY}": 2.0}
    config = Config(data=from_dict(type(Config().data), {"name": NASTY}))
    run = write_run(tmp_path / "<b>a", config=config, extra=json.dumps(line) + "\n")
    event = {"event": NASTY, "devices": NASTY, "time": NASTY, "kimg": NASTY, NASTY: NASTY}
    (run / "history.jsonl").write_text(json.dumps(event | {"changes": [NASTY]}) + "\n7\n")
    (run / "evaluations.jsonl").write_text(json.dumps({NASTY: 1, "x": {NASTY: NASTY}}) + "\n{\n")
    other = write_run(tmp_path / "other")
    alone = run_page(read_run_folder(run), f"no {NASTY}", NASTY)
    both = comparison_page([read_run_folder(run), read_run_folder(other)], NASTY)
    for page in (alone, both):
        root = parse(page)
        assert "<script>alert" not in page and "<b>" not in page
        kinds = {e.attributes.get("type") for e in root.all("script")}
        assert kinds == {None, "application/json", "application/gzip"}
        traces = [trace["name"] for figure in figures_of(root) for trace in figure["data"]]
        assert not any("<" in name for name in traces)
        assert NASTY in root.words()
        assert NASTY in "".join(e.attributes.get("aria-label", "") for e in root.all())


def test_evaluations_and_history(tmp_path):
    run = write_run(tmp_path / "a")
    record = {"fid50k": 12.3456, "seed": 0, "noise": "random"}
    (run / "evaluations.jsonl").write_text(json.dumps(record) + "\n")
    (run / "history.jsonl").write_text(
        json.dumps({"event": "resumed", "changes": ["train.batch_size was 16, now 32"]}) + "\n"
        '{"event": "recovered", "reason": "loss/r1 is not finite", "time": 1e300}\n'
    )
    root = page_of(run)
    measured = next(section(root, "metrics").all("li"))
    assert next(measured.all("strong")).text == "fid50k" and "12.35" in measured.words()
    assert "noise random" in next(measured.all("details")).words()
    words = section(root, "history").words()
    assert "train.batch_size was 16, now 32" in words and "reason: loss/r1 is not" in words


# The log


def test_damaged_lines_and_values_that_are_not_finite(tmp_path):
    extra = '{"kimg": 5, "loss/generator": NaN, "loss/r1": -Infinity, "a": 1' + "0" * 400 + "}\n"
    extra += '[1]\n\xff\n{"kimg": NaN, "loss/generator": 1}\n{"kimg": true}\n'
    extra += '{"kimg": 6, "b": "c"}\n'
    extra += '{"step": 400, "kimg": 7, "loss/gen'
    run = write_run(tmp_path / "a", extra=extra)
    log = read_log(run / "metrics.jsonl")
    assert (log.unreadable, log.not_finite, log.kimg) == (5, 3, 6)
    assert all(np.isfinite(curve.values).all() for curve in log.curves.values())
    assert log.curves["loss/generator"].count == 4 and "b" not in log.curves
    words = section(page_of(run), "curves").words()
    assert "3 values that are not finite" in words and "5 lines of metrics.jsonl cannot" in words
    assert "NaN" not in run_page(read_run_folder(run)).partition("application/json")[2][:5000]


def test_a_long_log_is_thinned_and_keeps_its_extremes(tmp_path):
    values = np.random.default_rng(0).normal(size=40_000)
    values[12_345], values[23_456] = 99.0, -99.0
    path = tmp_path / "metrics.jsonl"
    with path.open("w") as file:
        for number, value in enumerate(values):
            rare = {"metric/swd": number} if number % 5000 == 0 else {}
            record = {"step": number, "kimg": number / 10, "x": value, **rare}
            file.write(json.dumps(record) + "\n")
    tracemalloc.start()
    log = read_log(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000  # bytes; the file has 2.7 million
    curve = log.curves["x"]
    assert log.thinned and curve.count == 40_000 and len(curve.values) <= 2 * BUCKETS + 2
    assert curve.lowest == (2345.6, -99.0) and curve.highest == (1234.5, 99.0)
    assert {-99.0, 99.0} <= set(curve.values) and (np.diff(curve.kimg) > 0).all()
    assert (curve.values[0], curve.values[-1]) == (values[0], values[-1])
    assert log.curves["metric/swd"].values.tolist() == [5000.0 * i for i in range(8)]
    assert log.kimg_of(20_000, 1) == pytest.approx(2000)


def test_short_logs_are_kept_whole(tmp_path):
    run = write_run(tmp_path / "a", kimg=5)
    log = read_log(run / "metrics.jsonl")
    assert not log.thinned and log.lines == 10 and log.training_seconds == pytest.approx(100.8)
    assert log.curves["loss/generator"].values.tolist() == [2.5 / i for i in range(1, 6)]
    assert log.kimg_of(126, 16) == pytest.approx(2.016)
    assert log.kimg_of(1000, 16) == 16.0  # after the log
    assert read_log(tmp_path / "none").curves == {}


def test_values_of_any_size_are_drawn(tmp_path):
    extra = "".join(
        json.dumps({"kimg": 9, "gradient_norm/r1": value, "loss/r1": -value}) + "\n"
        for value in (5e-324, 1e-9, 1.7e308)
    )
    root = page_of(write_run(tmp_path / "a", extra=extra))
    assert "1.7e+308" in section(root, "curves").words()


def test_names_without_end_are_bounded(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"kimg": i, f"n{i}": 1}) + "\n" for i in range(500)))
    log = read_log(path)
    assert log.more_names and len(log.curves) == 150


# Metrics


def test_which_metrics_are_better_and_what_is_drawn_together(tmp_path):
    higher = ["rpr2k_recall", "prdc50k_density", "is50k", "is", "seg500_iou"]
    higher += ["back_is5k", "back_rpr2k_recall"]
    lower = ["swd", "swd_32", "fid50k", "rkid2k", "ppl_w_end_50k", "back_swd"]
    assert all(map(higher_is_better, higher)) and not any(map(higher_is_better, lower))
    assert metric_kind("swd_32") == metric_kind("swd") == "swd"
    assert metric_kind("rpr2k_recall") == metric_kind("rpr2k_precision") == "rpr"
    assert metric_kind("invented") == "invented"
    run = read_run_folder(write_run(tmp_path / "a"))
    swd, recall = metrics(run)
    assert swd.best and (swd.best.value, swd.last.value, swd.count) == (50, 50, 4)
    assert recall.best and recall.best.value == pytest.approx(0.4)
    titles = [chart.title for chart in charts([run])]
    assert titles == [
        "Metric swd, lower is better",
        "Metric rpr, higher is better",
        "Adversarial losses",
        "Images per second",
    ]


def test_deviations_are_not_better_or_worse(tmp_path):
    names = "a", "b"
    for number, name in enumerate(names, 1):
        record = {"step": 300, "kimg": 4.8, "metric/kid_std": 7.0 * number}
        write_run(tmp_path / name, extra=json.dumps(record) + "\n")
    runs = [read_run_folder(tmp_path / name) for name in names]
    for page in (run_page(runs[0]), comparison_page(runs)):
        words = section(parse(page), "metrics").words()
        assert "kid_std" in words and words.count("is better") == 2  # swd and recall
        assert "7" not in [e.text for e in section(parse(page), "metrics").all("strong")]
    assert "Metric kid_std" in [chart.title for chart in charts(runs)]


def test_pages_of_a_translation_do_not_speak_of_seeds_and_averages(tmp_path):
    write_run(tmp_path / "a", config=load_experiment("scenes_translation"))
    run = read_run_folder(tmp_path / "a")
    assert "averaged" not in section(parse(run_page(run)), "metrics").words()
    page = parse(comparison_page([run, read_run_folder(write_run(tmp_path / "b"))]))
    caption = "kimg. Held-out images of both sets, their translations, and those back"
    words = section(page, "samples").words()
    assert caption in words and words.count("seeds") == 1


# Images


def test_steps_at_equal_distances():
    assert spread(range(5), 9) == [0, 1, 2, 3, 4]
    assert spread(range(0, 101), 5) == [0, 25, 50, 75, 100]
    assert spread(range(7), 1) == [6] and spread([], 3) == []


def test_one_step_is_shown_and_all_have_their_place(tmp_path):
    root = page_of(write_run(tmp_path / "a", samples=4))
    steps = [e for e in root.all("div") if e.attributes.get("class") == "step"]
    assert ["hidden" in step.attributes for step in steps] == [True, True, True, False]
    labels = [step.attributes["data-label"] for step in steps]
    assert labels == ["0.0 kimg", "1.0 kimg", "2.0 kimg", "3.0 kimg"]
    (slider,) = root.all("input")
    assert (slider.attributes["max"], slider.attributes["value"]) == ("3", "3")
    assert slider.attributes["aria-valuetext"] == "3.0 kimg"
    for image in root.all("img"):
        ((kind, text),) = IMAGE.findall(image.attributes["src"])
        decoded = Image.open(io.BytesIO(base64.b64decode(text)))
        width, height = image.attributes["width"], image.attributes["height"]
        assert decoded.size == (int(width), int(height)) and decoded.format == kind.upper()
    single = page_of(write_run(tmp_path / "b", samples=1))
    assert not list(single.all("input"))


def test_many_and_large_images_are_thinned_to_the_budget(tmp_path):
    run = read_run_folder(write_run(tmp_path / "a", kimg=2, samples=40, attention=False))
    shown = gallery(run)
    assert len(shown.shown) == 24 and shown.total == 40
    assert (shown.shown[0].step, shown.shown[-1].step) == (0, 39 * 63)
    assert shown.shown[0].samples
    size = len(shown.shown[0].samples.uri)
    few = gallery(run, budget=5 * size)
    assert 2 <= len(few.shown) <= 6 and few.shown[-1].step == 39 * 63
    assert len(gallery(run, budget=1).shown) == 1
    words = section(page_of(tmp_path / "a"), "samples").words()
    assert "24 of 40 steps are shown" in words


def test_images_are_reduced_and_damaged_ones_left_out(tmp_path):
    run = write_run(tmp_path / "a", samples=2, attention=False)
    write_image(run / "samples" / "00000900.png", 3, (4000, 500))
    (run / "samples" / "00000950.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    (run / "samples" / "00000960.png").mkdir()
    (run / "samples" / "notes.png").write_bytes(b"")
    shown = gallery(read_run_folder(run))
    assert (shown.total, shown.unreadable, len(shown.shown)) == (4, 1, 3)
    last = shown.shown[-1].samples
    assert last and (last.width, last.height) == (1280, 160)
    assert "1 file is damaged" in section(page_of(run), "samples").words()


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "I;16", "1"])
def test_images_of_any_kind(tmp_path, mode):
    Image.new(mode, (100, 100)).save(tmp_path / "x.png")
    image = encode_file(tmp_path / "x.png", 64)
    assert image and image.width == 64


# Config


def test_the_command_reproduces_the_config(tmp_path, capsys):
    values = to_dict(Config())
    values["augment"]["transforms"] = ["bgc", "cutout"]
    values["generator"]["base_grid"] = [4, 8]
    values["train"]["rematerialize"] = values["generator"]["components_attend_image"] = True
    values["train"]["metrics"] = "swd,rkid2k"
    values["optimizer"]["gradient_clip"] = 1.5
    config = from_dict(Config, values)
    assert nearest_config(read_run_folder(write_run(tmp_path / "s")).options) == "scenes"
    for number, one in enumerate([config, tiny_config(), Config()]):
        run = read_run_folder(write_run(tmp_path / f"run {number}", config=one))
        words = shlex.split(train_command(run, "ganformer-jax"))
        assert words[:2] == ["ganformer-jax", "train"]
        code, out, err = call(capsys, *words[1:], "--dry-run")
        assert code == 0, err
        assert json.loads(out) == json.loads(json.dumps(to_dict(one)))


def test_options_that_differ_are_marked(tmp_path):
    root = page_of(write_run(tmp_path / "a", config=tiny_config()))
    config = section(root, "config")
    assert "--init-from" not in root.words()
    (tmp_path / "a" / "transfer.txt").touch()
    assert "--init-from" in section(page_of(tmp_path / "a"), "reproduce").words()
    first = next(config.all("table")).words()
    assert "generator.resolution changed 8" in first
    assert "train.seed" not in first and "train.seed" in config.words()


# Several runs


def test_runs_are_compared(tmp_path, capsys):
    write_run(tmp_path / "x" / "a", kimg=2)
    write_run(tmp_path / "y" / "a", kimg=6, config=tiny_config(0), attention=False, end=None)
    write_run(tmp_path / "y" / "new", kimg=0, samples=0, end=None)
    names = [str(tmp_path / name) for name in ("x/a", "y/a", "y/new")]
    code, out, err = call(capsys, "report", *names)
    assert (code, err) == (0, "")
    page = (tmp_path / "x" / "report-a-a-new.html").read_text()
    root = parse(page)
    words = section(root, "metrics").words()
    assert "x/a y/a y/new" in words and "best 100 at 2.0 33.33 at 6.0 –" in words
    bold = [e.text for e in section(root, "metrics").all("strong")]
    assert bold == ["33.33", "33.33", "0.6", "0.6"]
    assert "generator.components 8 0 8" in section(root, "config").words()
    assert len(list(section(root, "samples").all("img"))) == 2
    names = [[trace["name"] for trace in figure["data"]] for figure in figures_of(root)]
    assert names == [["x/a", "y/a"]] * 5
    titles = [e.text for e in section(root, "curves").all("h3")]
    assert titles[::2] == [
        "Metric swd, lower is better",
        "Adversarial losses: generator",
        "Images per second",
    ]


def test_evaluations_are_compared(tmp_path):
    """The newest value of each metric; settings are no metrics."""
    for name, records in {
        "a": [
            {"swd2k": 30.5, "seed": 7},
            {"swd2k": 24.25, "real": "scenes"},
            {"rpr2k_recall": 0.5},
        ],
        "b": [{"swd2k": 18.0, "real_images": 2000}],
        "c": [],
    }.items():
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (write_run(tmp_path / name) / "evaluations.jsonl").write_text(lines)
    page = parse(comparison_page([read_run_folder(tmp_path / name) for name in "abc"]))
    words = section(page, "metrics").words()
    assert "swd2k 24.25 18 – rpr2k_recall 0.5 – –" in words
    assert "30.5" not in words and "2000" not in words


@pytest.mark.parametrize("resolution", [8, 16])
def test_runs_of_other_images_are_not_to_be_compared(tmp_path, resolution):
    other = tiny_config()
    generator = dataclasses.replace(other.generator, resolution=resolution)
    write_run(tmp_path / "a", config=other)
    write_run(tmp_path / "b", config=dataclasses.replace(other, generator=generator))
    page = parse(comparison_page([read_run_folder(tmp_path / name) for name in "ab"]))
    differ = "Datasets or image sizes differ" in section(page, "metrics").words()
    assert differ == (resolution != 8)


def test_only_known_options_are_compared(tmp_path):
    runs = [read_run_folder(write_run(tmp_path / name)) for name in ("a", "b")]
    assert differing_options(runs) == {}
    (tmp_path / "b" / "config.json").write_text("{")
    runs = [read_run_folder(tmp_path / name) for name in ("a", "b")]
    assert differing_options(runs) == {}
    assert "config.json is damaged" in parse(comparison_page(runs)).words()


def test_the_packed_library_is_that_of_plotly(tmp_path):
    from plotly.offline import get_plotlyjs

    root = page_of(write_run(tmp_path / "a"))
    packed = next(e for e in root.all("script") if e.attributes.get("id") == "plotly")
    assert gzip.decompress(base64.b64decode(packed.text)).decode() == get_plotlyjs()
