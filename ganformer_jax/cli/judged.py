"""What `evaluate` judges and by what, opened as far as it is needed."""

from __future__ import annotations

import functools
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ganformer_jax.caches import caches
from ganformer_jax.cli.metric_weights import read_weights
from ganformer_jax.cli.run_data import Data, dataset_images, labels_like, open_folder
from ganformer_jax.config_files import load_config
from ganformer_jax.data.find import is_prepared
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.features import FeatureReader
from ganformer_jax.evaluate.image_sets import Folder, ImageSet, Numbered
from ganformer_jax.evaluate.path_length import perceptual_path_length
from ganformer_jax.evaluate.requests import Request
from ganformer_jax.metrics.inception_features import FeatureExtractor
from ganformer_jax.metrics.inception_weights import random_weights
from ganformer_jax.metrics.lpips import lpips_variables
from ganformer_jax.models import Generator
from ganformer_jax.sampling import Sampler

if TYPE_CHECKING:
    from ganformer_jax.cli.evaluate import Options
    from ganformer_jax.data.batches import DatasetSource
    from ganformer_jax.evaluate.scene_judge import SceneJudge


ROWS = 8  # images whose segmentations are drawn


class Judged:
    """The images of a run or a folder, and those they are judged by.

    Attributes:
        facts: About them, for the report.
        digests: Checksums of weights that were read.
    """

    def __init__(self, options: Options, divided: jax.sharding.NamedSharding, batch_size: int):
        self.options, self.divided, self.batch_size = options, divided, batch_size
        self.facts: dict[str, Any] = {}
        self.digests: dict[str, str] = {}

    @functools.cached_property
    def fake(self) -> ImageSet:
        """What is judged."""
        options = self.options
        made = Folder(options.fake) if options.fake is not None else self._generated()
        self.facts["fake"] = made.name
        return made

    @functools.cached_property
    def real(self) -> ImageSet:
        """What it is judged by."""
        chosen = self.options.real
        if chosen is None:
            found: ImageSet = dataset_images(self._source)
        elif is_prepared(chosen):
            found = dataset_images(open_folder(chosen, self.options.split))
        else:
            found = Folder(chosen)
        self.facts["real"] = found.name
        return found

    def path_length(self, request: Request) -> float:
        """Perceptual path length of the run's generator."""
        if self.options.fake is not None:
            raise UserError(f"{request.name} needs a generator: leave out --fake")
        space, sampling = request.kind.split("_")[1:]
        generator, variables = self._network
        try:
            return perceptual_path_length(
                generator,
                variables,
                self._lpips,
                space=space,  # pyright: ignore[reportArgumentType] - by its name
                sampling=sampling,  # pyright: ignore[reportArgumentType]
                count=request.count,
                batch_size=self.batch_size,
                seed=self.options.seed,
                divided=self.divided,
            )
        except ValueError as error:
            raise UserError(f"{request.name}: {error}") from error

    def scenes(self, request: Request) -> Mapping[str, float]:
        """What components of the run's generator own, on scenes."""
        if self.options.fake is not None:
            raise UserError(f"{request.name} needs a generator: leave out --fake")
        judge = self._scene_judge
        seeds = range(self.options.seed, self.options.seed + request.count)
        sampler = self._sampler(attention=request.kind == "seg")
        samples = sampler(self._network[1], seeds, None, self.options.truncation_psi)
        try:
            if request.kind == "seg":
                found, segments = judge.segmentation(samples.images, samples.attention)
                self._draw(samples.images, segments)
            else:
                found = judge.disentanglement(samples.images, samples.w)
        except ValueError as error:
            raise UserError(f"{request.name}: {error}") from error
        self.facts["attributes"] = judge.trusted_names()
        return {f"{request.name}_{part}": value for part, value in found.items()}

    def _draw(self, images: np.ndarray, segments: Mapping[str, np.ndarray]) -> None:
        from ganformer_jax import visualize

        path = self.options.workdir / "segmentation.png"
        shown = {name: found[:ROWS] for name, found in segments.items() if name != "uniform"}
        visualize.save_png(path, visualize.segments_grid(images[:ROWS], shown))
        print(f"segmentations: {path}")

    @functools.cached_property
    def _scene_judge(self) -> SceneJudge:
        from ganformer_jax.evaluate.scene_judge import make_judge

        cache = caches() / "features" if self.options.cache else None
        return make_judge(self._data.open("train"), self._data.open("test"), cache)

    def _sampler(self, attention: bool = False) -> Sampler:
        return Sampler(
            self._network[0].config,
            self.batch_size,
            noise=self.options.noise,
            attention=attention,
            batch_sharding=self.divided,
        )

    def _generated(self) -> ImageSet:
        options, (generator, variables) = self.options, self._network
        sampler = self._sampler()
        self.facts |= {"truncation_psi": options.truncation_psi, "noise": options.noise}

        def make(rows: Sequence[int]) -> np.ndarray:
            seeds = [options.seed + row for row in rows]
            labels = labels_like(self._source, seeds) if generator.config.label_size else None
            return sampler.images(variables, seeds, labels, options.truncation_psi)

        return Numbered(f"images of {options.workdir}", None, make)

    @functools.cached_property
    def _source(self) -> DatasetSource:
        return self._data.open(self.options.split)

    @functools.cached_property
    def _data(self) -> Data:
        return Data(load_config(self.options.workdir / "config.json"))

    @functools.cached_property
    def _network(self) -> tuple[Generator, Mapping[str, Any]]:
        """The averaged generator and its variables, on all devices of this host."""
        from ganformer_jax.load import load_run

        options = self.options
        generator, variables = load_run(options.workdir, options.step, options.best)
        self.digests["generator"] = _digest(variables)
        everywhere = jax.sharding.NamedSharding(self.divided.mesh, jax.sharding.PartitionSpec())
        return generator, jax.device_put(variables, everywhere)

    @functools.cached_property
    def _lpips(self) -> Mapping[str, Any]:
        weights = {}
        for name in ("vgg16", "lpips"):
            arrays, self.digests[name] = read_weights(name, getattr(self.options, name))
            weights |= arrays
        return lpips_variables(weights)


