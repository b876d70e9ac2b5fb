"""Unpaired translation: its updates, on any number of devices, resumed, and its commands."""

import dataclasses
import functools
import itertools
import json
import shutil
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import assert_evaluated_as_logged, call, complaint
from eight_devices import on_eight_devices
from PIL import Image
from program_checks import assert_no_collectives_in_loops
from small_scenes import small_chunks
from training import assert_close, no_images, on_host, run_steps

from ganformer_jax.cli import main
from ganformer_jax.config.dicts import to_dict
from ganformer_jax.config.kinds import experiment_from_dict
from ganformer_jax.config.patches import PatchConfig
from ganformer_jax.config.training import TrainConfig
from ganformer_jax.config.translation import (
    TranslationConfig,
    TranslationLossConfig,
    TranslatorConfig,
)
from ganformer_jax.config.translation_checks import validate_translation
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.translation.data import TranslationData
from ganformer_jax.experiment.translation.image_files import file_names
from ganformer_jax.experiment.translation.training import LatestTranslators
from ganformer_jax.models.patch_discriminator import PatchDiscriminator
from ganformer_jax.models.translator import Translator
from ganformer_jax.pixels import from_uint8
from ganformer_jax.train.checkpoints.structure import refuse_unstorable
from ganformer_jax.train.compile import Programs
from ganformer_jax.train.data_parallel import DataParallel
from ganformer_jax.train.devices import place_on
from ganformer_jax.train.kinds.translation import FIELDS, cropped_reals, translation_trainable
from ganformer_jax.train.loop import train
from ganformer_jax.train.prefetch import place_batch

BATCH = 8
WHOLE_BATCH = DataParallel(None)
TINY = TranslationConfig(
    generator=TranslatorConfig(
        image_size=(8, 8), width=2, blocks=1, components=2, component_width=4
    ),
    discriminator=PatchConfig(width=2, layers=1),
    loss=TranslationLossConfig(pool=6),
    train=TrainConfig(batch_size=BATCH, total_kimg=0.032),
)


def programs_on(devices, config=TINY, **mesh):
    placement = place_on(devices, **mesh)
    return Programs(translation_trainable(config, placement, no_images), placement)


def batch_of(seed):
    random = np.random.default_rng(seed)
    names = ("images", "targets")
    return {name: random.integers(0, 256, (BATCH, 8, 8, 3), np.uint8) for name in names}


