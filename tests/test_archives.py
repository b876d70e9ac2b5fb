"""Folders, zip and tar archives: what is read, what is skipped and why; nothing leaves them."""

import gzip
import os
import tarfile
import zipfile

import pytest
from images import make_folder, make_tar, make_zip, png, tar_member

from ganformer_jax.data.sources import archives
from ganformer_jax.data.sources.archives import TarSource, ZipSource
from ganformer_jax.data.sources.folder import FolderSource
from ganformer_jax.data.sources.open import open_source
from ganformer_jax.data.sources.source import Unreadable
from ganformer_jax.errors import UserError

MEMBERS = {
    "b/zwei.png": png(2),
    "a/eins.png": png(1),
    "a/näme 三.PNG": png(3),
    "no_suffix": png(4),
    "a/.hidden.png": png(5),
    "__MACOSX/a/._eins.png": b"resource fork",
    "read me.txt": b"words",
    "dataset.json": b'{"labels": null}',
}
WANTED = ["a/eins.png", "a/näme 三.PNG", "b/zwei.png", "no_suffix"]
SKIPPED = {
    "a/.hidden.png": "hidden file",
    "__MACOSX/a/._eins.png": "hidden file",
    "read me.txt": "not an image (.txt)",
    "dataset.json": "not an image (.json)",
}


MAKERS = {
    "folder": make_folder,
    "x.zip": make_zip,
    "x.tar": make_tar,
    "x.tar.gz": lambda path, members: make_tar(path, members, mode="w:gz"),
    "x.tar.bz2": lambda path, members: make_tar(path, members, mode="w:bz2"),
    "x.tar.xz": lambda path, members: make_tar(path, members, mode="w:xz"),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_entry_is_read_or_skipped_with_a_reason(tmp_path, kind):
    path = tmp_path / kind
    MAKERS[kind](path, MEMBERS)
    with open_source(str(path)) as source:
        assert sorted(source.names) == WANTED
        assert [source.read(i) for i in range(4)] == [MEMBERS[name] for name in source.names]
        assert source.read(3) and source.read(0) == MEMBERS[source.names[0]]  # backwards too
        assert dict(source.skipped) == SKIPPED
        assert source.companion("dataset.json") == b'{"labels": null}'
        assert source.companion("nothing.json") is None
        assert len(source.fingerprint()) == 64


def test_fingerprints_follow_changes(tmp_path):
    folder = make_folder(tmp_path / "folder", MEMBERS)
    before = FolderSource(folder).fingerprint()
    assert FolderSource(folder).fingerprint() == before
    os.utime(folder / "no_suffix", (1, 1))
    after = FolderSource(folder).fingerprint()
    (folder / "new.png").write_bytes(png(9))
    assert len({before, after, FolderSource(folder).fingerprint()}) == 3


def test_links_out_of_a_folder_are_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "private.png").write_bytes(png(7))
    folder = make_folder(tmp_path / "folder", {"a.png": png(1)})
    (folder / "out.png").symlink_to(secret / "private.png")
    (folder / "dir").symlink_to(secret)
    (folder / "loop").symlink_to(folder)
    (folder / "dead.png").symlink_to(folder / "gone.png")
    (folder / "in.png").symlink_to(folder / "a.png")
    os.mkfifo(folder / "pipe.png")
    source = FolderSource(folder)
    assert list(source.names) == ["a.png", "in.png"]
    assert dict(source.skipped) == {
        "dead.png": "cannot be read: No such file or directory",
        "dir": "link to a folder (--follow-links reads it)",
        "loop": "link to a folder (--follow-links reads it)",
        "out.png": "link out of the folder (--follow-links reads it)",
        "pipe.png": "not a regular file",
    }


def test_a_file_that_disappears(tmp_path):
    source = FolderSource(make_folder(tmp_path / "folder", {"a.png": png(1)}))
    (tmp_path / "folder/a.png").unlink()
    with pytest.raises(UserError, match="cannot read .*No such file.*to resume"):
        source.read(0)


