"""Both networks of an experiment, as the updates apply them, and the random key of every draw."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from ganformer_jax.augment import (
    augment_with,
    diff_augment_with,
    draw,
    draw_choices,
    expand,
)
from ganformer_jax.config import Config
from ganformer_jax.config.checks import require_config
from ganformer_jax.models import (
    Generator,
    broadcast_layers,
    make_discriminator,
    mix_components,
    mix_layers,
    without_words,
)
from ganformer_jax.nn.microbatch import FULL_BATCH, Microbatch
from ganformer_jax.train.augmentation import probability
from ganformer_jax.train.data_parallel import DataParallel
from ganformer_jax.train.state import (
    Optimizers,
    TrainState,
    Tree,
    check_optimizers,
    stats_variables,
)
from ganformer_jax.train.trainable import Batch

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, Key

    Keys = dict[str, Key[Array, ""]]

# The key of a draw is fold_in(fold_in(state.key, step), row * KEYS_PER_ROW + column). This is not
# the order of updates. Only append: in another order every run would draw other values.
KEY_ROWS = ("generator", "path_length", "discriminator", "regularization")
KEY_NAMES = ("z", "noise", "dropout", "components", "pixels", "style_z", "style_cutoff")
KEY_NAMES += ("component_z", "component_cutoff", "interpolation", "augment_real", "augment_fake")
KEYS_PER_ROW = 32
assert len(KEY_NAMES) <= KEYS_PER_ROW
DROPOUT_INDEX = 2
"""Folded into the key of an augmentation for the discriminator's dropout. 0 and 1 would give the
two keys that `Networks.augment` splits it into."""


class DiscriminatorOutput(NamedTuple):
    """Output of the discriminator for images."""

    logits_Bx1: Float[Array, "b 1"]
    stats: Tree
    """Its "batch_stats", updated."""
    similarities_BxN: Float[Array, "b n"] | None
    """Similarities of images and of labels to compare them with, if there are any."""


@dataclasses.dataclass(frozen=True)
class Networks:
    """Generator and discriminator in training: their draws and their devices.

    Attributes:
        config: The experiment.
        parallel: Data parallelism over the devices.
        optimizers: The optimizers; by default those of `make_optimizers`, with the schedules of the
            config.
        microbatch: The images of each batch to compute, by default all. Counts and shapes that
            methods take are of the full batch; arrays that they take and return, of these images.

    Raises:
        TypeError: An argument is of another type.
    """

    config: Config
    parallel: DataParallel = DataParallel()
    optimizers: Optimizers | None = None
    microbatch: Microbatch = FULL_BATCH

    def __post_init__(self):
        require_config(self.config)
        if not isinstance(self.parallel, DataParallel):
            kind = type(self.parallel).__name__
            raise TypeError(f"parallel is a {kind}: give DataParallel(batch_sharding)")
        check_optimizers(self.optimizers)

    def keys(self, state: TrainState, update: str) -> Keys:
        """Return the random keys of an update in this step, by the names in `KEY_NAMES`.

        The update is one of `KEY_ROWS`. `state.key` never changes: the number of the step, then
        the number of the draw are folded into it.
        """
        key = jax.random.fold_in(state.key, state.step)
        start = KEY_ROWS.index(update) * KEYS_PER_ROW
        return {name: jax.random.fold_in(key, start + i) for i, name in enumerate(KEY_NAMES)}

    def normal(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "b ..."]:
        """Draw normal values for a batch of this shape."""
        return self._taken(jax.random.normal(key, shape))

    def uniform(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "b ..."]:
        """Draw values of [0, 1) for a batch of this shape."""
        return self._taken(jax.random.uniform(key, shape))

    def _taken(self, drawn: Any) -> Any:
        """Return this microbatch of arrays, or a tree of them, of the full batch."""
        shared = jax.tree.map(self.parallel.local_shard, drawn)
        if self.microbatch.count == 1:
            return shared
        return self.parallel.constrain_batch(jax.tree.map(self.microbatch.take, shared))

    def count(self, batch: Batch) -> int:
        """Return the number of images of a batch, over all devices."""
        return len(batch["images"]) * self.parallel.axis_size()

    def sample_w(
        self,
        params: Tree,
        state: TrainState,
        keys: Keys,
        labels_BxY: Float[Array, "b y"] | None,
        count: int,
    ) -> tuple[Float[Array, "b k l d"], Float[Array, " d"]]:
        """Sample w of `count` images, mixed over layers and components, and its unmixed mean.

        Words of captions do not count for the mean.
        """
        config, options = self.config.generator, self.config.loss
        generator, shape = self._generator(), (count, config.num_latents, config.z_size)

        def draw(name: str) -> Any:
            z_BxKxD = self.normal(keys[name], shape)
            return generator.apply(
                self._variables(params, state),
                z_BxKxD,
                labels_BxY,
                component_mask_BxK=self._component_mask(params, state, keys, len(z_BxKxD)),
                train=True,
                microbatch=self.microbatch,
                rngs=self._rngs(keys),
                method="map",
            )

        w_BxKxD = draw("z")
        layers, latents = generator.num_layers, shape[1]
        w_BxKxLxD = broadcast_layers(w_BxKxD, layers)
        if options.style_mixing > 0 and layers > 1:
            other_BxKxLxD = broadcast_layers(draw("style_z"), layers)
            cutoff = draw_cutoff(keys["style_cutoff"], options.style_mixing, layers)
            w_BxKxLxD = mix_layers(w_BxKxLxD, other_BxKxLxD, cutoff)
        if options.component_mixing > 0 and latents > 1:
            other_BxKxLxD = broadcast_layers(draw("component_z"), layers)
            cutoff = draw_cutoff(keys["component_cutoff"], options.component_mixing, latents)
            w_BxKxLxD = mix_components(w_BxKxLxD, other_BxKxLxD, cutoff, config.words)
        own_BxKxD = without_words(w_BxKxD, config.words)
        return w_BxKxLxD, own_BxKxD.mean((0, 1), dtype=jnp.float32)

    def synthesize(
        self, params: Tree, state: TrainState, keys: Keys, w_BxKxLxD: Float[Array, "b k l d"]
    ) -> Float[Array, "b h w c"]:
        """Generate images of given latents."""
        return self.synthesize_with_stats(params, state, keys, w_BxKxLxD)[0]

    def synthesize_with_stats(
        self,
        params: Tree,
        state: TrainState,
        keys: Keys,
        w_BxKxLxD: Float[Array, "b k l d"],
        network: str = "generator",
    ) -> tuple[Float[Array, "b h w c"], Tree]:
        """Generate images of given latents; return "batch_stats" of the network as well.

        Args:
            params: Parameters of the generator.
            state: State with the statistics to update.
            keys: Random keys of the update, from `keys`.
            w_BxKxLxD: Latents w, for each image, component and layer.
            network: Owner of the parameters: "generator" or "ema".
        """
        (images_BxHxWxC, _), updated = self._generator().apply(
            self._variables(params, state, network),
            w_BxKxLxD,
            noise="random",
            component_mask_BxK=self._component_mask(params, state, keys, len(w_BxKxLxD)),
            train=True,
            microbatch=self.microbatch,
            rngs=self._rngs(keys),
            mutable=["batch_stats"],
            method="synthesize",
        )
        return self.parallel.constrain_batch(images_BxHxWxC), updated.get("batch_stats", {})

    def augment(
        self,
        state: TrainState,
        key: Key[Array, ""],
        images_BxHxWxC: Float[Array, "b h w c"],
        count: int,
    ) -> Float[Array, "b h w c"]:
        """Augment images, of a batch of `count`, as the discriminator is to see them."""
        options = self.config.augment
        key, other = jax.random.split(key)
        if options.transforms:
            transforms, shape = expand(options.transforms), (count, *images_BxHxWxC.shape[1:])
            draws = self._taken(draw(key, shape, transforms))
            p = probability(self.config, state)
            images_BxHxWxC = augment_with(images_BxHxWxC, draws, p, transforms)
        if options.diff_augment:
            choices = self._taken(draw_choices(other, count))
            images_BxHxWxC = diff_augment_with(images_BxHxWxC, choices, options.diff_augment)
        return images_BxHxWxC

    def discriminate(
        self,
        params: Tree,
        state: TrainState,
        key: Key[Array, ""],
        images_BxHxWxC: Float[Array, "b h w c"],
        labels_BxY: Float[Array, "b y"] | None,
        count: int,
    ) -> Float[Array, "b 1"]:
        """Return the discriminator's logits, high for real images, which it sees augmented.

        Args:
            params: Parameters of the discriminator.
            state: State with the probability of augmentation.
            key: Random key of augmentation and dropout.
            images_BxHxWxC: Images that are not augmented, in [-1, 1].
            labels_BxY: Labels of the images; None without labels.
            count: Number of images of the full batch.
        """
        return self.discriminate_with_output(
            params, state, key, images_BxHxWxC, labels_BxY, count
        ).logits_Bx1

    def discriminate_with_output(
        self,
        params: Tree,
        state: TrainState,
        key: Key[Array, ""],
        images_BxHxWxC: Float[Array, "b h w c"],
        labels_BxY: Float[Array, "b y"] | None,
        count: int,
        others_NxY: Float[Array, "n y"] | None = None,
    ) -> DiscriminatorOutput:
        """Return logits, as `discriminate`, and what else the discriminator returns.

        `others_NxY` are labels to compare the images with, the same on every device.
        """
        images_BxHxWxC = self.augment(state, key, images_BxHxWxC, count)
        config = self.config
        discriminator = make_discriminator(
            config.discriminator,
            config.generator.base_grid,
            config.train.rematerialize,
            self.parallel.axis_name,
        )
        dropout = self.parallel.fold_in_device(jax.random.fold_in(key, DROPOUT_INDEX))
        variables = {"params": params} | stats_variables(state.batch_stats, "discriminator")
        options: Any = {} if others_NxY is None else {"others_NxY": others_NxY}
        (logits_Bx1, out), updated = discriminator.apply(
            self.parallel.replicate_params(variables),
            images_BxHxWxC,
            labels_BxY,
            train=True,
            microbatch=self.microbatch,
            rngs={"dropout": dropout},
            mutable=["batch_stats"],
            **options,
        )
        stats = updated.get("batch_stats", {})
        return DiscriminatorOutput(logits_Bx1, stats, out.get("similarities"))

    def _generator(self) -> Generator:
        config = self.config
        return Generator(config.generator, config.train.rematerialize, self.parallel.axis_name)

    def _component_mask(
        self, params: Tree, state: TrainState, keys: Keys, count: int
    ) -> Float[Array, "b k"] | None:
        """Draw the components that attention sees, the same in every call with these keys."""
        variables, rngs = self._variables(params, state), self._rngs(keys)
        mask_BxK: Any = self._generator().apply(
            variables, count, self.microbatch, rngs=rngs, method="component_mask"
        )
        return mask_BxK

    def _variables(
        self, params: Tree, state: TrainState, network: str = "generator"
    ) -> dict[str, Tree]:
        variables = state.generator_variables(average=network == "ema")
        return self.parallel.replicate_params(variables | {"params": params})

    def _rngs(self, keys: Keys) -> Keys:
        """Return the keys of draws that the generator makes by itself."""
        return {
            n: self.parallel.fold_in_device(keys[n]) for n in ("noise", "dropout", "components")
        }


def draw_cutoff(key: Key[Array, ""], probability: float, length: int) -> Int[Array, ""]:
    """Draw where mixing starts: 1 to length - 1, or, with 1 - probability, `length`: nowhere."""
    mixes, where = jax.random.split(key)
    cutoff = jax.random.randint(where, (), 1, max(length, 2))
    return jnp.where(jax.random.bernoulli(mixes, probability), cutoff, length)
