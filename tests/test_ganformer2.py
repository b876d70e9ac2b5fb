"""GANformer2: its updates, on any number of devices, resumed, and its commands."""

import dataclasses
import functools
import itertools
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import assert_evaluated_as_logged, call, complaint
from eight_devices import on_eight_devices
from PIL import Image
from small_scenes import small_chunks
from training import assert_close, no_images, on_host, run_steps

from ganformer_jax import losses
from ganformer_jax.cli import main, segment_edits
from ganformer_jax.config.dicts import to_dict
from ganformer_jax.config.ganformer2 import (
    CriticConfig,
    ExecutionConfig,
    GANformer2Config,
    GANformer2LossConfig,
    PlanningConfig,
)
from ganformer_jax.config.ganformer2_checks import validate_ganformer2
from ganformer_jax.config.kinds import experiment_from_dict
from ganformer_jax.config.training import TrainConfig
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.ganformer2 import edits
from ganformer_jax.experiment.ganformer2.data import GANformer2Data
from ganformer_jax.experiment.ganformer2.scene_files import LoadedScenes
from ganformer_jax.models.planner import Plan
from ganformer_jax.nn.layouts import HIDDEN
from ganformer_jax.sampling.planned_scenes import (
    PlannedScenes,
    SceneSampler,
    SegmentEdit,
    edit_plan,
)
from ganformer_jax.train.checkpoints.checkpoints import Checkpoints
from ganformer_jax.train.compile import Programs
from ganformer_jax.train.data_parallel import DataParallel
from ganformer_jax.train.devices import place_on
from ganformer_jax.train.kinds.ganformer2 import discriminator_penalty_update, ganformer2_trainable
from ganformer_jax.train.kinds.ganformer2_scenes import generate_scenes, real_scenes
from ganformer_jax.train.kinds.ganformer2_state import make_networks
from ganformer_jax.train.loop import train
from ganformer_jax.train.prefetch import place_batch

BATCH, SIZE = 8, 8
WHOLE_BATCH = DataParallel(None)
CRITIC = CriticConfig(channel_base=32, channel_max=4, minibatch_stddev_group=2)
TINY = GANformer2Config(
    planning=PlanningConfig(steps=2, latent_size=4, channel_base=32, channel_max=4),
    execution=ExecutionConfig(resolution=SIZE, style_size=4, channel_base=32, channel_max=4),
    layout_discriminator=CRITIC,
    image_discriminator=CRITIC,
    loss=GANformer2LossConfig(
        together_kimg=0.0, penalty_interval=2, layout_gamma=0.3, image_gamma=0.7, matching=2.0
    ),
    train=TrainConfig(batch_size=BATCH, total_kimg=0.032),
)


def with_loss(**values):
    return dataclasses.replace(TINY, loss=dataclasses.replace(TINY.loss, **values))


def programs_on(devices, config=TINY, **mesh):
    placement = place_on(devices, **mesh)
    return Programs(ganformer2_trainable(config, placement, no_images), placement)


def batch_of(seed):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8)
    return {"images": images, "layouts": random.integers(0, 4, (BATCH, SIZE, SIZE), np.uint8)}


