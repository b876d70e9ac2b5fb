"""What `evaluate` refuses before it measures, and what it reports of metrics without a value."""

import dataclasses
import json
import math
import pathlib

import jax
import numpy as np
import pytest
from command_line import complaint
from small_scenes import small_chunks
from tiny import tiny_config, tiny_generator

from ganformer_jax import Generator
from ganformer_jax.config.attention import MergeConfig
from ganformer_jax.config.dicts import to_dict
from ganformer_jax.config.files import load_config
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.component_metrics import ValidatedSegmenter, segmentation_scores
from ganformer_jax.evaluate.evaluation import Evaluation, TrainedGenerator, evaluate
from ganformer_jax.evaluate.feasibility import check_generator
from ganformer_jax.evaluate.features import NetworkSettings
from ganformer_jax.evaluate.image_sets import ImageSet
from ganformer_jax.evaluate.requests import parse_requests
from ganformer_jax.experiment import evaluation as inputs
from ganformer_jax.scenes.dataset import prepare_scenes
from ganformer_jax.scenes.layout import IMAGE_ATTRIBUTES
from ganformer_jax.train.devices import place_on

LARGE = dataclasses.replace(tiny_config(2).generator, resolution=16)


def images(indices):
    draw = [np.random.default_rng(index).integers(0, 256, (16, 16, 3)) for index in indices]
    return np.stack(draw).astype(np.uint8)


def no_weights(name):
    raise UserError(f"no weights of {name}")


def unused(*_):
    raise AssertionError("measured before the checks")


def evaluation(metrics, sample=images, count=None, **options):
    generator = TrainedGenerator(*tiny_generator(16), unused, unused)
    requests, real = parse_requests(metrics, 1), ImageSet("real", 6, images)
    networks = NetworkSettings(no_weights)
    candidate = ImageSet("fake", count, sample)
    return Evaluation(requests, candidate, networks, real, generator=generator, **options)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("swd4,ppl_w_end4", "no weights of vgg16"),
        ("swd4,edit", "edit100: the generator has no attention"),
        ("swd4,seg", "seg500: the generator has no attention"),
        ("swd4,caption", "caption1k: needs a generator that was trained on captions"),
        ("swd4,dci", "no scenes"),
    ],
)
def test_metrics_that_would_fail_are_refused_before_any_is_measured(metrics, message):
    def no_scenes():
        raise UserError("no scenes")

    with pytest.raises(UserError, match=message):
        evaluate(evaluation(metrics, unused, scenes=no_scenes))


@pytest.mark.parametrize(
    ("config", "metric", "message"),
    [
        (tiny_config(2).generator, "ppl_z_full", "LPIPS needs images of 16x16 or more, not 8x8"),
        (LARGE, "edit1", "needs two images or more"),
        (LARGE, "dci19", "needs 20 images or more, not 19"),
        (dataclasses.replace(LARGE, merge=MergeConfig(images=2)), "edit", "merged have no comp"),
    ],
)
def test_metrics_that_a_generator_cannot_have(config, metric, message):
    with pytest.raises(UserError, match=message):
        check_generator(parse_requests(metric, 5), config, has_captions=False)


def test_metrics_that_a_generator_can_have():
    check_generator(parse_requests("ppl_w_end1,seg1,edit2,dci20,caption1", 5), LARGE, True)
    k_gan = dataclasses.replace(tiny_config(0).generator, merge=MergeConfig(images=2))
    check_generator(parse_requests("seg1,swd1", 5), k_gan, False)


def test_the_number_of_images_of_swd_is_that_of_both_sets():
    facts = evaluate(evaluation("swd4", reference_count=6)).facts
    assert facts["real_images"] == 4 and "fake_images" not in facts
    facts = evaluate(evaluation("swd9")).facts
    assert (facts["real_images"], facts["fake_images"]) == (6, {"swd9": 6})


