"""Label images beside images: `prepare --segments`, and what is read of them in training."""

import csv

import numpy as np
import pytest
from command_line import call, complaint
from images import gray_png_of_bits
from PIL import Image

from ganformer_jax.cli import prepare_report
from ganformer_jax.config.dicts import to_dict
from ganformer_jax.config.files import load_experiment
from ganformer_jax.config.ganformer2 import CHANNELED
from ganformer_jax.config.kinds import experiment_from_dict, validate_experiment
from ganformer_jax.data.batches import open_dataset, train_batches
from ganformer_jax.data.fit import Geometry
from ganformer_jax.data.layouts import LayoutSource
from ganformer_jax.data.prepare import prepare
from ganformer_jax.data.segments import SegmentFolder
from ganformer_jax.data.sources.folder import FolderSource
from ganformer_jax.data.spec import DatasetSpec
from ganformer_jax.errors import UserError

COUNT, SIZE = 6, 16


@pytest.fixture
def folders(tmp_path):
    """Images 24 wide and 16 high of one gray for each segment, and their label images."""
    random = np.random.default_rng(0)
    for number in range(COUNT):
        labels = random.integers(0, 4, (4, 6), np.uint8).repeat(4, 0).repeat(4, 1)
        images, segments = tmp_path / "images" / "part", tmp_path / "segments" / "part"
        for folder in (images, segments):
            folder.mkdir(parents=True, exist_ok=True)
        gray = np.repeat(labels[..., None] * 60, 3, -1)
        Image.fromarray(gray).save(images / f"{number}.bmp")
        Image.fromarray(labels).save(segments / f"{number}.png")
    return tmp_path


def command(folders, *options):
    paths = ["--segments", str(folders / "segments"), "--data-dir", str(folders / "data")]
    return ["prepare", str(folders / "images"), "--name", "labeled", *paths, *options]


def test_labels_are_cropped_and_resized_as_images_are(capsys, folders):
    _, said, _ = call(capsys, *command(folders, "--resolution", str(SIZE)))
    assert "--config scenes_ganformer2 --execution.resolution 16\n" in said
    source = open_dataset(folders / "data" / "labeled", folders, size=(SIZE, SIZE))
    layouts = LayoutSource(source, 4)
    assert len(layouts) == COUNT
    for index in range(COUNT):
        example = layouts[index]
        np.testing.assert_array_equal(example["images"][..., 0], 60 * example["layouts"])
    with pytest.raises(UserError, match="label 3, but planning has labels 0 to 2"):
        _ = [LayoutSource(source, 3)[index] for index in range(COUNT)]