def batches(images_seen):
    return map(batch_of, itertools.count(images_seen // BATCH))


@pytest.fixture(scope="module")
def programs():
    return programs_on(jax.devices()[:1])


@pytest.fixture(scope="module")
def weights(programs):
    state = programs.init(jax.random.key(0))
    return {"ema": state.ema, "constants": state.constants}


@pytest.mark.parametrize("interval", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_every_network_learns_and_the_average_follows(interval):
    """With penalties too, which are an update of their own and tested below, in steps of two."""
    programs = programs_on(jax.devices()[:1], with_loss(penalty_interval=interval))
    before = on_host(programs.init(jax.random.key(0)))
    state, infos = run_steps(programs, [batch_of(0), batch_of(1)])
    for field in ("generators", "discriminators", "ema"):
        changed = jax.tree.map(
            lambda a, b: not np.array_equal(a, b), getattr(before, field), getattr(state, field)
        )
        flat = {jax.tree_util.keystr(p): c for p, c in jax.tree_util.tree_leaves_with_path(changed)}
        # The relativistic loss compares logits, from which their common bias goes away.
        still = [name for name, c in flat.items() if not c and "['output']['bias']" not in name]
        assert still == []
    assert (state.step, state.images_seen) == (2, 2 * BATCH)
    assert ["loss/penalty_images" in info for info in infos] == [interval > 0, False]
    for info in infos:
        check_losses(info)
    check_average(programs)


def test_terms_without_weight_are_not_computed():
    devices = jax.devices()[:1]
    programs = programs_on(devices, with_loss(layout_gamma=0.0, image_gamma=0.0, matching=0.0))
    (update,) = programs.trainable.updates
    state, batch = programs.abstract_state(), programs.abstract_batch()
    info = jax.eval_shape(update.function, state, batch)[1]
    assert update.name == "ganformer2" and "loss/matching" not in info
    assert "loss/reader" not in info and "loss/fidelity" in info
    programs = programs_on(devices, with_loss(layout_gamma=0.0))
    info = jax.eval_shape(programs.trainable.updates[0].function, state, batch)[1]
    assert set(info) == {"loss/penalty_images"}


def check_average(programs):
    """After a million images the half-life is that of the config."""
    start = programs.init(jax.random.key(0))
    seen = jax.device_put(jnp.int32(10**6), start.images_seen.sharding)
    start = start.replace(images_seen=seen, ema=jax.tree.map(lambda p: p + 1, start.generators))
    before = on_host(start)
    trainable, sharding = programs.trainable, programs.placement.batch
    after, _ = programs.step(start, place_batch(batch_of(0), trainable.batch, sharding), 1)
    beta = 0.5 ** (BATCH / (1000 * TINY.optimizer.ema_kimg))
    expected = jax.tree.map(lambda e, g: g + beta * (e - g), before.ema, on_host(after.generators))
    assert_close(on_host(after.ema), expected, rtol=1e-5, atol=1e-5)


def check_losses(info):
    """Totals are weighted sums, and both sides of a relativistic loss differ by the logits."""
    for side, fidelity in (("generator", "fidelity"), ("discriminator", "discriminator_fidelity")):
        total = info[f"loss/{side}_layouts"] + info[f"loss/{side}_images"]
        total += TINY.loss.fidelity * info[f"loss/{fidelity}"]
        if side == "generator":
            total += TINY.loss.matching * info["loss/matching"]
        np.testing.assert_allclose(info[f"loss/{side}"], total, rtol=1e-5)
    for name in ("layouts", "images"):  # softplus(x) - softplus(-x) is x
        np.testing.assert_allclose(
            info[f"loss/generator_{name}"] - info[f"loss/discriminator_{name}"],
            info[f"logits/real_{name}"] - info[f"logits/fake_{name}"],
            atol=1e-5,
        )


@pytest.mark.parametrize("fidelity", [0.0, 0.25])
def test_penalties_are_of_layouts_images_and_segments(programs, fidelity):
    """R1 and R2, each with its weight, times the interval; of segments only where the loss is."""
    config, state = with_loss(fidelity=fidelity), programs.init(jax.random.key(0))
    update = jax.jit(functools.partial(discriminator_penalty_update, config, WHOLE_BATCH))
    after, info = update(state, batch_of(0))

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def expected(params):
        key, networks = jax.random.fold_in(state.key, state.step), make_networks(config)
        reals = real_scenes(config, WHOLE_BATCH, batch_of(0), key)
        fakes, _ = generate_scenes(config, WHOLE_BATCH, state, state.generators, reals, key)
        found = {"layouts": 0.0, "images": 0.0}
        for scenes in (reals, fakes):
            layouts = functools.partial(networks.layouts.apply, {"params": params["layouts"]})
            images = functools.partial(networks.images.apply, {"params": params["images"]})
            layout_logits = lambda x, apply=layouts: apply(x)[0]  # noqa: E731
            image_logits = lambda x, apply=images, s=scenes: apply(x, s.layout_BxHxWxK)[0]  # noqa: E731
            found["layouts"] += losses.r1_penalty(layout_logits, scenes.seen_BxHxWxK).mean()
            found["images"] += losses.r1_penalty(image_logits, scenes.images_BxHxWxC).mean()

            def of_segments(x, apply=images, layout=scenes.layout_BxHxWxK):
                there = layout.max((1, 2)) > 0.5
                return jnp.mean(apply(x, layout)[1], -1, keepdims=True, where=there)

            if fidelity:
                penalty = losses.r1_penalty(of_segments, scenes.images_BxHxWxC).mean()
                found["images"] += fidelity * penalty
        planned = (fakes.layout_BxHxWxK != reals.layout_BxHxWxK).any((1, 2, 3))
        gammas = {"layouts": config.loss.layout_gamma, "images": config.loss.image_gamma}
        total = sum(gammas[name] / 2 * penalty for name, penalty in found.items())
        return config.loss.penalty_interval * total, (found, planned)

    gradients, (found, planned) = expected(state.discriminators)
    assert 0 < planned.sum() < BATCH  # images are of layouts of both kinds
    for name, penalty in found.items():
        np.testing.assert_allclose(info[f"loss/penalty_{name}"], penalty, rtol=1e-4)
    assert_close(after.discriminator_optimizer[0].mu, gradients)  # as beta1 is 0
    before = state.discriminators["images"]
    learns = fidelity > 0  # but for the bias of the last layer, which images do not change
    for name, changes in (("segment", learns), ("segment_output", learns), ("image", True)):
        same = jax.tree.map(np.array_equal, before[name], after.discriminators["images"][name])
        assert all(jax.tree.leaves(same)) != changes


def test_gradients_of_execution_reach_planning_only_together(weights):
    """Images change with the planner once both stages are trained together, and not before."""
    config = with_loss(together_kimg=1.0, planned_share=1.0)
    key = jax.random.key(0)
    reals = real_scenes(config, WHOLE_BATCH, batch_of(0), key)

    @jax.jit
    def gradients(seen):
        state = SimpleNamespace(images_seen=seen, constants=weights["constants"])

        def brightness(generators):
            scenes, _ = generate_scenes(config, WHOLE_BATCH, state, generators, reals, key)
            return scenes.images_BxHxWxC.mean()

        return jax.grad(brightness)(weights["ema"])

    apart, together = gradients(jnp.int32(999)), gradients(jnp.int32(1000))
    size = lambda tree: sum(float(abs(leaf).sum()) for leaf in jax.tree.leaves(tree))  # noqa: E731
    assert size(apart["planner"]) == 0 < size(together["planner"])
    assert size(apart["executor"]) > 0 and size(together["executor"]) > 0


def test_layouts_are_seen_in_another_order_and_with_noise():
    """Of a mean square of 1 without noise, which has one variance at 2x2, 4x4 and 8x8."""
    plain, noisy = (
        real_scenes(with_loss(layout_noise=noise), WHOLE_BATCH, batch_of(0), jax.random.key(0))
        for noise in (0.0, 0.5)
    )
    seen, layout = np.asarray(plain.seen_BxHxWxK), np.asarray(plain.layout_BxHxWxK)
    segments = TINY.planning.segments
    np.testing.assert_allclose(np.square(seen).mean(), 1, rtol=1e-5)
    np.testing.assert_allclose(seen[..., 0], np.sqrt(segments) * layout[..., 0], rtol=1e-5)
    assert not np.allclose(seen, np.sqrt(segments) * layout)
    noise = np.asarray(noisy.seen_BxHxWxK) - seen
    np.testing.assert_allclose(noise.var(), 3 * 0.25 * segments, rtol=0.2)


@pytest.mark.slow
def test_half_precision_is_close(programs):
    """Losses of a step in bfloat16, whose parameters stay float32."""
    names = ("planning", "execution", "layout_discriminator", "image_discriminator")
    halves = {n: dataclasses.replace(getattr(TINY, n), dtype="bfloat16") for n in names}
    half = programs_on(jax.devices()[:1], dataclasses.replace(TINY, **halves))
    state, (info,) = run_steps(half, [batch_of(0)])
    _, (expected,) = run_steps(programs, [batch_of(0)])
    for name in ("loss/generator", "loss/discriminator", "loss/matching", "loss/fidelity"):
        np.testing.assert_allclose(info[name], expected[name], rtol=0.05, err_msg=name)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state.generators)} == {"float32"}


def report_devices():
    """Compare eight devices, in two meshes, with one."""
    options = dataclasses.replace(TINY.optimizer, learning_rate=0.005, epsilon=1.0)
    config = dataclasses.replace(TINY, optimizer=options)
    meshes = [(jax.devices()[:1], {}), (jax.devices(), {})]
    meshes.append((jax.devices(), {"fsdp": 4, "sharded_size": 16}))
    found = []
    for devices, mesh in meshes:
        programs = programs_on(devices, config, **mesh)
        state, infos = run_steps(programs, [batch_of(0), batch_of(1)])
        found.append((state.generators, state.discriminators, state.ema, infos))
    for other in found[1:]:
        assert_close(found[0], other, rtol=1e-3)
    print("equal")


@pytest.mark.slow
def test_eight_devices_compute_what_one_computes():
    code = "import test_ganformer2; test_ganformer2.report_devices()"
    assert on_eight_devices(code).strip().endswith("equal")


def train_tiny(run, kimg=0.032, config=TINY):
    placement = place_on(jax.devices()[:1])
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, total_kimg=kimg))
    trainable, say = ganformer2_trainable(config, placement, no_images), lambda line: None
    return train(trainable, placement, config, run, batches, say=say)


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path):
    assert train_tiny(tmp_path / "whole")
    assert train_tiny(tmp_path / "parts", 0.016)
    assert train_tiny(tmp_path / "parts")
    states = []
    for name in ("whole", "parts"):
        with Checkpoints(tmp_path / name, read_only=True) as checkpoints:
            fields = ("generators", "discriminators", "ema", "generator_optimizer")
            states.append(checkpoints.weights(4, fields)[0])
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_a_scene_depends_on_its_seed_alone(weights):
    sampler = SceneSampler(TINY, 2)
    several, one = sampler(weights, [5, 6, 7]), sampler(weights, [7])
    np.testing.assert_array_equal(several.layouts[2:], one.layouts)
    assert np.abs(several.images[2:].astype(int) - one.images).max() <= 1
    assert several.layouts.shape == (3, 3, SIZE, SIZE) and (several.layouts[:, 0] == 0).all()


