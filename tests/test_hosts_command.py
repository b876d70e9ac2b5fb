"""Several processes by the command line: every kind of training, with figures and checkpoints."""

import json
import random
import time

import numpy as np
import pytest
from PIL import Image
from processes import TINY_OPTIONS, finish, run_py, start_run_py

KIMG, BATCH = 0.256, 8  # 32 steps
RUN = ["--train.batch-size", str(BATCH), "--train.metrics", "swd"]
RUN += "--train.metric-images 32 --train.log-kimg 0.016 --train.checkpoint-kimg 0.064".split()
RUN += "--train.image-kimg 0.128 --train.metric-kimg 0.128".split()


# Adam makes large steps of the rounding in gradients that are close to 0, as those of biases of a
# translation are; others of such a small translation are in the hundreds, and would multiply it.
KINDS = {
    "gan": [*TINY_OPTIONS, "--loss.r1-gamma", "0", "--optimizer.epsilon", "0.01"],
    "captions": [
        *TINY_OPTIONS,
        *"""
--loss.r1-gamma 0 --loss.mismatch-weight 1 --loss.contrastive-weight 1 --optimizer.epsilon 0.01
--generator.label-size 18
--generator.attention.kmeans-iterations 0
--discriminator.label-logit projection --generator.text.layers 1 --generator.text.width 8
--generator.text.hidden-width 8 --generator.text.vocabulary 39 --discriminator.text.layers 1
--discriminator.text.width 8 --discriminator.text.hidden-width 8
--discriminator.text.vocabulary 39 --data.held-out-pairs
""".split(),
    ],
    "ganformer2": """
--config scenes_ganformer2 --planning.channel-base 32 --planning.channel-max 4
--planning.latent-size 4 --execution.channel-base 64 --execution.channel-max 4
--execution.style-size 4 --layout-discriminator.channel-max 4 --image-discriminator.channel-max 4
--optimizer.epsilon 1 --optimizer.gradient-clip 1 --loss.together-kimg 0 --loss.penalty-interval 0
--data.train-images 64 --data.held-out-images 32
""".split(),
    "translation": """
--config scenes_translation --generator.width 2 --generator.blocks 1 --generator.components 2
--generator.component-width 4 --discriminator.width 2 --discriminator.layers 1
--optimizer.epsilon 1 --optimizer.gradient-clip 1 --optimizer.learning-rate-schedule.kimg 1
--data.train-images 64 --data.held-out-images 32
""".split(),
    "prior": """
--config scenes_prior --autoencoder.width 4 --autoencoder.multipliers 1 1 1 --codebook.entries 16
--codebook.width 4 --transformer.layers 1 --transformer.width 16 --transformer.heads 2
--transformer.hidden-width 16 --discriminator.width 2 --discriminator.layers 1
--autoencoder-optimizer.epsilon 1 --transformer-optimizer.epsilon 1
--prior.autoencoder-kimg 0.064 --prior.adversarial-kimg 0
--data.train-images 64 --data.held-out-images 32
""".split(),
}
FIGURES = {"gan": 6, "captions": 6, "translation": 6, "prior": 5, "ganformer2": 6}
"""Of steps 0, 16 and 32: with attention, with layouts, or with reconstructions."""


# Quick tests of processes that work together are in test_hosts.py.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory, kind):
    return tmp_path_factory.mktemp(kind)


def train_options(folder, name, kimg=KIMG, fsdp=1):
    """Of `train`, of the kind that the folder is named after."""
    kind = max((kind for kind in KINDS if folder.name.startswith(kind)), key=len)
    options = ["--workdir", str(folder / name), "--data.directory", str(folder / "data")]
    options += ["--train.total-kimg", str(kimg), "--train.fsdp", str(fsdp)]
    return ["train", *KINDS[kind], *options, *RUN]


