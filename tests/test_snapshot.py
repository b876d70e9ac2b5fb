"""Published training snapshots: outputs match the references; other files are refused."""

import functools
import io
import pickle
import random
import subprocess
import sys
import types
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import DATA, relative_error

from ganformer_jax.convert import snapshot as snapshots
from ganformer_jax.convert.snapshot import read_snapshot
from ganformer_jax.errors import UserError
from ganformer_jax.models import stack_attention
from ganformer_jax.pickles.limits import Budget

PYTORCH, TENSORFLOW = DATA / "official-snapshot.pkl", DATA / "official-tf-snapshot.pkl"


@pytest.fixture(autouse=True)
def exact_matmuls():
    with jax.default_matmul_precision("highest"):
        yield


def nchw(images):
    return np.asarray(images).transpose(0, 3, 1, 2)


def test_pytorch_snapshot(report_line):
    reference = np.load(DATA / "duplex_ffhq.npz")
    snapshot = read_snapshot(PYTORCH)
    generator, variables = snapshot.generator()
    run = jax.jit(functools.partial(generator.apply, noise="const"))
    images, out = run(variables, jnp.asarray(reference["in/z"]))
    errors = {
        "w": relative_error(out["w"], reference["out/ws"]),
        "image": relative_error(nchw(images), reference["out/img"]),
    }
    discriminator, discriminator_variables = snapshot.discriminator()
    logits, _ = jax.jit(discriminator.apply)(
        discriminator_variables, reference["in/real"].transpose(0, 2, 3, 1)
    )
    errors["logits"] = relative_error(logits, reference["out/logits_real"])
    report_line(f"official-snapshot.pkl: {errors}")
    assert all(error < 1e-4 for error in errors.values())
    assert snapshot.dataset["mirror_augment"] is True and snapshot.dataset["resolution"] == 32


def test_tensorflow_snapshot(report_line):
    reference = np.load(DATA / "official-tf-snapshot.npz")
    snapshot = read_snapshot(TENSORFLOW)
    generator, variables = snapshot.generator()

    @jax.jit
    def run(variables, z_BxKxD):
        images, out = generator.apply(variables, z_BxKxD, noise="const")
        truncated, _ = generator.apply(variables, z_BxKxD, noise="const", truncation_psi=0.7)
        attention = stack_attention(out["attention"], generator.config.resolution)
        return images, truncated, out["w"], attention.mean((-2, -1))

    images, truncated, w, attention = run(variables, jnp.asarray(reference["in/z"]))
    discriminator, discriminator_variables = snapshot.discriminator()
    fake = reference["out/img"].transpose(0, 2, 3, 1)
    logits, _ = jax.jit(discriminator.apply)(discriminator_variables, fake)
    errors = {
        "w": relative_error(w, reference["out/ws"]),
        "image": relative_error(nchw(images), reference["out/img"]),
        "truncated image": relative_error(nchw(truncated), reference["out/img_truncated"]),
        "mean attention": relative_error(attention, reference["out/att_mean"]),
        "logits": relative_error(logits, reference["out/logits"]),
    }
    report_line(f"official-tf-snapshot.pkl: {errors}")
    assert all(error < 1e-4 for error in errors.values())


def refusal(tmp_path, data):
    """Return the one line that reading these bytes raises."""
    path = tmp_path / "snapshot.pkl"
    path.write_bytes(data)
    with pytest.raises(UserError) as error:
        read_snapshot(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value)


def embedded(data: bytes, marker: bytes, inserted: bytes) -> bytes:
    """Insert instructions, and one that drops their result, before a marker."""
    at = data.index(marker)
    return data[:at] + inserted + b"0" + data[at:]


HOSTILE = b"\x8c\x02os\x8c\x06system\x93\x8c\x0atouch HERE\x85R"


def test_a_hostile_instruction_inside_a_real_snapshot(tmp_path):
    # In a frame, so the frame's size grows too: the last value before SETITEMS of dataset_args.
    data = PYTORCH.read_bytes()
    said = refusal(tmp_path, embedded(data, b"\x8c\x0cdataset_args", HOSTILE))
    assert "os.system: not allowed" in said
    said = refusal(tmp_path, embedded(TENSORFLOW.read_bytes(), b"\x8c\x07version", HOSTILE))
    assert "os.system: not allowed" in said