def test_noise_is_random_by_seed_constant_or_none(weights):
    strong = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + 1 if "strength" in jax.tree_util.keystr(path) else leaf, weights
    )
    made = {
        kind: SceneSampler(TINY, 2, noise=kind)(strong, [5, 6]).images.astype(int)
        for kind in ("random", "const", "none")
    }
    noise = {kind: made[kind] - made["none"] for kind in ("random", "const")}
    assert all(np.abs(each).max() > 1 for each in noise.values())
    assert np.abs(made["random"] - made["const"]).max() > 1
    one = SceneSampler(TINY, 4)(strong, [6]).images.astype(int)
    assert np.abs(one - made["random"][1:]).max() <= 1


def test_edits_change_their_segment_alone(weights):
    sampler, seeds = SceneSampler(TINY, 4), range(4)
    before = sampler(weights, seeds)
    restyled = sampler(weights, seeds, SegmentEdit(1, style_seed=9))
    np.testing.assert_array_equal(before.layouts, restyled.layouts)
    assert (before.images != restyled.images).any()
    last = before.layouts[:, -1]
    removed = sampler(weights, seeds, SegmentEdit(1, remove=True)).layouts[:, -1]
    assert (last == 1).any() and not (removed == 1).any()
    np.testing.assert_array_equal(removed[last != 1], last[last != 1])
    moved = sampler(weights, seeds, SegmentEdit(1, down=SIZE)).layouts[:, -1]
    np.testing.assert_array_equal(moved, removed)
    own = sampler(weights, [9, 9, 9, 9], SegmentEdit(1, style_seed=9))
    np.testing.assert_array_equal(own.images, sampler(weights, [9, 9, 9, 9]).images)