def numbers(run):
    """Losses, logits and metrics by step."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    chosen = ("loss/", "logits/", "metric/")
    return {(line["step"], n): line[n] for line in lines for n in line if n.startswith(chosen)}


def assert_ended(ended):
    for code, _, err in ended:
        assert code == 0, err[-2000:]


@pytest.fixture(scope="module")
def two(folder):
    """A run of two processes that nothing interrupts."""
    assert_ended(run_py(2, *train_options(folder, "two")))
    return folder / "two"


def test_two_processes_leave_one_run(two, kind):
    assert {(2, "loss/generator"), (16, "metric/swd")} <= numbers(two).keys()
    assert len(list((two / "samples").iterdir())) == FIGURES[kind]
    event = json.loads((two / "history.jsonl").read_text().splitlines()[-1])
    assert (event["event"], event["step"], event["processes"]) == ("completed", 32, 2)


def test_a_signal_to_one_process_stops_both_and_the_run_resumes(folder, two):
    processes = start_run_py(2, *train_options(folder, "stopped"))
    log, deadline = folder / "stopped" / "metrics.jsonl", time.monotonic() + 240
    while time.monotonic() < deadline and not log.exists():
        time.sleep(0.1)
    processes[1].terminate()
    assert_ended(finish(processes))
    event = json.loads((folder / "stopped" / "history.jsonl").read_text().splitlines()[-1])
    assert event["event"] in ("stopped", "completed")
    assert_ended(run_py(2, *train_options(folder, "stopped")))
    assert_same_run(two, folder / "stopped")


def test_two_processes_sample_and_evaluate_as_one(folder, two, kind):
    given = ["--count", "5"]
    if kind == "translation":
        given = ["--images", str(write_photos(folder, 5))]
    sample = ["sample", "--workdir", str(two), *given]
    evaluate = ["evaluate", "--workdir", str(two), "--metrics", "swd32"]
    found = []
    for count in (1, 2):
        out = folder / f"images-{count}"
        assert_ended(run_py(count, *sample, "--out", str(out)))
        images = {path.name: np.asarray(Image.open(path)) for path in sorted(out.glob("*.png"))}
        assert_ended(run_py(count, *evaluate))
        values = json.loads((two / "evaluations.jsonl").read_text().splitlines()[-1])
        found.append((images, values))
    (images, values), (other_images, other_values) = found
    assert images.keys() == other_images.keys() and len(images) >= 5
    for name, image in images.items():
        assert np.abs(image.astype(int) - other_images[name]).max() <= 1, name
    measured = [name for name in values if name.startswith("swd")]
    assert measured
    for name in measured:
        np.testing.assert_allclose(values[name], other_values[name], rtol=1e-3)


def write_photos(folder, count):
    """Write images to translate; return their folder."""
    photos = folder / "photos"
    photos.mkdir(exist_ok=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.png")
    return photos


def test_one_process_trains_what_two_do(folder, two):
    assert_ended(run_py(1, *train_options(folder, "one")))
    assert_same_run(two, folder / "one")


@pytest.mark.parametrize("seed", range(3))
def test_a_run_is_killed_and_moves_between_numbers_of_processes(folder, two, seed):
    """Four processes that divide the state, one of them killed; then one; then two."""
    name, chance = f"moved{seed}", random.Random(seed)
    processes = start_run_py(4, *train_options(folder, name, fsdp=2))
    checkpoints, deadline = folder / name / "checkpoints", time.monotonic() + 240
    while time.monotonic() < deadline and not list(checkpoints.glob("[0-9]*")):
        time.sleep(0.1)
    time.sleep(chance.uniform(0.0, 2.0))
    processes[chance.randrange(4)].kill()
    began = time.monotonic()
    finish(processes)
    assert time.monotonic() - began < 60
    assert_ended(run_py(1, *train_options(folder, name, KIMG / 2)))
    assert_ended(run_py(2, *train_options(folder, name, fsdp=2)))
    assert_same_run(two, folder / name)


def assert_same_run(one, other):
    """Equal to rounding up to the first R1 after step 0, from where Adam makes more of it.

    Layouts of a GANformer2 are hard: rounding may move a pixel to another segment at any step. A
    stop is logged too, and the line that follows it averages fewer steps, so losses there differ.
    """
    expected, found = numbers(one), numbers(other)
    assert expected.keys() <= found.keys() and len(expected) > 40
    steps = {step for step, _ in expected}
    stops = {step for step, _ in found} - steps
    shorter = {min(s for s in steps if s > stop) for stop in stops}
    hard = one.parent.name.startswith("ganformer2")
    for name, value in expected.items():
        if name[0] in shorter and not name[1].startswith("metric/"):
            continue
        rtol, atol = (1e-4, 1e-5) if name[0] <= 16 else (2e-3, 0.02)
        rtol, atol = (1e-2, 0.02) if hard else (rtol, atol)
        np.testing.assert_allclose(found[name], value, rtol=rtol, atol=atol, err_msg=str(name))
    grids = [sorted(path.name for path in (run / "samples").iterdir()) for run in (one, other)]
    assert grids[0] == grids[1]
