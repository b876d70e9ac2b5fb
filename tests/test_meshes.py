"""Eight devices compute what one computes, an eighth each, however they divide the state.

One process with eight devices compiles the updates on every mesh and compares results; it reports
the operations, the bytes and the communication of each compiled program.
"""

import dataclasses
import itertools
import json
import pathlib
import tempfile
from typing import Any

import jax
import numpy as np
import pytest
from collectives import Collective, collectives
from eight_devices import on_eight_devices
from tiny import CLASSES, FULL, labeled_batch
from training import assert_close, gan_programs, on_host, run_steps, sgd

from ganformer_jax.train.checkpoints.checkpoints import Checkpoints
from ganformer_jax.train.checkpoints.checksums import by_path
from ganformer_jax.train.prefetch import place_batch

WIDTH, WIDER, BATCH, DEVICES, GROUP = 8, 32, 64, 8, FULL.discriminator.minibatch_stddev_group
SHARDED_SIZE = 64  # elements: all kernels of these networks
MESHES = {"data 8": 1, "fsdp 8": 8}
WHOLE = ("data 8",)  # of which all updates are compiled


def config(width, parts=1, path_length=0.0, contrastive=0.0, components=2):
    """R1; channels that eight devices divide; a batch that is most of the work."""
    wide = {"channel_base": 8 * width, "channel_max": width}
    synthesis = dataclasses.replace(FULL.generator.synthesis, **wide)
    return dataclasses.replace(
        FULL,
        generator=dataclasses.replace(FULL.generator, synthesis=synthesis, components=components),
        discriminator=dataclasses.replace(FULL.discriminator, **wide),
        loss=dataclasses.replace(
            FULL.loss,
            path_length_weight=path_length,
            mismatch_weight=0.0,
            contrastive_weight=contrastive,
        ),
        train=dataclasses.replace(FULL.train, batch_size=BATCH, accumulate=parts),
    )


# In the process with eight devices


def programs_on(count, fsdp=1, **options):
    devices, sharding = jax.devices()[:count], {"fsdp": fsdp, "sharded_size": SHARDED_SIZE}
    return gan_programs(config(**{"width": WIDTH, **options}), devices, sgd(), **sharding)


def report_meshes(components):
    """Compare meshes with one device, and print a report on each as JSON.

    All updates on those in `WHOLE`; the adversarial one on the others.
    """
    batches = [labeled_batch(0, BATCH), labeled_batch(1, BATCH)]  # with every regularizer, without
    one = programs_on(1, components=components)
    expected, first = run_steps(one, batches), after(one, one.compiled[-1].function)
    report = {"one": programs_report(one, one.compiled)}
    for name, fsdp in MESHES.items():
        programs = programs_on(DEVICES, fsdp, components=components)
        if name in WHOLE:
            assert_close(expected, run_steps(programs, batches))
            report[name] = programs_report(programs, programs.compiled)
        else:
            report[name] = compared(programs, first)
    compare_restored(programs, one)
    print(json.dumps(report))


def report_more_meshes():
    """Compare the adversarial update alone, on other meshes and of a batch in parts."""
    one = programs_on(1)
    first = after(one, adversarial(one))
    compared(programs_on(DEVICES, 2), first)
    compared(programs_on(2), first)
    report = {"in parts": compared(programs_on(4, parts=2), first)}
    one = programs_on(1, contrastive=0.5)  # images of a device beside the labels of all
    first = after(one, adversarial(one))
    compared(programs_on(DEVICES, 2, contrastive=0.5), first)
    compared(programs_on(4, parts=2, contrastive=0.5), first)
    print(json.dumps(report))


def report_path_length_updates():
    """Compare every update of eight devices with one, state whole and divided, and report."""
    batches = [labeled_batch(0, BATCH), labeled_batch(1, BATCH)]
    one = programs_on(1, path_length=2.0)
    expected, report = run_steps(one, batches), {"one": programs_report(one, one.compiled)}
    for name, fsdp in MESHES.items():
        programs = programs_on(DEVICES, fsdp, path_length=2.0)
        assert_close(expected, run_steps(programs, batches))
        report[name] = programs_report(programs, programs.compiled)
    print(json.dumps(report))


