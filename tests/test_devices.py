"""Which devices are found, and how the CPU is divided, in processes of their own."""

import dataclasses
import os
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from ganformer_jax.errors import TemporaryError, UserError
from ganformer_jax.train.devices import (
    find_devices,
    largest_divisor,
    place_on,
    runs_on_cpu,
    usable_cores,
)
from ganformer_jax.train.logs.history import History
from ganformer_jax.train.run_folder import check_accelerator

COUNT = """
import sys
import jax
from ganformer_jax.config import Config, LossConfig, TrainConfig
from ganformer_jax.train import devices as module

module.usable_cores = lambda: 4
shrunk = LossConfig(path_length_weight=2.0, path_length_batch_shrink=2)
loss = shrunk if "shrunk" in sys.argv else LossConfig()
devices = 2 if "asked" in sys.argv else None
config = Config(loss=loss, train=TrainConfig(batch_size=12, devices=devices))
if "late" in sys.argv:
    jax.devices()
module.divide_cpu(module.smallest_batch(config), devices)
print(len(jax.devices()))
"""


def counted(*words, **variables):
    drop = ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
    environment = {k: v for k, v in os.environ.items() if k not in drop}
    command = [sys.executable, "-c", COUNT, *words]
    return int(subprocess.check_output(command, env=environment | variables, text=True))


@pytest.mark.parametrize(
    ("words", "variables", "expected"),
    [
        ((), {}, 4),
        (("shrunk",), {}, 3),  # halves of the batch, 6 images, have to divide too
        (("asked",), {}, 2),
        (("late",), {}, 1),
        ((), {"JAX_NUM_CPU_DEVICES": "1"}, 1),
        ((), {"XLA_FLAGS": "--xla_force_host_platform_device_count=6"}, 6),
    ],
)
def test_a_device_for_every_core_unless_the_user_chose(words, variables, expected):
    assert counted(*words, **variables) == expected


def test_largest_divisor():
    for number in range(1, 40):
        for limit in range(1, 40):
            found = largest_divisor(number, limit)
            assert number % found == 0 and found <= limit
            assert all(number % n for n in range(found + 1, min(number, limit) + 1))
    assert largest_divisor(0, 4) == 1  # an empty batch is refused elsewhere


def test_usable_cores_follow_the_affinity():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no affinity to set")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert usable_cores() == len(before)


@pytest.mark.parametrize(
    ("asked", "variable", "expected"),
    [("cpu", "", True), ("gpu", "", False), (None, "cpu", True), (None, "cuda,cpu", False)],
)
def test_only_the_cpu_where_it_is_asked_for(asked, variable, expected, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", variable)
    assert runs_on_cpu(asked) == expected


@pytest.mark.parametrize("plugins", [[], ["xla_cuda13"]])
def test_only_the_cpu_where_no_accelerator_is_installed(plugins, monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: plugins)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert runs_on_cpu(None) == (not plugins)


@pytest.mark.parametrize("name", ["cuda", "rocm", "gpu", "cpu"])
def test_a_gpu_goes_by_several_names(monkeypatch, name):
    monkeypatch.setattr(jax, "devices", lambda: [types.SimpleNamespace(platform=name)])
    before = getattr(jax.config, "jax_platforms", None)
    if name == "cpu":
        with pytest.raises(UserError, match="no gpu found: jax runs on cpu here"):
            find_devices("gpu")
    else:
        assert find_devices("gpu")[0].platform == name
    assert getattr(jax.config, "jax_platforms", None) == before


BUSY = {"tpu": "ABORTED: the lockfile\n is taken"}


def test_an_accelerator_that_fails_is_a_temporary_error(monkeypatch):
    monkeypatch.setattr(jax, "devices", lambda: [types.SimpleNamespace(platform="cpu")])
    monkeypatch.setattr("jax._src.xla_bridge._backend_errors", {})
    with pytest.raises(UserError, match="pip install") as caught:
        find_devices("gpu")
    assert not isinstance(caught.value, TemporaryError)
    monkeypatch.setattr("jax._src.xla_bridge._backend_errors", BUSY)  # of another accelerator
    with pytest.raises(UserError, match="pip install"):
        find_devices("gpu")
    monkeypatch.setattr("jax._src.xla_bridge._backend_errors", {**BUSY, "cuda": "no driver"})
    with pytest.raises(TemporaryError, match="no gpu found: jax says cuda: no driver$"):
        find_devices("gpu")


@pytest.mark.parametrize(
    ("before", "found", "asked", "passes"),
    [
        ("8 TPU v5e devices", "cpu", None, False),
        ("8 TPU v5e devices", "cpu", "cpu", True),
        ("8 TPU v5e devices", "tpu", None, True),
        ("2 cpu devices", "cpu", None, True),
        (None, "cpu", None, True),
    ],
)
def test_a_run_of_accelerators_does_not_go_on_on_the_cpu_unasked(
    before, found, asked, passes, monkeypatch, tmp_path
):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: ["xla_cuda13"])
    monkeypatch.setattr("jax._src.xla_bridge._backend_errors", BUSY)
    if before:
        for devices in ("2 cpu devices", before):
            History(tmp_path, {"devices": devices}).add("started", 0, 0)
    devices = [types.SimpleNamespace(platform=found)]
    if passes:
        check_accelerator(tmp_path, devices, asked)
    else:
        words = "trained on 8 TPU v5e devices, and now jax says tpu: ABORTED.*--train.platform cpu"
        with pytest.raises(TemporaryError, match=words):
            check_accelerator(tmp_path, devices, asked)