def torch_stream(inner: bytes, keys=("0",), body=b"\x01" + b"\0" * 7 + b"\0" * 4) -> bytes:
    """Wrap the pickle of one object as torch.save did before PyTorch 1.6."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = b"".join(pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, system))
    return head + inner + pickle.dumps(list(keys), 2) + body


def storage(kind=b"ctorch\nFloatStorage\n", key=b"0", size=1) -> bytes:
    parts = b"(X\x07\0\0\0storage" + kind + b"X\x01\0\0\0" + key + b"X\x03\0\0\0cpu"
    return b"\x80\x02" + parts + b"\x8a\x08" + size.to_bytes(8, "little") + b"NtQ."


def with_stream(stream: bytes) -> bytes:
    raw = b"B" + len(stream).to_bytes(4, "little") + stream
    return b"\x80\x04\x8c\x0dtorch.storage\x8c\x10_load_from_bytes\x93" + raw + b"\x85R."


def test_streams_inside_tensors(tmp_path):
    # A valid stream is read, but is not a snapshot.
    assert "neither a dict" in refusal(tmp_path, with_stream(torch_stream(storage())))
    hostile = b"\x80\x02cposix\nsystem\nX\x04\0\0\0true\x85R."
    assert "posix.system: not allowed" in refusal(tmp_path, with_stream(torch_stream(hostile)))
    nested = with_stream(torch_stream(with_stream(torch_stream(storage()))))
    assert "torch.storage._load_from_bytes: not allowed" in refusal(tmp_path, nested)
    kinds = storage(kind=b"ctorch\nFloatStorage2\n"), storage(kind=b"cposix\nsystem\n")
    for kind in kinds:
        assert "not allowed" in refusal(tmp_path, with_stream(torch_stream(kind)))


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (torch_stream(storage(size=2**40)), "cut short"),
        (torch_stream(storage(size=2)), "cut short"),
        (torch_stream(storage(), body=b"\x02" + b"\0" * 15), "another size"),
        (torch_stream(storage(), keys=("1",)), "not those its object names"),
        (torch_stream(storage(), keys=("0", "0")), "not those its object names"),
        (torch_stream(storage(kind=b"N")), "not a storage"),
        (torch_stream(b"\x80\x02N."), "not those its object names"),
        (b"\x80\x02N.\x80\x02N.\x80\x02N.", "not a stream of torch.save"),
        (b"", "cut short"),
    ],
)
def test_damaged_streams(tmp_path, stream, message):
    assert message in refusal(tmp_path, with_stream(stream))


def test_reading_one_stream_many_times_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "Budget", lambda size: Budget(size, 1000))
    stream = torch_stream(storage(size=1000), body=(1000).to_bytes(8, "little") + b"\0" * 4000)
    raw = b"B" + len(stream).to_bytes(4, "little") + stream
    load = b"\x8c\x0dtorch.storage\x8c\x10_load_from_bytes\x93q\x00" + raw + b"q\x01"

    def data(count):
        return b"\x80\x04](" + load + b"h\x00h\x01\x85R" * count + b"e."

    assert "neither a dict" in refusal(tmp_path, data(3))
    assert "more work" in refusal(tmp_path, data(100))


@pytest.mark.parametrize("size", [0, 1, 10, 1000, 100_000, 500_000])
@pytest.mark.parametrize("path", [PYTORCH, TENSORFLOW])
def test_truncated(tmp_path, path, size):
    said = refusal(tmp_path, path.read_bytes()[:size])
    assert ("is empty" if size == 0 else "cut short") in said


def test_other_files(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_snapshot(tmp_path / "absent")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    assert "zip archive" in refusal(tmp_path, buffer.getvalue())
    assert "does not start like a pickle" in refusal(tmp_path, b"\x89PNG\r\n\x1a\n" + b"x" * 100)
    assert "no network G and no D and no G_ema" in refusal(tmp_path, pickle.dumps({}))
    assert "the generator is not a network" in refusal(tmp_path, pickle.dumps((1, 2, 3)))
    assert "neither a dict" in refusal(tmp_path, pickle.dumps([1]))
    assert "5 bytes follow" in refusal(tmp_path, PYTORCH.read_bytes() + b"extra")


MEASURE = """
import sys
from ganformer_jax.convert import snapshot as snapshots

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