def batches(images_seen):
    return map(batch_of, itertools.count(images_seen // BATCH))


@pytest.fixture(scope="module")
def programs():
    return programs_on(jax.devices()[:1])


def test_steps_follow_the_gradients_of_the_weighted_losses():
    """Equation 3 of the paper, written out, with identity and pairs; and least squares."""
    loss = TranslationLossConfig(cycle=3.0, identity=0.25, paired=2.0, pool=0)
    config = dataclasses.replace(TINY, loss=loss)
    programs, batch = programs_on(jax.devices()[:1], config), batch_of(0)
    before = jax.device_get(programs.init(jax.random.key(0)))
    source, target = (from_uint8(batch[name]) for name in ("images", "targets"))

    def make(params, kind, images):
        return Translator(TINY.generator).apply({"params": params[kind]}, images)[0]

    def logits(params, kind, images):
        return PatchDiscriminator(TINY.discriminator).apply({"params": params[kind]}, images)

    def distance(one, other):
        return jnp.abs(one - other).mean()

    def of_generators(params):
        target_fake, source_fake = make(params, "target", source), make(params, "source", target)
        critics = before.discriminators
        found = {
            "loss/generator": ((logits(critics, "target", target_fake) - 1) ** 2).mean()
            + ((logits(critics, "source", source_fake) - 1) ** 2).mean(),
            "loss/cycle": distance(make(params, "source", target_fake), source)
            + distance(make(params, "target", source_fake), target),
            "loss/identity": distance(make(params, "target", target), target)
            + distance(make(params, "source", source), source),
            "loss/paired": distance(target_fake, target) + distance(source_fake, source),
        }
        weights = (1.0, 3.0, 3.0 * 0.25, 2.0)
        return sum(w * x for w, x in zip(weights, found.values(), strict=True)), found

    def of_discriminators(params):
        total = 0.0
        for kind, real, other in (("target", target, source), ("source", source, target)):
            fake = make(before.generators, kind, other)
            total += ((logits(params, kind, real) - 1) ** 2).mean() / 2
            total += (logits(params, kind, fake) ** 2).mean() / 2
        return total, {"loss/discriminator": total}

    state, (info,) = run_steps(programs, [batch])
    for function, params, memory in (
        (of_generators, before.generators, state.generator_optimizer),
        (of_discriminators, before.discriminators, state.discriminator_optimizer),
    ):
        gradients, found = jax.jit(jax.grad(function, has_aux=True))(params)
        for name, value in found.items():
            np.testing.assert_allclose(info[name], value, rtol=1e-4, err_msg=name)
        halved = jax.tree.map(lambda leaf: leaf / 2, gradients)  # as beta1 is 0.5
        assert_close(memory[0].mu, halved, rtol=1e-3)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_each_direction_drops_other_attention(dropout):
    """Directions with equal networks and images move alike, but for what dropout decides."""
    generator = TINY.generator
    attention = dataclasses.replace(generator.attention, dropout=dropout)
    generator = dataclasses.replace(generator, attention=attention)
    config = dataclasses.replace(TINY, generator=generator)
    programs = programs_on(jax.devices()[:1], config)
    state = programs.init(jax.random.key(0))
    twice = {name: copies(getattr(state, name)) for name in ("generators", "discriminators")}
    images = batch_of(0)["images"]
    batch = place_batch(dict.fromkeys(FIELDS, images), FIELDS, programs.placement.batch)
    moved = on_host(programs.step(state.replace(**twice), batch, 0)[0]).generators
    pairs = zip(jax.tree.leaves(moved["source"]), jax.tree.leaves(moved["target"]), strict=True)
    assert any((one != other).any() for one, other in pairs) == bool(dropout)


def copies(networks):
    """The networks of both sets, with the weights of one."""
    return {name: jax.tree.map(jnp.copy, networks["target"]) for name in networks}


def test_every_network_learns_and_pools_fill(programs):
    before = on_host(programs.init(jax.random.key(0)))
    state, _ = run_steps(programs, [batch_of(0), batch_of(1)])
    for field in ("generators", "discriminators"):
        changed = jax.tree.map(
            lambda a, b: not np.array_equal(a, b), getattr(before, field), getattr(state, field)
        )
        # Instance normalization takes away the biases before it.
        flat = {jax.tree_util.keystr(p): c for p, c in jax.tree_util.tree_leaves_with_path(changed)}
        still = [name for name, c in flat.items() if not c and "bias" not in name]
        assert still == []
    assert all(np.abs(pool).max((1, 2, 3)).all() for pool in state.pools.values())
    assert (state.step, state.images_seen) == (2, 2 * BATCH)


@pytest.mark.slow
def test_half_precision_is_close(programs):
    """Losses of a step in bfloat16, whose parameters stay float32."""
    networks = {name: getattr(TINY, name) for name in ("generator", "discriminator")}
    halves = {name: dataclasses.replace(each, dtype="bfloat16") for name, each in networks.items()}
    half = programs_on(jax.devices()[:1], dataclasses.replace(TINY, **halves))
    state, (info,) = run_steps(half, [batch_of(0)])
    _, (expected,) = run_steps(programs, [batch_of(0)])
    for name in ("loss/cycle", "loss/identity", "loss/generator", "loss/discriminator"):
        np.testing.assert_allclose(info[name], expected[name], rtol=0.05, err_msg=name)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state.generators)} == {"float32"}


def test_pairs_are_cropped_alike():
    """A generator that copies then makes the other set's image of a pair of equal ones."""
    images = batch_of(0)["images"]
    batch = {"images": images, "targets": images}
    for paired in (False, True):
        data = dataclasses.replace(TINY.data, enlarge=0.5, paired=paired)
        config = dataclasses.replace(TINY, data=data)
        reals = cropped_reals(config, WHOLE_BATCH, batch, jax.random.key(0))
        assert np.array_equal(reals["source"], reals["target"]) == paired


def test_crops_are_in_the_range_of_images():
    """Enlarging overshoots at edges, and translators end in a tanh."""
    noise = np.random.default_rng(0).integers(0, 2, batch_of(0)["images"].shape, np.uint8) * 255
    config = dataclasses.replace(TINY, data=dataclasses.replace(TINY.data, enlarge=0.117))
    batch = {"images": noise, "targets": noise}
    for images in cropped_reals(config, WHOLE_BATCH, batch, jax.random.key(0)).values():
        assert images.min() == -1 and images.max() == 1