def compared(programs, first):
    """Compare the adversarial update alone, and report on it."""
    program = adversarial(programs)
    assert_close(first, after(programs, program))
    update = dataclasses.replace(programs.trainable.updates[-1], function=program)
    return programs_report(programs, [update])


def adversarial(programs):
    """The compiled program of the adversarial update."""
    function = programs.trainable.updates[-1].function
    return programs.lower(function, programs.abstract_state(), programs.abstract_batch()).compile()


def after(programs, program):
    """State and info after one program."""
    names, sharding = programs.trainable.batch, programs.placement.batch
    batch = place_batch(labeled_batch(0, BATCH), names, sharding)
    return on_host(program(programs.init(jax.random.key(0)), batch))


def report_path_lengths():
    """Print the operations of path lengths on one device and on each of eight.

    XLA fuses the second derivatives of an eighth differently and repeats some multiplications, so
    they are counted where convolutions outweigh those.
    """
    flops = []
    for count in (1, DEVICES):
        programs = programs_on(count, width=WIDER, path_length=2.0)
        state, batch = programs.abstract_state(), programs.abstract_batch()
        function = programs.trainable.updates[0].function
        analysis: Any = programs.lower(function, state, batch).compile().cost_analysis()
        flops.append(analysis["flops"])
    print(json.dumps(flops))


def compare_restored(divided, whole):
    """A divided state resumes on one device."""
    state = divided.init(jax.random.key(0))
    with tempfile.TemporaryDirectory() as run, Checkpoints(run) as checkpoints:
        checkpoints.save(0, state, {})
        restored = checkpoints.restore(whole.abstract_state())
        compare_written(pathlib.Path(run), state)
    for before, after in zip(
        *map(jax.tree.leaves, (on_host(state), on_host(restored))), strict=True
    ):
        np.testing.assert_array_equal(before, after)


def compare_written(run, state):
    """A device writes what it holds: shards of divided arrays, others whole."""
    (path,) = run.glob("checkpoints/0/state/array_metadatas/process_0")
    arrays = [one["array_metadata"] for one in json.loads(path.read_text())["array_metadatas"]]
    written = {one["param_name"]: tuple(one["write_shape"]) for one in arrays}
    for name, leaf in by_path(state.replace(key=None)).items():
        assert written[name] == leaf.sharding.shard_shape(leaf.shape), name


def programs_report(programs, compiled):
    state = programs.init(jax.random.key(0)).replace(key=None)
    leaves = jax.tree.leaves(state)
    report = {
        "elements": {n: tree_size(getattr(state, n)) for n in ("generator", "discriminator")},
        "divided": sorted({leaf.shape for leaf in leaves if not leaf.is_fully_replicated}),
        "divided bytes": sum(leaf.nbytes for leaf in leaves if not leaf.is_fully_replicated),
        "bytes": sum(leaf.nbytes for leaf in leaves),
        "bytes of a device": sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves),
    }
    for update in compiled:
        found = collectives(update.function.as_text())
        report[update.name] = {
            "flops": update.function.cost_analysis()["flops"],
            "collectives": [dataclasses.asdict(collective) for collective in found],
        }
    return report


def tree_size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


# What it reports


@pytest.fixture(scope="module", params=[0, pytest.param(2, marks=pytest.mark.slow)])
def report(request):
    """Without components and with them, which take most of the time to compile."""
    code = f"import conftest, test_meshes; test_meshes.report_meshes({request.param})"
    printed = on_eight_devices(code)
    return json.loads(printed.splitlines()[-1])


NETWORKS = {"r1": ["discriminator"], "adversarial": ["generator", "discriminator"]}
UPDATES = pytest.mark.parametrize("update", NETWORKS)


def communication(report, mesh, update):
    """Collectives by kind."""
    found = {}
    for values in report[mesh][update]["collectives"]:
        collective = Collective(**values)
        found.setdefault(collective.kind, []).append(collective)
    return found


ALL = [(m, u) for m, u in itertools.product(MESHES, NETWORKS) if m in WHOLE or u == "adversarial"]


