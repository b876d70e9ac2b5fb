"""Tiny datasets in the layouts that others are published in."""

import gzip
import io
import json
import struct
import tarfile

import numpy as np
from images import png, tar_member

CIFAR_FOLDERS = {
    (10, False): "cifar-10-batches-py",
    (10, True): "cifar-10-batches-bin",
    (100, False): "cifar-100-python",
    (100, True): "cifar-100-binary",
}


def python2_pickle(value) -> bytes:
    """Pickle as Python 2 did, with protocol 2: text and arrays are byte strings."""
    return b"\x80\x02" + _pickled(value) + b"."


def _pickled(value) -> bytes:
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, str):
        value = value.encode("latin-1")
    if isinstance(value, bytes):
        short = len(value) < 256
        return (
            b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<i", len(value))
        ) + value
    if isinstance(value, list):
        return b"](" + b"".join(map(_pickled, value)) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_pickled, value)) + b"t"
    if isinstance(value, dict):
        items = b"".join(_pickled(key) + _pickled(item) for key, item in value.items())
        return b"}(" + items + b"u"
    dtype = b"cnumpy\ndtype\n" + _pickled(("u1", 0, 1)) + b"R"
    dtype += _pickled((3, "|", None, None, None, -1, -1, 0)) + b"b"
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
    made += _pickled((0,)) + _pickled("b") + b"tR"
    shape, stored = _pickled(value.shape), _pickled(value.tobytes())
    return made + b"(" + _pickled(1) + shape + dtype + b"\x89" + stored + b"tb"


def cifar_images(count: int, seed: int) -> np.ndarray:
    """Return rows of pixels as CIFAR stores them."""
    return np.random.default_rng(seed).integers(0, 256, (count, 3072)).astype(np.uint8)


def cifar_files(classes: int, is_binary: bool, count: int = 3) -> dict[str, bytes]:
    """Return contents by file name; image i of file f has the class (i + 7 f) % classes."""
    ten = classes == 10
    files = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"] if ten else ["train", "test"]
    names = [f"name{number}" for number in range(classes)]
    made: dict[str, bytes] = {}
    for seed, file in enumerate(files):
        pixels, numbers = (
            cifar_images(count, seed),
            [(i + 7 * seed) % classes for i in range(count)],
        )
        if is_binary:
            coarse = [] if ten else [np.zeros((count, 1), np.uint8)]
            own = np.array(numbers, np.uint8)[:, None]
            made[f"{file}.bin"] = np.concatenate([*coarse, own, pixels], 1).tobytes()
            continue
        labels = (
            {"labels": numbers} if ten else {"fine_labels": numbers, "coarse_labels": [0] * count}
        )
        made[file] = python2_pickle({"batch_label": file, **labels, "data": pixels})
    if is_binary:
        key = "batches.meta.txt" if ten else "fine_label_names.txt"
        made[key] = ("\n".join(names) + "\n\n").encode()
    else:
        key = "label_names" if ten else "fine_label_names"
        made["batches.meta" if ten else "meta"] = python2_pickle({key: names})
    return made


def write_cifar(path, classes=10, is_binary=False, files=None):
    """Write a gzipped tar of CIFAR, or a folder if the path has no suffix."""
    files = cifar_files(classes, is_binary) if files is None else files
    if not path.suffix:
        path.mkdir(parents=True, exist_ok=True)
        for name, contents in files.items():
            (path / name).write_bytes(contents)
        return path
    folder = CIFAR_FOLDERS[classes, is_binary]
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(*tar_member(folder, type=tarfile.DIRTYPE))
        for name in sorted(files, reverse=True):
            archive.addfile(*tar_member(f"{folder}/{name}", files[name]))
    return path


def idx(array: np.ndarray) -> bytes:
    """Encode unsigned bytes as IDX."""
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def idx_images(count: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 6)).astype(np.uint8)


def write_idx(folder, start="train", count=5, seed=0, end="-idx{}-ubyte.gz", classes=None):
    """Write images and labels; return the path of the images."""
    folder.mkdir(parents=True, exist_ok=True)
    pack = gzip.compress if end.endswith(".gz") else bytes
    classes = np.arange(count) % 3 if classes is None else np.array(classes)
    images = folder / f"{start}-images{end.format(3)}"
    images.write_bytes(pack(idx(idx_images(count, seed))))
    (folder / f"{start}-labels{end.format(1)}").write_bytes(pack(idx(classes.astype(np.uint8))))
    return images


def tar_bytes(members, mode="w") -> bytes:
    """Return a tar of contents by name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, contents in members.items():
            archive.addfile(*tar_member(name, contents))
    return buffer.getvalue()


def write_nested(path, mode="w", extra=None):
    """Write a tar of three tars with two images each, of levels 10, 20, ... in order."""
    inner = {
        f"n0{number}.tar": tar_bytes(
            {f"n0{number}_{i}.JPEG": png(10 * (2 * row + i + 1)) for i in range(2)}
        )
        for row, number in enumerate((3, 1, 2))
    }
    path.write_bytes(tar_bytes(inner | (extra or {}), mode))
    return path


def write_webdataset(folder, shards=2, samples=3, pattern="pets-{:06d}.tar", classes=None):
    """Write shards; the images have the levels 0, 10, 20, ... in order."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        members = {}
        for i in range(shard * samples, (shard + 1) * samples):
            members[f"{i:04d}.json"] = b"{}"
            members[f"{i:04d}.cls"] = str(i % 2 if classes is None else classes[i]).encode()
            members[f"{i:04d}.png"] = png(10 * i)
        (folder / pattern.format(shard)).write_bytes(tar_bytes(members))
    return folder


def write_parquet(
    path, levels=range(6), kind="struct", names=("cat", "dog"), compression="snappy", **columns
):
    """Write a file as Hugging Face does; image i has a level, and the class i % 2."""
    import pyarrow
    import pyarrow.parquet

    encoded = [png(10 * level) for level in levels]
    images = {
        "struct": pyarrow.array(
            [{"bytes": image, "path": f"{i}.png"} for i, image in enumerate(encoded)],
            pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()}),
        ),
        "binary": pyarrow.array(encoded, pyarrow.binary()),
        "large": pyarrow.array(encoded, pyarrow.large_binary()),
    }[kind]
    table = {"image": images, "label": pyarrow.array([i % 2 for i in range(len(encoded))])}
    made = pyarrow.table(table | columns)
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        made = made.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(made, path, row_group_size=4, compression=compression)
    return path