@pytest.mark.parametrize("resolution", [32, 64, 256, 1024])
def test_larger_images_get_as_many_channels(resolution):
    """With the options of the command that `prepare` prints."""
    words = prepare_report._ganformer2_options(resolution, 1)
    _, config, *pairs = words
    values = to_dict(load_experiment(config))
    for option, value in zip(pairs[::2], pairs[1::2], strict=True):
        group, name = option.removeprefix("--").replace("-", "_").split(".")
        values[group][name] = int(value)
    experiment = experiment_from_dict(values)
    validate_experiment(experiment)
    assert experiment.execution.resolution == resolution
    assert experiment.execution.image_channels == 1
    parts = [getattr(experiment, name) for name in CHANNELED]
    assert [part.channel_base // resolution for part in parts] == [8, 32, 16, 32]


@pytest.mark.parametrize(
    ("resolution", "ratio", "size"), [("16", "0.5", "16x8"), ("48", "1", "48x48")]
)
def test_sizes_that_no_ganformer2_has_are_refused_before_anything_is_read(
    capsys, folders, resolution, ratio, size
):
    options = "--resolution", resolution, "--ratio", ratio
    said = complaint(capsys, *command(folders, *options))
    assert f"from 8 up, not {size}: give --resolution and --ratio 1" in said
    assert not (folders / "data").exists()


def test_labels_are_mirrored_with_their_images(capsys, folders):
    call(capsys, *command(folders, "--resolution", str(SIZE)))
    source = open_dataset(folders / "data" / "labeled", folders, size=(SIZE, SIZE))
    batches = train_batches(LayoutSource(source, 4), batch_size=16, seed=0, mirror=True, threads=0)
    batch = next(batches)
    np.testing.assert_array_equal(batch["images"][..., 0], 60 * batch["layouts"])


def last_line(capsys, *arguments):
    """Run a command that must fail while it prepares; return the line below its progress."""
    code, _, err = call(capsys, *arguments)
    assert code == 1
    return err.splitlines()[-1]


def test_what_cannot_be_used_is_said_in_one_line(capsys, folders):
    first = folders / "segments" / "part" / "0.png"
    Image.new("RGB", (24, 16)).save(first)
    said = last_line(capsys, *command(folders))
    assert "0.png holds colors, not labels: it should be a gray PNG" in said
    Image.new("L", (16, 16)).save(first)
    said = last_line(capsys, *command(folders, "--name", "other"))
    assert "0.png is 16x16 but its image is 24x16: both should have the same size" in said
    first.unlink()
    (folders / "segments" / "part" / "1.png").unlink()
    said = complaint(capsys, *command(folders, "--name", "fourth"))
    assert "0.png and 1 more is missing: every image needs a label image" in said
    said = complaint(capsys, *command(folders, "--segments", str(folders / "none")))
    assert "with segments" in said


def test_an_image_with_a_damaged_label_image_is_skipped(capsys, folders):
    """As one that is damaged itself: hours of work do not end at it."""
    segments = folders / "segments" / "part"
    (segments / "0.png").write_bytes(b"no image")
    Image.new("L", (24, 16)).save(segments / "1.png", "EPS")  # whose reader runs Ghostscript
    stored = (segments / "2.png").read_bytes()
    (segments / "2.png").write_bytes(stored[: len(stored) // 2])
    call(capsys, *command(folders, "--resolution", str(SIZE)))
    folder = folders / "data" / "labeled"
    source = open_dataset(folder, folders, size=(SIZE, SIZE))
    names = [source.record(index)["name"].item().decode() for index in range(len(source))]
    assert names == [f"part/{number}.bmp" for number in (3, 4, 5)]
    [table] = folder.rglob("skipped.csv")
    reasons = dict(csv.reader(table.read_text().splitlines()[1:]))
    assert reasons["part/0.bmp"] == reasons["part/1.bmp"] == "label image: not an image"
    assert reasons["part/2.bmp"].startswith("label image: damaged: ")


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_labels_of_few_bits_are_the_numbers_of_the_file(capsys, folders, bits):
    """Pillow stretches them to 8 bits, as if they were shades."""
    for path in (folders / "segments" / "part").glob("*.png"):
        path.write_bytes(gray_png_of_bits(np.asarray(Image.open(path)), bits))
    call(capsys, *command(folders, "--resolution", str(SIZE)))
    source = open_dataset(folders / "data" / "labeled", folders, size=(SIZE, SIZE))
    for example in map(LayoutSource(source, 4).__getitem__, range(COUNT)):
        np.testing.assert_array_equal(example["images"][..., 0], 60 * example["layouts"])


def test_label_images_are_turned_as_their_images_are(capsys, folders):
    exif = Image.Exif()
    exif[0x0112] = 6
    first = folders / "segments" / "part" / "0.png"
    upright = Image.open(first)
    upright.transpose(Image.Transpose.ROTATE_90).save(first, exif=exif)
    call(capsys, *command(folders, "--resolution", str(SIZE)))
    source = open_dataset(folders / "data" / "labeled", folders, size=(SIZE, SIZE))
    example = LayoutSource(source, 4)[0]
    np.testing.assert_array_equal(example["images"][..., 0], 60 * example["layouts"])


def test_images_share_no_label_image(capsys, folders):
    images = folders / "images" / "part"
    Image.open(images / "0.bmp").save(images / "0.png")
    said = complaint(capsys, *command(folders))
    assert "0.png would have the labels of 2 images" in said


def test_label_images_are_called_like_entries_without_an_ending(tmp_path):
    class Rows:
        names = ("x.parquet@00000000", "x.parquet@00000001")

    for name in Rows.names:
        Image.new("L", (2, 2)).save(tmp_path / f"{name}.png")
    assert SegmentFolder(tmp_path, Rows()).fingerprint()  # type: ignore[arg-type]
    (tmp_path / f"{Rows.names[1]}.png").unlink()
    (tmp_path / "x.png").write_bytes(b"of none of them")
    with pytest.raises(UserError, match="x.parquet@00000001.png is missing"):
        SegmentFolder(tmp_path, Rows())  # type: ignore[arg-type]


def test_segments_are_not_left_out_on_the_way(capsys, folders):
    """Neither of a dataset that is there nor of one that was interrupted."""
    call(capsys, *command(folders, "--resolution", str(SIZE)))
    words = command(folders, "--resolution", str(SIZE))
    place = words.index("--segments")
    said = complaint(capsys, *words[:place], *words[place + 2 :])
    assert "holds another dataset (segments was " in said and "now null" in said


def test_label_images_that_change_while_they_are_read(tmp_path, folders):
    """Half of the dataset would have the labels from before."""

    class Changing(SegmentFolder):
        def labels(self, *arguments):
            Image.new("L", (24, 16)).save(folders / "segments/part/5.png")
            return super().labels(*arguments)

    with FolderSource(folders / "images") as source:
        segments = Changing(folders / "segments", source)
        spec = DatasetSpec("labeled", Geometry(SIZE, SIZE))
        with pytest.raises(UserError, match="the label images of .* changed while being read"):
            prepare(source, spec, tmp_path / "data", segments=segments)


def test_a_dataset_without_segments_is_refused(capsys, folders):
    words = ["prepare", str(folders / "images"), "--name", "plain", "--resolution", str(SIZE)]
    call(capsys, *words, "--data-dir", str(folders / "data"))
    source = open_dataset(folders / "data" / "plain", folders, size=(SIZE, SIZE))
    with pytest.raises(UserError, match="has no segments: prepare it with --segments"):
        LayoutSource(source, 4)
