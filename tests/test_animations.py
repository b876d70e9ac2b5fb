"""Videos come back as the frames that were written."""

import sys

import numpy as np
import pytest
from PIL import Image

from ganformer_jax.errors import UserError
from ganformer_jax.visualize import animation_suffixes, save_animation


def frames(count=4, side=(6, 10), channels=3):
    """A bright square that moves right."""
    found = np.zeros((count, *side, channels), np.uint8)
    if channels == 4:
        found[..., 3] = 255
    for index in range(count):
        found[index, 2:4, 2 * index : 2 * index + 2] = 255
    return found


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("suffix", [".webp", ".gif", ".mp4"])
def test_frames_come_back(tmp_path, suffix, channels):
    if suffix == ".mp4" and suffix not in animation_suffixes():
        pytest.skip("needs PyAV: pip install av")
    path = tmp_path / "new" / f"video{suffix}"
    written = frames(side=(6, 11), channels=channels)  # H.264 has no odd sides
    save_animation(path, iter(written), fps=10)
    read = read_mp4(path) if suffix == ".mp4" else read_pillow(path)
    assert len(read) == 4
    for index, image in enumerate(read):
        bright = image[..., 1].astype(int)  # of two channels, the second is green
        place = bright[2:4].sum(0)[:10].reshape(5, 2).sum(1).argmax()
        assert place == index
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(("fps", "duration"), [(60, 20), (40, 20), (24, 40), (150, 10)])
def test_durations_of_a_gif_are_rounded(tmp_path, fps, duration):
    save_animation(tmp_path / "x.gif", iter(frames()), fps=fps)
    with Image.open(tmp_path / "x.gif") as image:
        assert image.info["duration"] == duration


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(tmp_path, fps):
    with pytest.raises(ValueError, match="fps must be above 0"):
        save_animation(tmp_path / "x.gif", iter(frames()), fps=fps)
    assert not list(tmp_path.iterdir())


def read_pillow(path):
    with Image.open(path) as video:
        found = []
        for index in range(video.n_frames):
            video.seek(index)
            video.load()
            assert video.info["duration"] == 100 and video.info["loop"] == 0
            found.append(np.asarray(video.convert("RGB")))
    return found


def read_mp4(path):
    import av

    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert stream.average_rate == 10 and stream.codec_context.name == "h264"
        assert (stream.width, stream.height) == (12, 6)
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]


def test_colors_of_webp_are_exact(tmp_path):
    written = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), np.uint8)
    save_animation(tmp_path / "v.webp", written)
    with Image.open(tmp_path / "v.webp") as video:
        for index in range(3):
            video.seek(index)
            np.testing.assert_array_equal(np.asarray(video.convert("RGB")), written[index])


def test_what_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="v.avi: a video is .mp4, .webp or .gif"):
        save_animation(tmp_path / "v.avi", frames())
    with pytest.raises(ValueError, match="no frames"):
        save_animation(tmp_path / "v.gif", [])
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert animation_suffixes() == (".webp", ".gif")
    with pytest.raises(UserError, match="MP4 needs PyAV"):
        save_animation(tmp_path / "v.mp4", frames())

    def broken():
        yield frames()[0]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        save_animation(tmp_path / "v.webp", broken())
    assert not list(tmp_path.iterdir())
