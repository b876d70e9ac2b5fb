"""Tars of tars, WebDataset shards, and which files of a folder or pattern belong together."""

import contextlib
import gzip
import tarfile
from pathlib import Path

import numpy as np
import pytest
from images import make_folder, png, tar_member
from published_archives import (
    tar_bytes,
    write_cifar,
    write_nested,
    write_parquet,
    write_webdataset,
)

from ganformer_jax.data.decode import decode
from ganformer_jax.data.labeling import find_labels
from ganformer_jax.data.source_images import SourceImages
from ganformer_jax.data.sources import splits, tar_scan
from ganformer_jax.data.sources.archives import TarSource
from ganformer_jax.data.sources.folder import FolderSource
from ganformer_jax.data.sources.nested_tars import NestedTarSource
from ganformer_jax.data.sources.open import open_source
from ganformer_jax.data.sources.source import Unreadable
from ganformer_jax.data.sources.webdataset import WebDatasetSource
from ganformer_jax.errors import UserError


@pytest.fixture
def opened():
    """Open sources that are closed when the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda path, **options: stack.enter_context(open_source(str(path), **options))


def complaint(path, split="train") -> str:
    with pytest.raises(UserError) as raised:
        open_source(str(path), split=split)
    message = str(raised.value)
    assert "\n" not in message and len(message) < 400
    return message


def levels(source):
    return [int(np.asarray(decode(source.read(i)).image)[0, 0, 0]) for i in range(len(source))]


def classes(source):
    labels = source.labels
    assert labels is not None
    return [labels.names[number] if number >= 0 else None for number in labels.classes]


@pytest.mark.parametrize("packed", [False, True])
def test_an_inner_tar_is_a_class(tmp_path, opened, packed):
    path = write_nested(tmp_path / ("x.tar.gz" if packed else "x.tar"), "w:gz" if packed else "w")
    source = opened(path)
    assert isinstance(source, NestedTarSource) and source.sequential == packed
    assert source.names[:3] == ["n03/n03_0.JPEG", "n03/n03_1.JPEG", "n01/n01_0.JPEG"]
    assert levels(source) == [10, 20, 30, 40, 50, 60] and not source.skipped
    assert source.labels is not None and source.labels.names == ("n01", "n02", "n03")
    assert classes(source) == ["n03", "n03", "n01", "n01", "n02", "n02"]
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name]


def test_numbers_as_names_of_inner_tars_and_words(tmp_path, opened):
    inner = tar_bytes({"a.png": png(1)})
    (tmp_path / "x.tar").write_bytes(tar_bytes({f"{n}.tar": inner for n in (10, 9, 2)}))
    assert opened(tmp_path / "x.tar").labels.names == ("2", "9", "10")
    words = write_webdataset(tmp_path / "x", classes=["10", "9", "x", "10", "9", "x"])
    assert opened(words).labels.names == ("9", "10", "x")


def test_what_is_not_an_image_in_a_tar_of_tars(tmp_path, opened):
    inner = tar_bytes(
        {"../up.png": png(1), "notes.txt": b"", "ok.png": png(70), "b/ok.png": png(80)}
    )
    extra = {
        "packed.tar": gzip.compress(inner),
        "words.tar": b"words" * 400,
        "empty.tar": b"",
        "devkit.txt": b"words",
        "../out.tar": inner,
        "a/n04.tar": inner,
    }
    path = write_nested(tmp_path / "x.tar", extra=extra)
    with tarfile.open(path, "a") as archive:
        archive.addfile(*tar_member("link.tar", type=tarfile.SYMTYPE, linkname="/etc/passwd"))
    source = opened(path)
    assert levels(source)[6:] == [70, 80] and source.names[6:] == ["a/n04/ok.png", "a/n04/b/ok.png"]
    assert classes(source)[6:] == ["n04", "n04"]
    assert dict(source.skipped) == {
        "packed.tar": "a compressed archive inside the archive",
        "after words": "the archive is damaged from here on",
        "after empty": "the archive is empty",
        "devkit.txt": "not a tar archive inside the archive",
        "../out.tar": "its name leads out of the archive",
        "a/n04/../up.png": "its name leads out of the archive",
        "a/n04/notes.txt": "not an image (.txt)",
        "link.tar": "a link",
    }


def test_an_inner_tar_never_reaches_into_the_next_one(tmp_path, opened):
    whole = tar_bytes({"a.png": png(10), "b.png": png(20)})  # 1024 bytes a member, then zeros
    for cut, count in [(2560, 2), (2048, 2), (1600, 1), (1024, 1), (1100, 1), (580, 0), (0, 0)]:
        path = tmp_path / f"{cut}.tar"
        following = tar_bytes({"c.png": png(30)})
        path.write_bytes(tar_bytes({"one.tar": whole[:cut], "two.tar": following}))
        source = opened(path)
        assert classes(source) == ["one"] * count + ["two"]
        assert source.names[-1] == "two/c.png" and levels(source)[-1] == 30
        reasons = [name.split()[0] for name, _ in source.skipped]
        assert reasons == ([] if cut == 2560 else ["after"])


def test_a_later_file_of_the_same_name_counts(tmp_path, opened):
    again = tar_bytes({"n03_0.JPEG": png(99)})
    with tarfile.open(write_nested(tmp_path / "x.tar"), "a") as archive:
        archive.addfile(*tar_member("n03.tar", again))
    source = opened(tmp_path / "x.tar")
    assert levels(source) == [20, 30, 40, 50, 60, 99]
    assert source.skipped == [
        ("n03/n03_0.JPEG", "the archive has a later file of this name"),
    ]


def test_a_tar_of_tars_that_ends_too_early(tmp_path, opened):
    path = write_nested(tmp_path / "x.tar")
    path.write_bytes(path.read_bytes()[:15_000])
    source = opened(path)
    assert 2 <= len(source) < 6 and source.skipped
    assert levels(source)[:2] == [10, 20]


def test_large_images_in_shards_are_not_read(tmp_path, opened, monkeypatch):
    source = opened(write_nested(tmp_path / "x.tar"))
    monkeypatch.setattr(tar_scan, "MAX_BYTES", 10)
    with pytest.raises(Unreadable, match="larger than"):
        source.read(0)


def test_shards_of_a_folder_in_order(tmp_path, opened):
    source = opened(write_webdataset(tmp_path / "x"))
    assert isinstance(source, WebDatasetSource) and not source.skipped
    assert source.names[:4] == [
        "pets-000000/0000.png",
        "pets-000000/0001.png",
        "pets-000000/0002.png",
        "pets-000001/0003.png",
    ]
    assert levels(source) == [0, 10, 20, 30, 40, 50]
    assert classes(source) == ["0", "1", "0", "1", "0", "1"]


def test_names_of_classes_and_words_as_classes(tmp_path, opened):
    folder = write_webdataset(tmp_path / "x/train")
    (tmp_path / "x/classnames.txt").write_text("cat\ndog\n")
    assert classes(opened(folder)) == ["cat", "dog"] * 3
    words = write_webdataset(tmp_path / "y", classes=["b", "a", "", "b", "c", "a"])
    assert classes(opened(words)) == ["b", "a", None, "b", "c", "a"]


@pytest.mark.parametrize("value", ["99999999999999999999999", "-7", "70000"])
def test_numbers_that_are_no_classes(tmp_path, opened, value):
    source = opened(write_webdataset(tmp_path / "x", classes=[0, 1, value, 0, 1, 0]))
    with pytest.raises(UserError, match="not classes.*--labels none"):
        find_labels(source, "auto")


def test_which_file_of_a_sample_is_used(tmp_path, opened):
    members = {
        "d/a.mask.png": png(1),
        "d/a.png": png(2),
        "d/a.jpg": png(3),
        "d/a.cls": b"4\n",
        "b.seg.png": png(5),
        "c.cls": b"6",
        "d/.hidden.png": png(7),
        "../e.png": png(8),
        "f.png": png(9),
        "f.cls": b"1" * 1000,
    }
    (tmp_path / "x.tar").write_bytes(tar_bytes(members))
    source = opened(tmp_path / "x.tar")
    assert source.names == ["d/a.png", "b.seg.png", "f.png"] and levels(source) == [2, 5, 9]
    assert classes(source) == ["4", None, None]
    assert dict(source.skipped) == {
        "d/a.mask.png": "another image of the sample",
        "d/a.jpg": "another image of the sample",
        "c": "no image in the sample",
        "d/.hidden.png": "hidden file",
        "../e.png": "its name leads out of the archive",
    }


def test_a_sample_that_is_in_a_shard_twice_has_one_image_and_its_class(tmp_path, opened):
    (tmp_path / "x.tar").write_bytes(tar_bytes({"a.png": png(1), "a.cls": b"0", "b.png": png(2)}))
    with tarfile.open(tmp_path / "x.tar", "a") as archive:
        archive.addfile(*tar_member("a.png", png(3)))
        archive.addfile(*tar_member("a.cls", b"1"))
    source = opened(tmp_path / "x.tar")
    assert levels(source) == [3, 2] and classes(source) == ["1", None]
    assert source.skipped == [("a.png", "the archive has a later file of this name")]


def test_patterns(tmp_path, opened):
    folder = write_webdataset(tmp_path / "x", shards=3, samples=2)
    assert levels(opened(folder / "pets-{000000..000001}.tar")) == [0, 10, 20, 30]
    assert levels(opened(folder / "pets-{000002,000000}.tar")) == [40, 50, 0, 10]
    assert levels(opened(folder / "pets-*1.tar")) == [20, 30]
    assert "there is no file" in complaint(folder / "cats-*.tar")
    assert "there is no" in complaint(folder / "pets-{000001..000005}.tar")
    assert "should go up" in complaint(folder / "pets-{9..1}.tar")
    assert "names more than" in complaint(folder / "{1..9999}{1..9999}{1..9999}.tar")


def test_relative_paths_and_equal_stems(tmp_path, opened, monkeypatch):
    folder = write_webdataset(tmp_path / "x")
    (tmp_path / "y").mkdir()
    monkeypatch.chdir(tmp_path / "y")
    assert opened("../x").names == opened(folder).names
    packed = gzip.compress((folder / "pets-000000.tar").read_bytes())
    (folder / "pets-000000.tar.gz").write_bytes(packed)
    source = opened("../x")
    assert len(set(source.names)) == len(source) == 9


def test_splits_in_the_names_of_shards(tmp_path, opened):
    write_webdataset(tmp_path, pattern="pets-train-{:04d}.tar")
    write_webdataset(tmp_path, shards=1, pattern="pets-val-{:02d}.tar")
    assert len(opened(tmp_path)) == 6 and len(opened(tmp_path, split="validation")) == 3
    assert len(opened(tmp_path, split="train+validation")) == 9
    assert "no split 'test'" in complaint(tmp_path, "test")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002-abc.parquet", "train"),
        ("train_extra-00000-of-00002.parquet", "train_extra"),
        ("default/test/0000.parquet", "test"),
        ("imagenet1k-validation-07.tar", "validation"),
        ("dev-000.tar", "validation"),
        ("restrain-000.tar", None),
        ("latest/000.tar", None),
    ],
)
def test_the_split_that_a_name_says(name, split):
    root = Path("/data")
    assert list(splits.files_by_split([root / name], root)) == [split]


def test_damage_in_a_shard_is_counted_and_costs_no_other_shard(tmp_path, opened):
    folder = write_webdataset(tmp_path / "x")
    first = folder / "pets-000000.tar"
    first.write_bytes(first.read_bytes()[: 512 * 9])
    (folder / "pets-000002.tar").write_bytes(b"words" * 1000)
    source = opened(folder)
    assert levels(source)[-3:] == [30, 40, 50] and 1 <= len(source) - 3 < 3
    assert [name.partition("/")[0] for name, _ in source.skipped][-1] == "pets-000002"
    assert len(source.skipped) >= 2


def test_plain_tars_and_folders_of_images_are_read_as_before(tmp_path, opened):
    (tmp_path / "x.tar").write_bytes(tar_bytes({"a.png": png(1), "a.json": b"{}", "b.png": png(2)}))
    assert isinstance(opened(tmp_path / "x.tar"), TarSource)
    suffixless = make_folder(tmp_path / "images", {"abc": png(1), "def": png(2), "x.tar": b""})
    assert isinstance(opened(suffixless), FolderSource)
    write_parquet(suffixless / "facts.parquet")
    make_folder(suffixless, {"ghi.png": png(3)})
    assert list(opened(suffixless).names) == ["abc", "def", "ghi.png"]


def test_a_folder_of_one_archive_is_that_archive(tmp_path, opened):
    write_cifar(tmp_path / "cifar-10-python.tar.gz")
    assert opened(tmp_path).description.startswith("CIFAR-10")


def test_links_out_of_a_folder_of_shards(tmp_path, opened):
    folder = write_webdataset(tmp_path / "x")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/more.tar").symlink_to(folder / "pets-000000.tar")
    assert "links out of the folder: give --follow-links" in complaint(tmp_path / "out")
    assert len(opened(tmp_path / "out", follow_links=True)) == 3
    (folder / "out.tar").symlink_to(write_nested(tmp_path / "nested.tar"))
    source = opened(folder)
    skipped = [("out.tar", "link out of the folder (--follow-links reads it)")]
    assert source.skipped == skipped and len(source) == 6 and "follow_links" in source.options


def test_linked_folders_of_shards(tmp_path, opened):
    elsewhere = write_webdataset(tmp_path / "elsewhere", shards=1)
    folder = tmp_path / "x"
    write_webdataset(folder / "a", shards=2)
    (folder / "b").symlink_to(elsewhere)
    source = opened(folder)
    assert len(source) == 6
    assert source.skipped == [("b", "link to a folder (--follow-links reads it)")]
    with pytest.raises(UserError, match="b in WebDataset .* cannot be used .link to a folder"):
        SourceImages(source)
    source = opened(folder, follow_links=True)
    assert len(source) == 9 and not source.skipped and "follow_links" in source.options
    assert "follow_links" not in opened(folder / "a/*.tar").options


def test_hidden_shards(tmp_path, opened):
    folder = write_webdataset(tmp_path / "x")
    for name in ("$RECYCLE.BIN", "lost+found", ".trash"):
        write_webdataset(folder / name, shards=1)
    source = opened(folder)
    assert levels(source) == [0, 10, 20, 30, 40, 50]
    assert {reason for _, reason in source.skipped} == {"hidden file"} and len(source.skipped) == 3
    assert SourceImages(source).count == 6


def test_shards_of_no_split_are_counted(tmp_path, opened):
    for name in ("train", "car", "bus", "val"):
        write_webdataset(tmp_path, shards=1, pattern=f"{name}.tar")
    source = opened(tmp_path)
    assert len(source) == 3
    reason = "no split in its name, where others have one"
    assert source.skipped == [("bus.tar", reason), ("car.tar", reason)]
    with pytest.raises(UserError, match="bus.tar in WebDataset .* cannot be used .no split"):
        SourceImages(source)


def test_memory_does_not_grow_with_the_members(tmp_path, monkeypatch):
    path, archives, original = tmp_path / "x.tar", [], tarfile.open
    path.write_bytes(tar_bytes({f"{i}.txt": b"" for i in range(3000)}))

    def recorded(*arguments, **options):
        archives.append(original(*arguments, **options))
        return archives[-1]

    monkeypatch.setattr(tarfile, "open", recorded)
    file, _ = tar_scan.open_tar(path)
    with file:
        assert len({member.name for member in tar_scan.scan(file)}) == 3000
    assert len(archives[0].members) <= 1