def test_a_segment_moves_down_and_to_the_right():
    """Its shape and its depth, and no other segment."""
    shape = jnp.full((1, SIZE, SIZE, 5), HIDDEN).at[..., 0].set(0.0).at[0, 2, 3, 1].set(0.0)
    shape = shape.at[0, 6, 6, 2].set(0.0)
    depth = jnp.zeros((1, SIZE, SIZE, 5)).at[0, 2, 3, 1].set(4.0).at[..., 2].set(9.0)
    plan = Plan(shape, depth, jnp.ones((1, 5)), jnp.zeros((1, 1, SIZE, SIZE, 5)))
    edit = SegmentEdit(1, down=2, right=-1)
    after, styles = edit_plan(TINY, edit, plan, jnp.ones((1, 6, 4)))
    (layout,) = after.layout_SxBxHxWxK[-1].argmax(-1)
    expected = np.zeros((SIZE, SIZE), int)
    expected[4, 2], expected[6, 6] = 1, 2
    np.testing.assert_array_equal(layout, expected)
    np.testing.assert_array_equal(after.depth_BxHxWxK[0, 4, 2, 1], 4.0)
    np.testing.assert_array_equal(after.depth_BxHxWxK[..., 2], 9.0)
    np.testing.assert_array_equal(styles, 1)


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (SegmentEdit(5), ValueError, "segments are 0 to 4, not 5"),
        (SegmentEdit(1, style_seed=-1), ValueError, "seeds must be integers from 0 to"),
        (SegmentEdit(1, style_seed=2**32 + 9), ValueError, "seeds must be integers from 0 to"),
        (SegmentEdit(1, down=0.5), TypeError, "'float' object cannot be interpreted as an integer"),
    ],
)
def test_edits_that_cannot_be_made_are_refused(edit, error, message):
    with pytest.raises(error, match=message):
        SceneSampler(TINY, 4)({}, [0], edit)


