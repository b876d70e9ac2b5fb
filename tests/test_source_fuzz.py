"""Damaged archives and images of every kind: read, left out, or refused; never another error."""

import contextlib
import random

import numpy as np
import pytest
from images import encoded, make_tar, make_zip, png
from PIL import Image
from published_archives import write_cifar, write_idx, write_nested, write_parquet, write_webdataset

from ganformer_jax.data.decode import decode, no_warnings
from ganformer_jax.data.labeling import find_labels
from ganformer_jax.data.sources.open import open_source
from ganformer_jax.data.sources.source import Unreadable
from ganformer_jax.errors import UserError

MEMBERS = {"a/1.png": png(1), "b/2.png": png(2), "dataset.json": b'{"labels": [["a/1.png", 1990]]}'}
DEEP = encoded(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 60), "PNG")
MAKERS = {
    "zip": lambda folder: make_zip(folder / "x.zip", MEMBERS),
    "tar": lambda folder: make_tar(folder / "x.tar", MEMBERS),
    "tar.gz": lambda folder: make_tar(folder / "x.tar.gz", MEMBERS, "w:gz"),
    "cifar": lambda folder: write_cifar(folder / "cifar-10-python.tar.gz"),
    "cifar binary": lambda folder: write_cifar(folder / "cifar-100-binary.tar.gz", 100, True),
    "idx": lambda folder: write_idx(folder / "mnist", end="-idx{}-ubyte"),
    "nested": lambda folder: write_nested(folder / "train.tar"),
    "webdataset": lambda folder: write_webdataset(folder / "shards"),
    "parquet": lambda folder: write_parquet(folder / "train.parquet"),
    "deep": lambda folder: make_zip(folder / "deep.zip", {"1.png": DEEP, "2.png": DEEP}),
}


def damaged(contents: bytes, chance: random.Random) -> bytes:
    """Change some bytes, cut the end off, or repeat a part."""
    data = bytearray(contents)
    kind = chance.random()
    if kind < 0.2:
        return bytes(data[: chance.randrange(len(data))])
    if kind < 0.3:
        at = chance.randrange(len(data))
        return bytes(data[:at] + data[at // 2 : at] + data[at:])
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def read_all(path) -> tuple[int, list[str]] | None:
    """Read a source; return its entries and why others are left out, None if it is refused."""
    try:
        with open_source(str(path)) as source, no_warnings():
            for index in range(len(source)):
                with contextlib.suppress(Unreadable):
                    decode(source.read(index), (0.0, 4095.0) if index % 2 else None)
            found = len(source), [reason for _, reason in source.skipped]
            find_labels(source, "auto")
    except UserError as error:
        assert str(error) and "\n" not in str(error)
        return None
    return found


@pytest.mark.parametrize("kind", MAKERS)
def test_damaged_sources(tmp_path, report_line, kind):
    path = MAKERS[kind](tmp_path)
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    whole, chance, outcomes = [file.read_bytes() for file in files], random.Random(kind), []
    undamaged = read_all(path)
    assert undamaged is not None
    count, reasons = undamaged
    for _ in range(300):
        which = chance.randrange(len(files))
        files[which].write_bytes(damaged(whole[which], chance))
        outcomes.append(read_all(path))
        files[which].write_bytes(whole[which])
    read = [outcome for outcome in outcomes if outcome is not None]
    silent = [one for one in read if one[0] < count and not set(one[1]) - set(reasons)]
    assert read and not silent, "what is lost is said"
    report_line(f"{kind}: of 300 damaged, {len(read)} read, {300 - len(read)} refused")