def test_prepared_datasets_inside_a_folder_are_skipped(tmp_path):
    folder = make_folder(tmp_path / "folder", {"a.png": png(1), "data/x/1.0.0/sheet.png": png(2)})
    (folder / "data/x/1.0.0/dataset_info.json").write_text("{}")
    source = FolderSource(folder)
    assert list(source.names) == ["a.png"]
    assert source.skipped == [("data/x/1.0.0", "a prepared dataset")]


def test_several_versions_are_a_choice(tmp_path):
    for version in ("1.0.0", "2.0.0"):
        make_folder(tmp_path / "x" / version, {"dataset_info.json": b"{}", "sheet.png": png(2)})
    with pytest.raises(UserError, match="several versions"):
        open_source(str(tmp_path / "x"))


ESCAPES = ["../up.png", "/abs.png", "a/../../up.png", "C:/windows.png", "..\\back.png"]


def test_names_that_lead_out_of_an_archive(tmp_path):
    members = {"good.png": png(1), **{name: png(2) for name in ESCAPES}}
    extra = [
        tar_member("link.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        tar_member("hard.png", type=tarfile.LNKTYPE, linkname="good.png"),
        tar_member("device.png", type=tarfile.CHRTYPE),
        tar_member("fifo.png", type=tarfile.FIFOTYPE),
    ]
    with TarSource(make_tar(tmp_path / "x.tar", members, extra=extra)) as source:
        assert list(source.names) == ["good.png"]
        reasons = dict(source.skipped)
        assert {reasons[name] for name in ESCAPES} == {"its name leads out of the archive"}
        assert reasons["link.png"] == reasons["hard.png"] == "a link"
        assert reasons["device.png"] == reasons["fifo.png"] == "not a regular file"
    with ZipSource(make_zip(tmp_path / "x.zip", members)) as source:
        assert list(source.names) == ["good.png"]
        assert len(source.skipped) == len(ESCAPES)
    assert sorted(os.listdir(tmp_path)) == ["x.tar", "x.zip"]


def test_a_zip_whose_list_is_damaged_says_what_is_lost(tmp_path):
    path = make_zip(tmp_path / "x.zip", {"a.png": png(1), "b.png": png(2), "c.png": png(3)})
    contents = bytearray(path.read_bytes())
    second = contents.index(b"PK\1\2", contents.index(b"PK\1\2") + 1)
    comment = second + 32  # the length of its comment, which then hides the third
    contents[comment : comment + 2] = (46 + 5).to_bytes(2, "little")
    path.write_bytes(contents)
    with ZipSource(path) as source:
        assert list(source.names) == ["a.png", "b.png"]
        assert source.skipped == [("the list of files", "damaged: 1 of 3 files are lost")]


def test_a_link_in_a_zip(tmp_path):
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr(link, "/etc/passwd")
        file.writestr("good.png", png(1))
    with ZipSource(tmp_path / "x.zip") as source:
        assert list(source.names) == ["good.png"] and source.skipped == [("link.png", "a link")]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_of_one_name_the_last_file_counts(tmp_path, kind, recwarn):
    path = tmp_path / f"x.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("a.png", png(1))
            file.writestr("a.png", png(2))
    else:
        make_tar(path, {"a.png": png(1)}, extra=[tar_member("a.png", png(2))])
    recwarn.clear()
    with open_source(str(path)) as source:
        assert list(source.names) == ["a.png"] and source.read(0) == png(2)
        assert list(source.skipped) == [("a.png", "the archive has a later file of this name")]


def test_bombs_in_archives_stop_early(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_BYTES", 1 << 20)
    members = {"bomb.png": bytes(5 << 20), "good.png": png(1)}
    for path in (make_zip(tmp_path / "x.zip", members), make_tar(tmp_path / "x.tar", members)):
        with open_source(str(path)) as source:
            with pytest.raises(Unreadable, match="larger than 1 MiB"):
                source.read(0)
            assert source.read(1) == png(1)
    lying = bytearray((tmp_path / "x.zip").read_bytes())
    at = lying.index(b"PK\x01\x02")  # the directory claims a small file
    lying[at + 24 : at + 28] = (100).to_bytes(4, "little")
    (tmp_path / "lying.zip").write_bytes(lying)
    with ZipSource(tmp_path / "lying.zip") as source:
        with pytest.raises(Unreadable, match="damaged in the archive|larger"):
            source.read(0)


def test_damage_inside_archives(tmp_path):
    path = make_zip(tmp_path / "x.zip", {"a.png": os.urandom(2000), "b.png": png(2)})
    stored = bytearray(path.read_bytes())
    stored[500] ^= 255
    path.write_bytes(stored)
    with ZipSource(path) as source:
        with pytest.raises(Unreadable, match="damaged in the archive"):
            source.read(0)
        assert source.read(1) == png(2)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_that_ends_too_early(tmp_path, mode):
    members = {f"{i}.png": os.urandom(3000) for i in range(20)}
    path = make_tar(tmp_path / "x.tar", members, mode)
    path.write_bytes(path.read_bytes()[:40_000])
    with TarSource(path) as source:
        readable = 0
        for index in range(len(source)):
            try:
                assert source.read(index) == members[source.names[index]]
                readable += 1
            except Unreadable:
                pass
        assert 8 <= readable <= 14
        assert readable + 1 >= len(source.names) or source.skipped


def damaged_tars(path):
    """Archives that tarfile reads to some point silently, and the reasons to report."""
    whole = make_tar(path, {f"{i}.png": png(i) for i in range(4)}).read_bytes()
    start = 2 * 1024  # of the third member
    flipped = bytearray(whole)
    flipped[start + 150] ^= 1
    yield bytes(flipped), "damaged from here on"
    yield whole[: start + 100], "damaged from here on"
    yield whole[:start], "may be cut short"
    yield whole[:start] + bytes(512) + whole[start + 512 :], "end mark of the archive is not read"
    yield whole + whole, "end mark of the archive is not read"


@pytest.mark.parametrize("packed", [False, True])
def test_a_tar_never_loses_members_silently(tmp_path, packed):
    for stored, words in damaged_tars(tmp_path / "whole.tar"):
        path = tmp_path / ("x.tar.gz" if packed else "x.tar")
        path.write_bytes(gzip.compress(stored) if packed else stored)
        with TarSource(path) as source:
            ((_, reason),) = source.skipped
            assert words in reason and 2 <= len(source) <= 4


def test_encrypted_members(tmp_path):
    path = make_zip(tmp_path / "x.zip", {"a.png": png(1)})
    stored = bytearray(path.read_bytes())
    for at in (stored.index(b"PK\x03\x04") + 6, stored.index(b"PK\x01\x02") + 8):
        stored[at] |= 1
    path.write_bytes(stored)
    with ZipSource(path) as source:
        with pytest.raises(Unreadable, match="encrypted"):
            source.read(0)


@pytest.mark.parametrize(
    "name,contents,words",
    [
        ("x.zip", b"no archive", "damaged, or not a zip"),
        ("x.zip", b"", "damaged, or not a zip"),
        ("x.tar", b"no archive" * 100, "damaged, or not a tar"),
        ("x.tar.gz", b"\x1f\x8b broken", "damaged, or not a tar"),
        ("x.rar", b"Rar!", "is not a source of images"),
    ],
)
def test_files_that_are_not_archives(tmp_path, name, contents, words):
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(UserError, match=words) as raised:
        open_source(str(tmp_path / name))
    assert "\n" not in str(raised.value)


def test_only_what_is_below_a_folder_of_a_zip(tmp_path):
    path = make_zip(tmp_path / "x.zip", MEMBERS)
    with ZipSource(path, under="a/") as source:
        assert sorted(source.names) == ["a/eins.png", "a/näme 三.PNG"]


def test_a_path_that_does_not_exist(tmp_path):
    with pytest.raises(UserError, match="there is no .*/Nothing"):
        open_source(str(tmp_path / "Nothing"))


def test_labels_of_a_zip_from_windows(tmp_path):
    path = make_zip(tmp_path / "x.zip", {"ds\\dataset.json": b"{}", "ds\\a.png": png(1)})
    with ZipSource(path) as source:
        assert source.companion("ds/dataset.json") == b"{}"


def test_a_pipe_is_not_an_archive(tmp_path):
    os.mkfifo(tmp_path / "x.zip")
    with pytest.raises(UserError, match="not a regular file"):
        open_source(str(tmp_path / "x.zip"))