def test_a_segment_moves_by_whole_pixels_and_at_most_out_of_the_image():
    assert segment_edits._pixels((0.25, -0.5), 8) == (2, -4)
    assert segment_edits._pixels((1e30, 0.0), 8) == (8, 0)
    with pytest.raises(UserError, match="--move 0.05 0 is less than half a pixel of 8: move by"):
        segment_edits._pixels((0.05, 0.0), 8)


@dataclasses.dataclass
class ScenesOfTwoSeeds:
    """Stands for a sampler of scenes of five channels; only the scene of seed 3 has a segment."""

    batch_size: int

    def __call__(self, weights, seeds, edit=None):
        assert len(seeds) <= self.batch_size
        images, layouts = np.zeros((2, 4, 4, 5), np.uint8), np.zeros((2, 1, 4, 4), int)
        layouts[0, 0, 0] = 1
        rows, maps = [[3, 12].index(seed) for seed in seeds], np.zeros((len(seeds), 4, 4))
        return PlannedScenes(images[rows] + (0 if edit is None else 8), layouts[rows], maps, maps)


@pytest.mark.parametrize("batch", [1, 2])
def test_an_edit_has_a_table_and_every_channel(monkeypatch, tmp_path, batch):
    """Of five channels a PNG has three."""
    sampler = ScenesOfTwoSeeds(batch)
    monkeypatch.setattr(edits, "scene_sampler", lambda *arguments: (sampler, {}))
    loaded, edit = LoadedScenes(TINY, {}, 0, 0), SegmentEdit(1, down=1)
    said = edits.write_edited(loaded, edit, [3, 12], tmp_path, place_on(jax.devices()[:1]))
    assert said.startswith("median change of one image with segment 1: 8.0 levels inside")
    lines = [json.loads(line) for line in (tmp_path / "edits.jsonl").read_text().splitlines()]
    words = ["move segment 1 +1 +0 pixels"]
    assert lines == [
        {"file": file, "seed": seed, "edits": words, "change": 8.0, "inside": mean, "outside": mean}
        for file, seed, mean in (("000003.png", 3, 8.0), ("000012.png", 12, None))
    ]
    expected = np.full((4, 4, 5), 8, np.uint8)
    np.testing.assert_array_equal(np.load(tmp_path / "000012.npy"), expected)
    assert (tmp_path / "sheet.png").exists()