def report_devices():
    """Compare eight devices, in two meshes, with one."""
    # Adam would make steps of the rounding in gradients that are 0, those of most biases.
    options = dataclasses.replace(TINY.optimizer, learning_rate=0.005, epsilon=1.0)
    config = dataclasses.replace(TINY, optimizer=options)
    meshes = [(jax.devices()[:1], {}), (jax.devices(), {})]
    meshes.append((jax.devices(), {"fsdp": 4, "sharded_size": 16}))
    found = []
    for devices, mesh in meshes:
        programs = programs_on(devices, config, **mesh)
        state, infos = run_steps(programs, [batch_of(0), batch_of(1)])
        found.append((state.generators, state.discriminators, state.pools, infos))
    assert_no_collectives_in_loops(programs)
    for other in found[1:]:
        assert_close(found[0], other, rtol=1e-3)
    config = dataclasses.replace(TINY, data=dataclasses.replace(TINY.data, enlarge=0.25))
    crops = [
        jax.jit(functools.partial(cropped_reals, config, DataParallel(place_on(devices).batch)))(
            batch_of(0), jax.random.key(0)
        )
        for devices in (jax.devices()[:1], jax.devices())
    ]
    assert_close(*crops)
    print("equal")


@pytest.mark.slow
def test_eight_devices_compute_what_one_computes():
    code = "import test_translation; test_translation.report_devices()"
    assert on_eight_devices(code).strip().endswith("equal")


def train_tiny(run, kimg=0.032, config=TINY):
    placement = place_on(jax.devices()[:1])
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, total_kimg=kimg))
    trainable, say = translation_trainable(config, placement, no_images), lambda line: None
    return train(trainable, placement, config, run, batches, say=say)


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, programs):
    assert train_tiny(tmp_path / "whole")
    assert train_tiny(tmp_path / "parts", 0.016)
    assert train_tiny(tmp_path / "parts")
    from ganformer_jax.train.checkpoints.checkpoints import Checkpoints

    states = []
    for name in ("whole", "parts"):
        with Checkpoints(tmp_path / name, read_only=True) as checkpoints:
            fields = ("generators", "discriminators", "pools", "generator_optimizer")
            states.append(checkpoints.weights(4, fields)[0])
    jax.tree.map(np.testing.assert_array_equal, *states)


def without_a_pool():
    return dataclasses.replace(TINY, loss=dataclasses.replace(TINY.loss, pool=0))


def test_without_a_pool_a_checkpoint_can_hold_the_state():
    programs = programs_on(jax.devices()[:1], without_a_pool())
    state, batch = programs.abstract_state(), programs.abstract_batch()
    refuse_unstorable(state)
    after, _ = jax.eval_shape(programs.trainable.updates[0].function, state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)


@pytest.mark.slow
def test_a_run_without_a_pool_resumes(tmp_path):
    assert train_tiny(tmp_path, 0.008, without_a_pool())
    assert train_tiny(tmp_path, 0.016, without_a_pool())