# Meshes


@dataclasses.dataclass(frozen=True)
class ChipOfHost:
    """All that a mesh needs of a device."""

    id: int
    process_index: int
    platform: str = "tpu"
    device_kind: str = "described"


def hosts(count, local, interleaved=False):
    """Devices of several processes, whose numbers on a TPU slice are not in that order."""
    number = (lambda i: i % count) if interleaved else (lambda i: i // local)
    return [ChipOfHost(i, number(i)) for i in range(count * local)]


def test_batches_are_rounded_up_to_the_devices():
    placement = place_on(hosts(2, 4))
    assert [placement.rounded(size) for size in (1, 8, 9)] == [8, 8, 16]


def test_one_axis_unless_devices_share_a_copy_of_the_state():
    placement = place_on(jax.devices()[:1])
    assert placement.batch.mesh.axis_names == ("data",)
    assert placement.batch.spec == PartitionSpec("data")
    whole = place_on(hosts(1, 8)).state_shardings(np.zeros((512, 512)))
    assert whole.spec == PartitionSpec()


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("fsdp", [1, 2, 4, 8])
def test_rows_of_a_batch_follow_the_processes(fsdp, interleaved):
    """Each process reads one block of rows, in the order of their numbers."""
    placement = place_on(hosts(4, 4, interleaved), fsdp)
    rows = np.asarray(placement.batch.mesh.devices)
    assert rows.size == 16 and placement.devices == tuple(rows.flat)
    processes = [device.process_index for device in rows.flat]
    assert processes == sorted(processes)
    if fsdp in (2, 4):  # a copy of the state stays inside a host
        assert all(len({device.process_index for device in row}) == 1 for row in rows)


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((3, 3, 512, 256), (None, None, "fsdp")),  # the largest dimension
        ((3, 3, 512, 512), (None, None, None, "fsdp")),  # the last of equals
        ((8192, 513), ("fsdp",)),
        ((514, 64), (None, "fsdp")),  # the largest that four divides
        ((1021, 1021), ()),
        ((2**14 - 4,), ()),  # not worth it
        ((2**14,), ("fsdp",)),
        ((), ()),
    ],
)
def test_large_arrays_are_divided_along_their_largest_dimension(shape, spec):
    placement = place_on(hosts(2, 4), 4)
    tree = {"leaf": jax.ShapeDtypeStruct(shape, np.float32)}
    assert tuple(placement.state_shardings(tree)["leaf"].spec) == (
        spec + (None,) * (len(shape) - len(spec)) if spec else ()
    )


@pytest.mark.parametrize(("fsdp", "words"), [(3, "use 2"), (16, "use 8"), (0, "use 1")])
def test_devices_that_share_a_copy_divide_all(fsdp, words):
    with pytest.raises(UserError, match=f"train.fsdp is {fsdp}.* 8 devices; {words}"):
        place_on(hosts(2, 4), fsdp)


def test_devices_of_every_process_or_none(monkeypatch):
    devices = [types.SimpleNamespace(platform="cpu", process_index=i // 4) for i in range(8)]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    monkeypatch.setattr("ganformer_jax.hosts.count", lambda: 2)
    assert [device.process_index for device in find_devices(count=4)] == [0, 0, 1, 1]
    with pytest.raises(UserError, match="3, which the 2 processes cannot share equally"):
        find_devices(count=3)
