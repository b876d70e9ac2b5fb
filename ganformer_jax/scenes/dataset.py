"""The built-in scenes as builders of TensorFlow Datasets (TFDS), stored as ArrayRecord.

All images are rendered locally: nothing is downloaded, and TensorFlow is not needed. The splits
`train` and `test` have disjoint scene indices, and the test scenes do not depend on the number of
training scenes.
"""

import contextlib
import functools
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from PIL import Image
from tqdm.auto import tqdm

from ganformer_jax.errors import UserError
from ganformer_jax.files import renames_folders
from ganformer_jax.scenes.layout import (
    HELD_OUT_START,
    OBJECT_ATTRIBUTES,
    STANDARD,
    VARIANTS,
    Variant,
)
from ganformer_jax.scenes.rendering import Batch, render_batch

STORED_COLOR = "colour"  # name of the feature "color" in stored datasets
CHUNK_PIXELS = 2**16  # pixels rendered at once: large enough to fill the cores, small in memory
MIN_RESOLUTION = 32
_WRITER_FAILED = "Failed to finalize writing"
_DESCRIPTION = "dataset_info.json"  # TFDS recognizes a dataset by this file


@dataclass(kw_only=True)
class ScenesConfig(tfds.core.BuilderConfig):
    """Options of a set of scenes (see `prepare_scenes`), which determine the name of its folder."""

    name: str = ""
    resolution: int = 32
    count: int = 10_000
    held_out: int = 1_000
    seed: int = 0

    def __post_init__(self):
        self.name = f"{self.resolution}px_train{self.count}_test{self.held_out}_seed{self.seed}"