def changed(**groups):
    values = to_dict(TINY)
    for path, value in groups.items():
        group, name = path.split("__")
        values[group][name] = value
    return values


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"generator__image_size": [8, 10]}, "image_size is 8x10; both should be multiples of 4"),
        ({"discriminator__layers": 2}, "16 or more with discriminator.layers 2"),
        ({"generator__image_channels": 33}, "image_channels is 33; it should be from 1 to 32"),
        ({"data__target": "scenes"}, "data.name and data.target are both scenes"),
        ({"data__paired": True}, "data.paired is True and loss.paired 0.0: set both, or none"),
        ({"loss__pool": -1}, "loss.pool is -1; it should be 0 or more"),
        ({"train__accumulate": 2}, "train.accumulate has no effect on a translation"),
        (
            {"generator__components": 2, "generator__attention": {"heads": 3}},
            "generator.attention.heads is 3, which does not divide the width of components",
        ),
        (
            {"generator__components": 2, "generator__component_width": 6},
            "positions of kind sinus need a width that 4 divides, not 6",
        ),
        ({"optimizer__epsilon": 0}, "optimizer.epsilon is 0.0; it should be above 0"),
        (
            {
                "generator__components": 2,
                "generator__attention": {"places_learning_rate_multiplier": 0.1},
            },
            "generator.attention.places_learning_rate_multiplier is for GANformers: set it to 1",
        ),
        ({"generator__blocks": 0}, "components attend before residual blocks and generator.blocks"),
        ({"loss__cycle": 0.0}, "loss.identity is 0.5, a multiple of loss.cycle, which is 0"),
        (
            {"data__target": "scenes_hard", "data__paired": True, "loss__paired": 1.0},
            "scenes and scenes_hard show different scenes: use scenes and scenes_drawn, or",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(groups, message):
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        validate_translation(experiment_from_dict(changed(**groups)))


@pytest.mark.parametrize(
    "options",
    [{"component_width": 8}, {"attention": {"heads": 2}}, {"positions": {"kind": "linear"}}],
)
def test_options_of_components_need_components(options):
    values = {"kind": "translation", "generator": options}
    (name,) = options
    message = f"generator.{name} has no effect: set generator.components"
    with pytest.raises(UserError, match=message):
        validate_translation(experiment_from_dict(values))
    values["generator"] = options | {"components": 2}
    validate_translation(experiment_from_dict(values))


def prepared(folder, name, damaged, names="{}"):
    """Prepare six images, of which one cannot be read."""
    (folder / name).mkdir()
    for number in range(6):
        path = folder / name / f"{names.format(number)}.png"
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
        if number == damaged:
            path.write_bytes(b"no image")
    options = ["--name", name, "--resolution", "8", "--data-dir", str(folder / "data")]
    main(["prepare", str(folder / name), *options])


def test_pairs_that_skipped_images_have_shifted_are_refused(tmp_path):
    prepared(tmp_path, "day", 2)
    for name, damaged, names in (("night", 4, "{}"), ("dusk", 2, "{}"), ("dawn", 4, "dawn{}")):
        prepared(tmp_path, name, damaged, names)
    values = changed(data__paired=True, loss__paired=1.0, data__name="day")

    def check(target):
        values["data"] |= {"directory": str(tmp_path / "data"), "target": target}
        TranslationData(experiment_from_dict(values)).check()

    for target in ("dusk", "dawn"):  # the same images are left; other names say nothing
        check(target)
    with pytest.raises(
        UserError, match="image 2 of day .train. is 3 and that of night .train. 2: "
    ):
        check("night")


def test_an_unknown_kind_is_named():
    known = "gan, translation, prior, ganformer2"
    with pytest.raises(UserError, match=f"kind must be one of {known}, not 'translate'"):
        experiment_from_dict({"kind": "translate"})


def test_every_image_has_a_file_of_its_own():
    names = ["a.png", "b/a.jpg", "a-1.png", "A.png", "c.d.png"]
    files = file_names(names)
    assert files[0] == "a.png" and files[-1] == "c.d.png"
    assert len({file.lower() for file in files}) == len(names)


SMOKE = """
--config scenes_translation --generator.width 2 --generator.blocks 1 --generator.components 2
--generator.component-width 4 --discriminator.width 2 --discriminator.layers 1
--data.train-images 16 --data.held-out-images 8 --train.total-kimg 0.016 --train.log-kimg 0.008
--train.image-kimg 0.016 --train.metric-kimg 0.016 --train.metric-images 8
""".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("translation")


def arguments(folder, *options):
    paths = ["--workdir", str(folder / "run"), "--data.directory", str(folder / "data")]
    return ["train", *SMOKE, *paths, *options]


@pytest.fixture(scope="module")
def run(folder):
    with small_chunks():
        main(arguments(folder))
    return folder / "run"


class Rendered:
    """A dataset of scenes with these numbers of objects."""

    features = ("image", "index", "objects")

    def __init__(self, objects):
        self.objects = objects

    def __len__(self):
        return len(self.objects)

    def part(self, index, names):
        assert set(names) == {"index", "objects"}
        return {"index": index, "objects": {"color": np.arange(self.objects[index])}}


@pytest.mark.parametrize(
    ("other", "known"), [([2, 3, 4], True), ([2, 3], True), ([5, 8, 7], False)]
)
def test_a_truth_is_known_where_images_of_one_number_show_the_same_objects(other, known):
    """Scenes of every variant are numbered alike."""
    data = TranslationData(TINY)
    data.sets = {
        kind: types.SimpleNamespace(open=lambda split, objects=objects: Rendered(objects))
        for kind, objects in (("source", [2, 3, 4]), ("target", other))
    }  # type: ignore[assignment]
    assert data.truth(3) == known


def test_figures_have_as_many_images_of_either_set():
    held_out = {"source": 8, "target": 5}
    data = types.SimpleNamespace(
        held_out=lambda kind, count: np.zeros((min(count, held_out[kind]), 8, 8, 3), np.uint8)
    )
    networks = types.SimpleNamespace(
        weights=lambda state: {},
        most_images=lambda data: 5,
        plain=None,
        with_attention=None,
    )
    now = types.SimpleNamespace(state=None)
    draw = LatestTranslators.figures(networks, data, now)  # type: ignore[arg-type]
    assert {
        kind: len(images) for kind, images in draw.keywords["held_out"].items()
    } == dict.fromkeys(held_out, 5)


def test_a_run_measures_both_directions_and_draws_them(run):
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    measured = [record for record in records if "metric/swd" in record]
    assert [record["step"] for record in measured] == [0, 4]
    for name in ("swd", "back_swd", "error", "back_error"):
        assert measured[-1][f"metric/{name}"] > 0
    for name in ("00000004.png", "00000004-attention.png"):
        with Image.open(run / "samples" / name) as image:
            assert np.asarray(image).std() > 1


def test_images_are_translated_and_kept(capsys, tmp_path, run):
    random, photos = np.random.default_rng(0), tmp_path / "photos"
    for name in ("one.png", "more/one.png", "two.png"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 50, 3), np.uint8)).save(photos / name)
    (photos / "broken.png").write_bytes(b"no image")
    command = ["sample", "--workdir", str(run), "--images", str(photos), "--batch-size", "2"]
    out = tmp_path / "out"
    _, said, _ = call(capsys, *command, "--out", str(out))
    assert "skipped broken.png" in said and f"3 images in {out}" in said
    assert {path.name for path in out.glob("*.png")} == {"one.png", "one-1.png", "two.png"}
    for name in ("out-grid.png", "out-attention.png"):
        assert (tmp_path / name).exists()
    with Image.open(out / "two.png") as image:
        first = np.asarray(image)
    assert "3 of 4 images are in" in call(capsys, *command, "--out", str(out))[1]
    photo = photos / "two.png"
    kept = photo.read_bytes()
    photo.write_bytes((photos / "one.png").read_bytes())  # another image of the same name
    said = complaint(capsys, *command, "--out", str(out))
    assert "two.png would be replaced by other images" in said
    photo.write_bytes(kept)
    call(capsys, *command, "--back", "--out", str(tmp_path / "back"))
    with Image.open(tmp_path / "back" / "two.png") as image:
        assert first.shape == (32, 32, 3) and not np.array_equal(first, np.asarray(image))


