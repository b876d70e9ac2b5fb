"""What the steps are made of: both networks at play, their batches, and every random draw."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax

from ganformer_jax.config import Config
from ganformer_jax.models import (
    Discriminator,
    Generator,
    broadcast_layers,
    mix_components,
    mix_layers,
)
from ganformer_jax.pixels import from_uint8
from ganformer_jax.train.state import TrainState, Tree

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, Key

Batch = dict[str, Any]
"""`images`: uint8 [batch, height, width, channels]; `labels`: float32 [batch, label size]."""

# A draw's key is the state's, folded with the step and then with a place in this table: a row of
# STRIDE for every phase. Append only: another order would change every run.
PHASES = ("generator", "path_length", "discriminator")
DRAWS = ("z", "noise", "dropout", "components", "pixels", "style_z", "style", "part_z", "part")
STRIDE = 32
assert len(DRAWS) <= STRIDE


@dataclasses.dataclass(frozen=True)
class Players:
    """The networks of one experiment, on one device, a mesh or a mapped axis.

    Attributes:
        config: The experiment.
        axis_name: The mapped axis under `jax.pmap` or `shard_map` (with `check_vma=False`); the
            batch is then one device's share, and gradients are averaged over the axis.
        batch_sharding: How a mesh divides a batch, under `jax.jit`. Without it every device
            would generate all of the images.
    """

    config: Config
    axis_name: str | None = None
    batch_sharding: jax.sharding.NamedSharding | None = None

    def _map(
        self,
        params: Tree,
        state: TrainState,
        keys: dict[str, Key[Array, ""]],
        labels: Float[Array, "batch classes"] | None,
        count: int,
    ) -> tuple[Float[Array, "batch latents layers width"], Float[Array, " width"]]:
        """Samples w, mixed over layers and components, and its mean before mixing."""
        generator, options = Generator(self.config.generator), self.config.loss
        shape = (count, self.config.generator.num_latents, self.config.generator.z_size)

        def draw(name: str) -> Any:
            return generator.apply(
                self._variables(params, state),
                self._normal(keys[name], shape),
                labels,
                train=True,
                rngs=self._rngs(keys),
                method="map",
            )

        w_BxKxW = draw("z")
        layers, latents = generator.num_layers, shape[1]
        w_BxKxLxW = broadcast_layers(w_BxKxW, layers)
        if options.style_mixing > 0:
            other_BxKxLxW = broadcast_layers(draw("style_z"), layers)
            cutoff = _cutoff(keys["style"], options.style_mixing, layers)
            w_BxKxLxW = mix_layers(w_BxKxLxW, other_BxKxLxW, cutoff)
        if options.component_mixing > 0 and latents > 1:
            other_BxKxLxW = broadcast_layers(draw("part_z"), layers)
            cutoff = _cutoff(keys["part"], options.component_mixing, latents)
            w_BxKxLxW = mix_components(w_BxKxLxW, other_BxKxLxW, cutoff)
        return w_BxKxLxW, w_BxKxW.mean((0, 1), dtype=jnp.float32)

    def _synthesize(
        self,
        params: Tree,
        state: TrainState,
        keys: dict[str, Key[Array, ""]],
        w_BxKxLxW: Float[Array, "batch latents layers width"],
    ) -> Float[Array, "batch height width channels"]:
        images_BxHxWxC, _ = Generator(self.config.generator).apply(
            self._variables(params, state),
            w_BxKxLxW,
            noise="random",
            train=True,
            rngs=self._rngs(keys),
            method="synthesize",
        )
        return self._split(images_BxHxWxC)

    def _discriminate(
        self,
        params: Tree,
        images_BxHxWxC: Float[Array, "batch height width channels"],
        labels_BxC: Float[Array, "batch classes"] | None,
    ) -> Float[Array, "batch 1"]:
        discriminator = Discriminator(self.config.discriminator, self.config.generator.base_grid)
        return discriminator.apply({"params": params}, images_BxHxWxC, labels_BxC)[0]

    def _variables(self, params: Tree, state: TrainState) -> dict[str, Tree]:
        return state.generator_variables() | {"params": params}

    # Batches, keys and devices

    def _count(self, batch: Batch) -> int:
        """Images of the whole batch, over all devices."""
        return batch["images"].shape[0] * self._devices()

    def _images(self, batch: Batch) -> Float[Array, "batch height width channels"]:
        """Real images in [-1, 1]."""
        return self._split(from_uint8(batch["images"]))

    def _labels(self, batch: Batch, count: int | None = None) -> Float[Array, "batch c"] | None:
        """Labels of real and of generated images; only of the whole batch's first `count`."""
        if not self.config.generator.label_size:
            return None
        labels = batch["labels"]
        if self.axis_name is None or count is None:
            return self._split(labels[:count])
        return self._share(lax.all_gather(labels, self.axis_name, tiled=True)[:count])

    def _keys(self, state: TrainState, phase: str) -> dict[str, Key[Array, ""]]:
        key = jax.random.fold_in(state.key, state.step)
        start = PHASES.index(phase) * STRIDE
        return {name: jax.random.fold_in(key, start + i) for i, name in enumerate(DRAWS)}

    def _rngs(self, keys: dict[str, Key[Array, ""]]) -> dict[str, Key[Array, ""]]:
        """Keys of what the generator draws by itself, different on every device of the axis."""
        rngs = {name: keys[name] for name in ("noise", "dropout", "components")}
        if self.axis_name is None:
            return rngs
        device = lax.axis_index(self.axis_name)
        return {name: jax.random.fold_in(key, device) for name, key in rngs.items()}

    def _normal(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "batch ..."]:
        """Draws for the whole batch and keeps this device's share, if there is an axis."""
        drawn = self._split(jax.random.normal(key, shape))
        return drawn if self.axis_name is None else self._share(drawn)

    def _share(self, whole: jax.Array) -> jax.Array:
        """Takes this device's share of what all devices of the axis have."""
        share = whole.shape[0] // self._devices()
        return lax.dynamic_slice_in_dim(whole, lax.axis_index(self.axis_name) * share, share)

    def _devices(self) -> int:
        return 1 if self.axis_name is None else lax.axis_size(self.axis_name)

    def _mean(self, tree: Any) -> Any:
        return tree if self.axis_name is None else lax.pmean(tree, self.axis_name)

    def _split(self, batch: jax.Array) -> jax.Array:
        """Divides a batch over the mesh, if there is one."""
        if self.batch_sharding is None:
            return batch
        return lax.with_sharding_constraint(batch, self.batch_sharding)


def _cutoff(key: Key[Array, ""], probability: float, length: int) -> Int[Array, ""]:
    """Draws where mixing starts: 1 to length - 1, or, with 1 - probability, `length`: nowhere."""
    mixes, where = jax.random.split(key)
    cutoff = jax.random.randint(where, (), 1, max(length, 2))
    return jnp.where(jax.random.bernoulli(mixes, probability), cutoff, length)