class Blind:
    """A segmentation network that finds no object in any image."""

    def __call__(self, images):
        return np.zeros(images.shape[:3], int), np.zeros((len(images), len(IMAGE_ATTRIBUTES)))


def test_scenes_without_objects_have_no_scores():
    reliable = np.ones(len(IMAGE_ATTRIBUTES), bool)
    segmenter = ValidatedSegmenter(Blind(), {"ari": 0.9, "iou": 0.8}, reliable)
    made, w_MxKxD = images(range(24)), np.random.default_rng(0).normal(size=(24, 2, 3))
    scores = segmenter.disentanglement(made, w_MxKxD)
    assert scores.pop("attributes") == len(reliable)
    assert len(scores) == 3 and all(map(math.isnan, scores.values()))
    even, nothing = np.full((2, 3, 1, 4, 4), 0.25), np.full((2, 3, 1, 4, 4), 1e-4)
    scores, segments = segmenter.segmentation(made[:2], [even, nothing])
    assert (segments["objects"] == -1).all() and (segments["layer1_4px"] == -1).all()
    assert (segments["layer0_4px"] == 0).all() and segments["color"].min() == 0
    assert math.isnan(scores["color_ari"]) and math.isnan(scores["layer0_4px_iou"])
    assert (scores["network_ari"], scores["network_iou"]) == (0.9, 0.8)
    one = np.array([[[0, 1], [1, 1]]])
    found = segmentation_scores(one, one)
    assert math.isnan(found["ari"]) and found["iou"] == 1


@pytest.mark.parametrize(
    ("metrics", "option", "message"),
    [
        (
            "ppl_w_end4,swd4",
            "--truncation-psi 0.5",
            "--truncation-psi has no effect on ppl_w",
        ),
        ("ppl_w_end4", "--noise const", "--noise has no effect on ppl_w_end_4"),
        ("is10", "--real-count 4", "--real-count has no effect on is10"),
        ("is10", "--fake a --real b", "--real has no effect on is10"),
        ("rkid4", "--allow-few", "--allow-few has no effect on rkid4"),
    ],
)
def test_options_that_no_metric_reads(metrics, option, message, capsys):
    said = complaint(capsys, "evaluate", "--metrics", metrics, *option.split())
    assert message in said


def test_scenes_are_read_from_the_folder_they_were_moved_to(tmp_path, monkeypatch):
    with small_chunks():
        scenes = prepare_scenes(tmp_path / "moved", 32, count=8, held_out=8, name="scenes")
    config, folder = load_config("scenes"), tmp_path / scenes.data_path
    monkeypatch.setattr(inputs, "open_scenes", lambda run: "rendered")

    def opened(resolution, real):
        generator = dataclasses.replace(config.generator, resolution=resolution)
        values = to_dict(dataclasses.replace(config, generator=generator))
        (tmp_path / "config.json").write_text(json.dumps(values))
        return inputs.scenes_of_run(tmp_path, real)

    found = [(split.name, len(split)) for split in opened(32, folder)]
    assert found == [("scenes (train)", 8), ("scenes (test)", 8)]
    assert opened(32, None) == opened(64, folder) == "rendered"


class Labeled:
    """Labels of a dataset of five images."""

    label_count, condition_names, description = 5, (), None

    def __len__(self):
        return 5

    def label(self, index):
        return index


def test_labels_of_paths_depend_on_the_seed():
    config = dataclasses.replace(tiny_config(0).generator, label_size=5)
    networks = inputs.metric_networks(place_on(jax.devices()[:1]), 4, cached=False)

    def conditions(seed):
        made = Generator(config), {}, networks
        labeled = {"seed": seed, "dataset": Labeled()}
        _, generator = inputs.generated_images(pathlib.Path("run"), *made, **labeled)
        assert generator.conditions is not None
        return generator.conditions

    np.testing.assert_array_equal(conditions(2)([0, 1]), conditions(0)([2, 3]))
    assert (conditions(2)([0, 1]) != conditions(0)([0, 1])).any()