network = snapshots.read_snapshot(sys.argv[1]).networks["generator"]  # warms up
before = peak()
found = snapshots.read_snapshot(sys.argv[2])
total = sum(float(a.sum()) for n in found.networks.values() for a in n.arrays.values())
print(peak() - before)
"""


def tensorflow_networks(monkeypatch, *variables):
    """Return objects that pickle as the published networks do, with these variables."""
    module = types.ModuleType("dnnlib.tflib.network")
    module.Network = type("Network", (), {"__module__": module.__name__})
    for name in ("dnnlib", "dnnlib.tflib"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    networks = tuple(module.Network() for _ in variables)
    for network, own in zip(networks, variables, strict=True):
        vars(network).update(static_kwargs={"resolution": 32}, components={}, variables=own)
    return networks


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_within_twice_the_file(tmp_path, monkeypatch, report_line):
    arrays = [(f"array{i}", np.ones((1024, 4096), np.float32)) for i in range(6)]
    path = tmp_path / "large.pkl"
    networks = tensorflow_networks(monkeypatch, arrays[:2], arrays[2:4], arrays[4:])
    path.write_bytes(pickle.dumps(networks, 4))
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(TENSORFLOW), str(path)],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    ratio = int(result.stdout) / path.stat().st_size
    report_line(f"memory to read a snapshot and add up its numbers: {ratio:.2f} times its size")
    assert 0.5 < ratio < 2  # the numbers themselves are read once


def test_repeated_names_are_refused(tmp_path, monkeypatch):
    zero = np.zeros(1, np.float32)
    networks = tensorflow_networks(monkeypatch, *[[("x", zero), ("x", zero)]] * 3)
    assert "two arrays are called x" in refusal(tmp_path, pickle.dumps(networks, 4))


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Change, drop, repeat or move a few bytes, more often near the start."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = int(len(changed) * rng.random() ** rng.choice((1, 4)))
        length = rng.choice((1, 1, 2, 8, 100))
        piece = changed[at : at + length]
        kind = rng.randrange(5)
        if kind == 0:
            changed[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del changed[at : at + length]
        elif kind == 2:
            changed[at:at] = piece
        elif kind == 3:
            to = rng.randrange(len(changed))
            changed[to : to + length] = piece
        elif at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
    return bytes(changed)


def check_mutants(tmp_path, seeds, convert_every):
    """Check that every mutant is read or refused in one line and writes no files."""
    folder = tmp_path / "only"
    folder.mkdir()
    path, outcomes = folder / "snapshot.pkl", {"read": 0, "refused": 0}
    originals = [p.read_bytes() for p in (PYTORCH, TENSORFLOW)]
    for seed in seeds:
        path.write_bytes(mutated(originals[seed % 2], random.Random(seed)))
        try:
            snapshot = read_snapshot(path)
            if outcomes["read"] % convert_every == 0:
                snapshot.generator()
                snapshot.discriminator()
            outcomes["read"] += 1
        except UserError as error:
            assert "\n" not in str(error), seed
            outcomes["refused"] += 1
    assert [p.name for p in folder.iterdir()] == ["snapshot.pkl"]
    return outcomes


def test_mutants(tmp_path, report_line):
    outcomes = check_mutants(tmp_path, range(150), 50)
    report_line(f"150 mutated snapshots: {outcomes}")
    assert min(outcomes.values()) > 10


@pytest.mark.slow
def test_many_mutants(tmp_path, report_line):
    outcomes = check_mutants(tmp_path, range(1000, 5000), 20)
    report_line(f"4,000 mutated snapshots: {outcomes}")
    assert min(outcomes.values()) > 300


def test_weights_stay_when_their_file_changes(tmp_path):
    path = tmp_path / "snapshot.pkl"
    path.write_bytes(PYTORCH.read_bytes())
    _, variables = read_snapshot(path).generator()
    before = jax.tree.map(np.array, variables)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    jax.tree.map(np.testing.assert_array_equal, variables, before)