def test_seeds_that_no_scene_has_are_refused():
    """That of a style was taken modulo 2^32."""
    sampler = SceneSampler(TINY, 2)
    with pytest.raises(ValueError, match="no seeds"):
        sampler({}, [])
    for seed in (-1, 2**32):
        with pytest.raises(ValueError, match="seeds must be integers from 0 to"):
            sampler({}, [1], SegmentEdit(1, style_seed=seed))
    with pytest.raises(ValueError, match="batch_size is 0; it should be 1 or more"):
        SceneSampler(TINY, 0)


def changed(**groups):
    values = to_dict(TINY)
    for path, value in groups.items():
        group, name = path.split("__")
        values[group][name] = value
    return values


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"execution__resolution": 24}, "execution.resolution is 24; it should be a power of two"),
        ({"planning__steps": 0}, "planning.steps is 0; it should be 1 or more"),
        ({"image_discriminator__minibatch_stddev_group": 3}, "image_discriminator.minibatch"),
        ({"loss__matching": -1.0}, "loss.matching is -1.0; it should be 0 or more"),
        ({"train__accumulate": 2}, "train.accumulate has no effect on a GANformer2"),
        (
            {"loss__together_kimg": None, "loss__planned_share": 0.25},
            "loss.planned_share has no effect: set loss.together_kimg",
        ),
        (
            {"loss__planned_share": 0.0},
            "loss.planned_share is 0, with which both stages are never trained together",
        ),
        ({"planning__channel_base": 4}, "planning.channel_base is 4, which leaves no channels"),
        (
            {"loss__penalty_interval": 0},  # and image_gamma is not the default
            "loss.image_gamma has no effect: set loss.penalty_interval",
        ),
        ({"data__held_out_pairs": True}, "data.held_out_pairs is about captions"),
        ({"execution__style_size": 10}, "execution.style_size is 10; it should be a multiple of 4"),
        ({"optimizer__epsilon": 0}, "optimizer.epsilon is 0.0; it should be above 0"),
        ({"execution__channel_base": 4}, "execution.channel_base is 4, which leaves no channels"),
        ({"image_discriminator__channel_base": 4}, "image_discriminator.channel_base is 4, which"),
        (
            {"execution__resolution": 64},
            "planning.channel_base is 32, which leaves no",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(groups, message):
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        validate_ganformer2(experiment_from_dict(changed(**groups)))


SMOKE = """
--config scenes_ganformer2 --planning.channel-base 32 --planning.channel-max 4
--planning.latent-size 4 --execution.channel-base 64 --execution.channel-max 4
--execution.style-size 4 --layout-discriminator.channel-max 4 --image-discriminator.channel-max 4
--train.batch-size 4 --data.train-images 16 --data.held-out-images 8 --train.total-kimg 0.016
--train.log-kimg 0.008 --train.image-kimg 0.016 --train.metric-kimg 0.016 --train.metric-images 8
--loss.penalty-interval 0
""".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ganformer2")


def arguments(folder, *options):
    paths = ["--workdir", str(folder / "run"), "--data.directory", str(folder / "data")]
    return ["train", *SMOKE, *paths, *options]


@pytest.fixture(scope="module")
def run(folder):
    with small_chunks():
        main(arguments(folder))
    return folder / "run"


# A quicker run by the command line is that of a translation.
@pytest.mark.slow
def test_a_run_measures_and_draws_scenes_and_layouts(run):
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    measured = [record for record in records if "metric/swd" in record]
    assert [record["step"] for record in measured] == [0, 4]
    for name in ("00000004.png", "00000004-layouts.png"):
        with Image.open(run / "samples" / name) as image:
            assert np.asarray(image).std() > 1


@pytest.mark.slow
def test_scenes_are_sampled_and_kept(capsys, run, tmp_path):
    out = tmp_path / "out"
    command = ["sample", "--workdir", str(run), "--out", str(out), "--batch-size", "2"]
    _, said, _ = call(capsys, *command, "--count", "3")
    assert f"3 images in {out}" in said
    assert {path.name for path in out.glob("*.png")} == {f"00000{i}.png" for i in range(3)}
    assert (tmp_path / "out-grid.png").exists() and (tmp_path / "out-layouts.png").exists()
    assert "3 of 4 images are in" in call(capsys, *command, "--count", "4")[1]


@pytest.mark.slow
def test_a_segment_is_edited_by_the_command(capsys, run, tmp_path):
    command = ["edit", "--workdir", str(run), "--seeds", "0-3", "--component", "1"]
    out = tmp_path / "edited"
    _, said, _ = call(capsys, *command, "--swap", "9", "--out", str(out))
    assert f"4 images in {out}" in said and (out / "sheet.png").exists()
    assert len((out / "edits.jsonl").read_text().splitlines()) == 4
    said = complaint(capsys, *command, "--recolor", "255", "0", "0")
    assert "--recolor has no effect on a GANformer2" in said
    said = complaint(capsys, *command[:-1], "7", "--remove")
    assert "--component 7: name a segment from 1 to 6" in said


def test_commands_of_gans_say_that_a_run_is_of_a_ganformer2(capsys, tmp_path, programs):
    run = tmp_path / "run"
    with Checkpoints(run) as checkpoints:
        checkpoints.save(0, programs.init(jax.random.key(0)), to_dict(TINY))
    (run / "config.json").write_text(json.dumps(to_dict(TINY)))
    said = complaint(capsys, "export", "--workdir", str(run), "--out", str(tmp_path / "x"))
    assert "is of kind ganformer2, but a GAN is needed: use `sample` or `edit`" in said
    said = complaint(capsys, "sample", "--workdir", str(run), "--truncation-psi", "0.5")
    assert "--truncation-psi does not apply to" in said and "a GANformer2: leave it out" in said
    said = complaint(capsys, "train", "--config", "scenes_ganformer2", "--init-from", str(run))
    assert "--init-from is for GANs" in said


@pytest.mark.slow
def test_evaluate_measures_what_training_logged(capsys, run):
    assert_evaluated_as_logged(capsys, run, "ganformer2")


def test_more_objects_than_segments_are_refused(capsys, folder):
    options = ["--planning.steps", "1", "--workdir", str(folder / "few")]
    with small_chunks():
        said = complaint(capsys, *arguments(folder, *options))
    assert "scenes have up to 6 objects, but planning has labels 0 to 2" in said
    assert "raise planning.steps or planning.step_segments" in said


class Masks:
    """Label maps of a split, one of which has a large label."""

    name, features, size = "mine", ("mask",), (4, 4)

    def __init__(self, large: int | None):
        self.maps = [np.zeros((4, 4, 1), np.uint8) for _ in range(40)]
        if large is not None:
            self.maps[large][2, 2] = 9

    def __len__(self):
        return len(self.maps)

    def part(self, index, names):
        return {"mask": self.maps[index]}


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_label_maps_of_all_images_are_looked_at_first(monkeypatch, split):
    """A large label far behind would end training hours later."""
    mine = dataclasses.replace(TINY.data, name="mine")
    data = GANformer2Data(dataclasses.replace(TINY, data=mine))
    monkeypatch.setattr(data.images, "open", lambda name: Masks(37 if name == split else None))
    with pytest.raises(UserError, match="mine has an image with label 9, but planning has labels"):
        data.check()


@pytest.mark.slow
def test_programs_are_compiled_before_training(capsys, folder):
    options = ["--loss.penalty-interval", "16", "--compile-only"]
    _, said, _ = call(capsys, *arguments(folder, *options))
    for name in ("penalty", "ganformer2", "first state", "scenes"):
        assert f"{name}: " in said