class Scenes(tfds.core.GeneratorBasedBuilder):
    """Rendered scenes of two to six simple objects on gray ground, with masks and attributes.

    Each example has

    - `image`: uint8 [resolution, resolution, 3], sRGB, stored as PNG;
    - `mask`: uint8 [resolution, resolution, 1], stored as PNG: 0 for the ground, i + 1 for the
      pixels of object i;
    - `objects`: a dictionary of arrays over the scene's Q objects: `shape`, `size`, `material` and
      `colour` (int64 [Q], class ids), `position` (float32 [Q, 3], world units), `pixel_position`
      (float32 [Q, 3]: column, row and depth of the center) and `rotation` (float32 [Q], radians
      about the vertical);
    - `index`: int64, the index of the scene.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    variant = STANDARD

    def __init__(self, *, config: ScenesConfig | None = None, **kwargs: Any):
        super().__init__(config=config or ScenesConfig(), **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        resolution = self._config.resolution
        objects: dict[str, Any] = {
            stored_name(name): tfds.features.Sequence(tfds.features.ClassLabel(names=classes))
            for name, classes in OBJECT_ATTRIBUTES.items()
        }
        objects["position"] = tfds.features.Tensor(shape=(None, 3), dtype=np.float32)
        objects["pixel_position"] = tfds.features.Tensor(shape=(None, 3), dtype=np.float32)
        objects["rotation"] = tfds.features.Tensor(shape=(None,), dtype=np.float32)
        features = {
            "image": tfds.features.Image(shape=(resolution, resolution, 3), encoding_format="png"),
            "mask": tfds.features.Image(shape=(resolution, resolution, 1), encoding_format="png"),
            "objects": tfds.features.FeaturesDict(objects),
            "index": tfds.features.Scalar(dtype=np.int64),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"Rendered scenes of {self._count_words()} simple objects on a plane.",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,  # records are stored in the order of scene indices
        )

    def _count_words(self) -> str:
        low, high = self.variant.min_objects, self.variant.max_objects
        return "two to six" if (low, high) == (2, 6) else f"{low} to {high}"

    @property
    def _config(self) -> ScenesConfig:
        config = self.builder_config
        assert isinstance(config, ScenesConfig)
        return config

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager
        return {
            "train": self._generate_examples("train", 0, self._config.count),
            "test": self._generate_examples("test", HELD_OUT_START, self._config.held_out),
        }

    def _generate_examples(
        self, split: str, start: int, count: int
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        done = 0
        with tqdm(total=count, unit=" scenes", desc=f"Rendering {split} scenes") as bar:
            for batch in _render_ahead(self._config, self.variant, start, count):
                for row in range(min(len(batch.images), count - done)):
                    yield done, _example(batch, row, start + done)
                    done += 1
                    bar.update()


class ScenesHard(Scenes):
    """Rendered scenes of three to ten smaller objects on plain, checked or striped ground.

    The examples have the features of `Scenes`.
    """

    variant = VARIANTS["scenes_hard"]


class ScenesDrawn(Scenes):
    """The scenes of `Scenes` as drawings: flat colors and outlines on paper.

    The examples have the features of `Scenes`, and show the same objects if the index is the same.
    """

    variant = VARIANTS["scenes_drawn"]


BUILDERS = {"scenes": Scenes, "scenes_hard": ScenesHard, "scenes_drawn": ScenesDrawn}


def prepare_scenes(
    data_dir: str | os.PathLike,
    resolution: int = 32,
    count: int = 10_000,
    held_out: int = 1_000,
    seed: int = 0,
    name: str = "scenes",
) -> tfds.core.DatasetBuilder:
    """Render the scenes into `data_dir/<name>/...` unless they exist.

    The folder gets its name when it is complete, so an interrupted call leaves no dataset behind,
    and the next call starts over. A killed process may leave a folder `incomplete.*`, which can be
    deleted. Several processes may prepare the same scenes at once.

    Args:
        data_dir: Folder of prepared datasets; created if absent.
        resolution: Height and width in pixels, at least 32.
        count: Number of scenes in the `train` split, at least 1.
        held_out: Number of scenes in the `test` split, at least 1.
        seed: Random seed, 0 <= seed < 2**31; scene i of a seed is the same in every set and at
            every resolution.
        name: Name of the dataset, in `BUILDERS`: "scenes", "scenes_hard" or "scenes_drawn".

    Returns:
        The builder, ready for `as_data_source`; its folder is `builder.data_path`.

    Raises:
        UserError: If there are no scenes of this name, an argument is out of range, the folder
            cannot be written or the disk is full.
    """
    if name not in BUILDERS:
        raise UserError(f"no scenes are called {name}: choose from {', '.join(BUILDERS)}")
    _check_arguments(resolution, count, held_out, seed)
    config = ScenesConfig(resolution=resolution, count=count, held_out=held_out, seed=seed)
    build = functools.partial(BUILDERS[name], data_dir=os.fspath(data_dir), config=config)
    try:
        Path(data_dir).mkdir(parents=True, exist_ok=True)
        with _quiet():
            builder = build()
            if not builder.is_prepared():
                _check_space(data_dir, resolution, count + held_out)
                if renames_folders(Path(data_dir)):
                    builder.download_and_prepare(file_format="array_record")
                else:
                    _render_elsewhere(builder)
                    builder = build()
    except (OSError, RuntimeError) as error:
        # The ArrayRecord writer raises RuntimeError if the disk is full; others are bugs.
        if not isinstance(error, OSError) and _WRITER_FAILED not in str(error):
            raise
        builder = build()
        if builder.is_prepared():  # by another process in the meantime
            return builder
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0].split(";")[0]
        raise UserError(f"cannot write scenes to {os.fspath(data_dir)}: {reason}") from error
    return builder


def scenes_are_prepared(
    data_dir: str | os.PathLike, resolution: int, count: int, held_out: int, name: str = "scenes"
) -> bool:
    """Return whether `prepare_scenes` with these arguments would render nothing."""
    config = ScenesConfig(resolution=resolution, count=count, held_out=held_out)
    with _quiet():
        return BUILDERS[name](data_dir=os.fspath(data_dir), config=config).is_prepared()


def _render_elsewhere(builder: Scenes) -> None:
    """Render on the disk of temporary files, where TFDS can rename folders, and copy the result."""
    with tempfile.TemporaryDirectory() as folder:
        local = type(builder)(data_dir=folder, config=builder.builder_config)
        local.download_and_prepare(file_format="array_record")
        rest = shutil.ignore_patterns(_DESCRIPTION)
        shutil.copytree(local.data_path, builder.data_path, ignore=rest, dirs_exist_ok=True)
        shutil.copy(local.data_path / _DESCRIPTION, builder.data_path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence TFDS's progress bars and its messages about downloads."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
        logging.set_verbosity(verbosity)


def _check_arguments(resolution: int, count: int, held_out: int, seed: int) -> None:
    if resolution < MIN_RESOLUTION:
        raise UserError(f"scenes need a resolution of {MIN_RESOLUTION} or more, not {resolution}")
    if not (1 <= count <= HELD_OUT_START and 1 <= held_out < HELD_OUT_START):
        raise UserError(
            f"scenes need at least one image in each split, not {count} to train on "
            f"and {held_out} held out"
        )
    if not 0 <= seed < 2**31:
        raise UserError(f"the seed of scenes must be in 0..2147483647, not {seed}")


def _check_space(data_dir: str | os.PathLike, resolution: int, count: int) -> None:
    """Check that the disk has space for `count` images."""
    needed = count * (resolution**2 * 3 // 2 + 1500)  # PNG halves these smooth images
    free = shutil.disk_usage(data_dir).free
    if free < needed:
        raise UserError(
            f"scenes need about {needed / 2**20:.0f} MiB in {os.fspath(data_dir)}, "
            f"which has {free / 2**20:.0f} MiB free"
        )


def _render_ahead(
    config: ScenesConfig, variant: Variant, start: int, count: int
) -> Iterator[Batch]:
    """Yield batches of scenes as NumPy arrays, rendering the next one in the meantime.

    All batches have the same size, so there is one compilation; the last may go beyond `count`.
    """
    size = max(1, CHUNK_PIXELS // config.resolution**2)

    def render(first: int) -> Batch:
        indices = np.arange(start + first, start + first + size, dtype=np.uint32)
        return render_batch(indices, config.seed, config.resolution, variant=variant)

    following = render(0)
    for first in range(size, count + size, size):
        current, following = following, render(first) if first < count else following
        yield jax.tree.map(np.asarray, current)


def stored_name(attribute: str) -> str:
    """Return the name of an attribute of objects in stored datasets."""
    return STORED_COLOR if attribute == "color" else attribute


def _example(batch: Batch, row: int, index: int) -> dict[str, Any]:
    """Return the stored example of one row of a batch of NumPy arrays."""
    scene = batch.scenes
    objects = {stored_name(name): getattr(scene, name) for name in OBJECT_ATTRIBUTES}
    objects |= {"position": scene.position, "pixel_position": batch.pixel_positions}
    objects["rotation"] = scene.rotation
    count = int(scene.present[row].sum())
    return {
        "image": _encode_png(np.asarray(batch.images[row])),
        "mask": _encode_png(np.asarray(batch.masks[row])),
        "objects": {name: values[row, :count] for name, values in objects.items()},
        "index": index,
    }


def _encode_png(pixels: np.ndarray) -> bytes:
    """Encode uint8 pixels as PNG: [H, W, 3] in color or [H, W] in gray."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()
