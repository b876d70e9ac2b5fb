"""Weights by name from files of torch.save, safetensors and NumPy, valid and damaged."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors import numpy as safetensors

from ganformer_jax.convert.state_dict import read_state_dict
from ganformer_jax.errors import UserError

DATA = Path(__file__).parent / "data"
EXPECTED = dict(np.load(DATA / "state-dict.npz"))
ARCHIVE = DATA / "state-dict.pth"


def check_same(found):
    assert list(found) == list(EXPECTED)
    for name, array in EXPECTED.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("name", ["state-dict.pth", "state-dict-legacy.pth", "state-dict.npz"])
def test_files_written_by_torch_and_numpy(name):
    """The two .pth were written by PyTorch 2.13: views, half floats, scalars, empty tensors."""
    check_same(read_state_dict(DATA / name))


def test_safetensors(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(safetensors.save({k: v.copy(order="C") for k, v in EXPECTED.items()}))
    found = read_state_dict(path)
    check_same({name: found[name] for name in EXPECTED})


def rewritten(tmp_path, change, compression=zipfile.ZIP_STORED):
    """The archive with other contents: `change` maps a name and bytes to new bytes or None."""
    path = tmp_path / "changed.pth"
    with zipfile.ZipFile(ARCHIVE) as old, zipfile.ZipFile(path, "w", compression) as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return path


def refused(path):
    with pytest.raises(UserError) as raised:
        read_state_dict(path)
    assert "\n" not in str(raised.value) and str(path) in str(raised.value)
    return str(raised.value)


def replaced(ending, content):
    return lambda name, data: content if name.endswith(ending) else data


class Call:
    def __reduce__(self):
        return print, ("called",)


@pytest.mark.parametrize(
    ("ending", "content", "message"),
    [
        ("data/0", None, "no data for the storage"),
        ("data/0", b"\0" * 8, "too few elements"),
        ("data/0", b"\0" * 7, "damaged"),
        ("byteorder", b"big", "big-endian"),
        ("data.pkl", None, "neither torch.save nor NumPy"),
        ("data.pkl", pickle.dumps(Call()), "builtins.print: not allowed"),
        ("data.pkl", pickle.dumps({"a": 3}), "a is not a tensor"),
        ("data.pkl", pickle.dumps([1, 2]), "not a dict of names"),
        ("data.pkl", b"\x80\x02", "cut short"),
    ],
)
def test_changed_archives(tmp_path, capsys, ending, content, message):
    assert message in refused(rewritten(tmp_path, replaced(ending, content)))
    assert not capsys.readouterr().out


def test_compressed_entries_are_refused(tmp_path):
    path = rewritten(tmp_path, lambda _, data: data, zipfile.ZIP_DEFLATED)
    assert "compressed" in refused(path)


@pytest.mark.parametrize("name", ["state-dict.pth", "state-dict-legacy.pth", "state-dict.npz"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_files(tmp_path, name, share):
    content = (DATA / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(share * len(content))])
    refused(path)


@pytest.mark.parametrize("name", ["state-dict.pth", "state-dict-legacy.pth"])
def test_flipped_bits_raise_one_line_or_nothing(tmp_path, name):
    content = (DATA / name).read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 300):
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(0, 8)
        path = tmp_path / name
        path.write_bytes(damaged)
        try:
            read_state_dict(path)
        except UserError as error:
            assert "\n" not in str(error)


def test_types_that_numpy_does_not_have(tmp_path):
    header = b'{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}'
    path = tmp_path / "weights.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert "float8" in refused(path)


def test_entries_of_an_npz_that_are_not_arrays(tmp_path):
    path = tmp_path / "weights.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"text")
    assert "a is not an array" in refused(path)


def test_other_files(tmp_path):
    path = tmp_path / "file"
    assert "cannot read" in refused(path)
    for content in (b"hello", pickle.dumps({"a": 1}), b"PK\x03\x04 nothing"):
        path.write_bytes(content)
        refused(path)
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([{}], object), allow_pickle=True)
    path.write_bytes(buffer.getvalue())
    assert "allow_pickle" in refused(path)