@pytest.mark.parametrize(("mesh", "update"), ALL)
def test_devices_do_not_communicate_in_each_iteration_of_a_loop(report, mesh, update):
    sent = report[mesh][update]["collectives"]
    assert not [each for each in sent if "/while/" in each["name"]]


@pytest.mark.parametrize(("mesh", "update"), ALL)
def test_a_device_does_its_share_of_the_work(report, mesh, update):
    share = report[mesh][update]["flops"] / report["one"][update]["flops"]
    assert 0.125 <= share < 0.125 * 1.05


@pytest.mark.slow
def test_path_lengths_on_eight_devices():
    """Their gradients travel together once; all else is scalars, and labels."""
    code = "import conftest, test_meshes; test_meshes.report_path_length_updates()"
    report = json.loads(on_eight_devices(code).splitlines()[-1])
    for mesh in MESHES:
        found = communication(report, mesh, "path_length")
        assert_of_labels(found)
        reductions, size = found["all-reduce"], report["one"]["elements"]["generator"]
        assert sum(one.elements() >= size for one in reductions) == 1
        assert len(reductions) <= 3


@pytest.mark.slow
def test_a_device_does_its_share_of_path_lengths():
    code = "import conftest, test_meshes; test_meshes.report_path_lengths()"
    one, eighth = json.loads(on_eight_devices(code).splitlines()[-1])
    assert 0.125 <= eighth / one < 0.125 * 1.05


@pytest.mark.parametrize(("mesh", "update"), ALL)
def test_gradients_of_a_network_travel_together_once(report, mesh, update):
    """All else is small: sums of minibatch-stddev groups, mean images, and scalars."""
    reductions = communication(report, mesh, update)["all-reduce"]
    smallest = min(report["one"]["elements"][network] for network in NETWORKS[update])
    assert sum(one.elements() >= smallest for one in reductions) == len(NETWORKS[update])
    for reduction in (one for one in reductions if one.elements() < smallest):
        if "diversity" in reduction.name:  # mean images of 8x8, and mean squares
            assert reduction.elements() <= 2 * (8 * 8 * 3 + 1), reduction
            continue
        groups = {shape[0] for _, shape in reduction.shapes if shape}
        assert groups <= {BATCH // GROUP // (DEVICES // GROUP)}, reduction
        assert not groups or "Discriminator._last_features" in reduction.name
    assert len(reductions) <= {"r1": 9, "adversarial": 14}[update]


def assert_of_labels(found):
    """Path lengths use the first labels of a batch, so those move to all devices."""
    permuted = found.get("collective-permute", [])
    assert {shape[-1] for one in permuted for _, shape in one.shapes} <= {CLASSES}


@UPDATES
def test_replicated_parameters_need_nothing_but_sums(report, update):
    found = communication(report, "data 8", update)
    assert set(found) - {"collective-permute"} == {"all-reduce"}
    assert_of_labels(found)


@pytest.mark.slow
def test_other_meshes_and_a_batch_in_parts_that_stays_on_its_devices():
    printed = on_eight_devices("import conftest, test_meshes; test_meshes.report_more_meshes()")
    report = json.loads(printed.splitlines()[-1])
    assert set(communication(report, "in parts", "adversarial")) == {"all-reduce"}


@pytest.mark.parametrize(("mesh", "update"), [pair for pair in ALL if MESHES[pair[0]] > 1])
def test_nothing_but_divided_parameters_is_gathered(report, mesh, update):
    found = communication(report, mesh, update)
    assert set(found) - {"collective-permute"} == {"all-reduce", "all-gather"}
    assert_of_labels(found)
    divided = {tuple(shape) for shape in report[mesh]["divided"]}
    gathered = [shape for one in found["all-gather"] for _, shape in one.shapes]
    assert {tuple(shape) for shape in gathered} <= divided


@pytest.mark.parametrize("mesh", MESHES)
def test_devices_divide_the_state(report, mesh):
    found, fsdp = report[mesh], MESHES[mesh]
    divided = found["divided bytes"]
    assert found["bytes of a device"] == found["bytes"] - divided + divided / fsdp
    assert divided > 0.8 * found["bytes"] if fsdp > 1 else divided == 0