def test_commands_of_gans_say_that_a_run_is_of_a_translation(capsys, run, tmp_path):
    said = complaint(capsys, "sample", "--workdir", str(run))
    assert "is of kind translation, but a GAN is needed: use `sample --images`" in said
    said = complaint(capsys, "export", "--workdir", str(run), "--out", str(tmp_path / "x"))
    assert "is of kind translation" in said
    said = complaint(capsys, "sample", "--workdir", str(run), "--images", "x", "--seeds", "1")
    assert "--seeds cannot be combined with --images: leave it out" in said
    said = complaint(capsys, "sample", "--workdir", str(run), "--back")
    assert "--back needs --images" in said
    said = complaint(capsys, "sample", "--workdir", str(run), "--images", str(tmp_path / "none"))
    assert "none" in said
    said = complaint(capsys, "train", "--config", "scenes_translation", "--init-from", str(run))
    assert "--init-from is for GANs" in said


def test_metrics_that_cannot_be_measured_are_refused_at_once(capsys, folder, run):
    few = ["--train.metrics", "rfid", "--workdir", str(folder / "few")]
    said = complaint(capsys, *arguments(folder, *few))
    assert "train.metrics: rfid8 needs 2049 images or more, not 8" in said
    assert not (folder / "few").exists()


def test_no_translation_counts_twice(capsys, folder):
    """Metrics of features would take copies for variety that is not there."""
    more = ["--train.metrics", "rkid5k", "--workdir", str(folder / "few")]
    said = complaint(capsys, *arguments(folder, *more))
    assert "train.metrics: rkid5k needs 5000 images; the held-out split has 8" in said
    assert not (folder / "few").exists()


def test_evaluate_measures_what_training_logged(capsys, run):
    assert_evaluated_as_logged(capsys, run, "translation")


def test_images_to_translate_that_were_moved_have_to_be_put_back(capsys, run, tmp_path):
    """`--real` was advised, which names the target's images."""
    moved = tmp_path / "run"
    shutil.copytree(run, moved)
    config = json.loads((moved / "config.json").read_text())
    config["data"]["name"] = "data/moved"
    (moved / "config.json").write_text(json.dumps(config))
    command = ["evaluate", "--workdir", str(moved), "--metrics", "swd8"]
    said = complaint(capsys, *command, "--real", str(tmp_path))
    assert "data/moved" in said and "if it was moved, put it or a link to it back" in said


def test_a_run_has_a_report(capsys, run):
    call(capsys, "report", str(run))
    page = (run / "report.html").read_text()
    assert "--config scenes_translation" in page and "32 × 32" in page
    assert "Held-out images of both sets" in page and "Attention of the first samples" in page


def test_programs_are_compiled_before_training(capsys, folder):
    _, said, _ = call(capsys, *arguments(folder, "--compile-only"))
    for name in ("translation", "first state", "translations"):
        assert f"{name}: " in said