def _digest(variables: Mapping[str, Any]) -> str:
    """Checksum of a generator's weights, whatever file they come from."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        found.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return found.hexdigest()


class Readers:
    """Makes each network of features when it is first asked for.

    Args:
        divided: How to divide a batch over devices.
        batch_size: Images at once.
        inception: File of weights; by default the published one.
        cache: Whether to remember features of images that do not change.

    Attributes:
        digests: Of their weights, for the report.
    """

    def __init__(
        self,
        divided: jax.sharding.NamedSharding,
        batch_size: int,
        inception: pathlib.Path | None = None,
        cache: bool = True,
    ):
        self.divided, self.batch_size, self.inception = divided, batch_size, inception
        self.cache = caches() / "features" if cache else None
        self.digests: dict[str, str] = {}

    def __call__(self, random: bool) -> FeatureReader:
        """Gives the reader of random (True) or trained features."""
        return self._random if random else self._trained

    @functools.cached_property
    def _random(self) -> FeatureReader:
        digest = self.digests["random inception"] = "random, seed 0"
        return self._reader(random_weights(), ("2048",), digest)

    @functools.cached_property
    def _trained(self) -> FeatureReader:
        weights, digest = read_weights("inception", self.inception)
        self.digests["inception"] = digest
        return self._reader(weights, ("2048", "logits_unbiased"), digest)

    def _reader(
        self, weights: Mapping[str, Any], names: Sequence[str], digest: str
    ) -> FeatureReader:
        try:
            extractor = FeatureExtractor(weights, names, self.batch_size, self.divided)
        except ValueError as error:
            raise UserError(str(error)) from error
        return FeatureReader(extractor, digest, self.cache)
