"""Scenes by seed from a trained GANformer2, their layouts step by step, and edits of segments."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ganformer_jax.config.ganformer2 import GANformer2Config
from ganformer_jax.models.executor import Executor
from ganformer_jax.models.planner import Plan, Planner, draw_present
from ganformer_jax.nn.layouts import HIDDEN, compose, harden, move_maps
from ganformer_jax.pixels import to_uint8
from ganformer_jax.random_keys import seeded_key
from ganformer_jax.sampling.seeds import check_batch_size, seed_array

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, UInt8


class SegmentEdit(NamedTuple):
    """A change of one segment of every image.

    Entries are integers: a segment moves by whole pixels.
    """

    segment: int
    """Number of the segment, from 1; 0 is the background."""
    style_seed: int | None = None
    """Take the segment's style from the image of this seed, from 0 to 2^32 - 1."""
    down: int = 0
    """Move the segment down by pixels."""
    right: int = 0
    """Move the segment right by pixels."""
    remove: bool = False
    """Leave the segment out."""


class PlannedScenes(NamedTuple):
    """Images of some seeds and their layouts, on the host."""

    images: UInt8[np.ndarray, "b h w c"]
    """Images, uint8 in 0..255."""
    layouts: Int[np.ndarray, "b s h w"]
    """The segment of each pixel, from 0, the background: before planning and after each step."""
    depth: Float[np.ndarray, "b h w"]
    """Depth of the segment of each pixel, larger where nearer."""
    shares: Float[np.ndarray, "b h w"]
    """Share of that segment; below 1 where segments mix."""


@dataclasses.dataclass(frozen=True)
class SceneSampler:
    """Draws scenes by seed; each depends on its seed alone, not on the other seeds.

    Activations are float32, and matrix products have the highest precision. Layouts are hard.

    Attributes:
        config: The experiment.
        batch_size: Images per batch; the last batch is padded.
        batch_sharding: Sharding of a batch over devices; the weights must be on the same ones.
        noise: "random" draws noise by seed, as in training; "const" is the same for every image;
            "none" adds no noise.

    Raises:
        ValueError: If `batch_size` is below 1.
    """

    config: GANformer2Config
    batch_size: int = 16
    batch_sharding: jax.sharding.Sharding | None = None
    noise: Literal["random", "const", "none"] = "random"

    def __post_init__(self):
        check_batch_size(self.batch_size)

    def __call__(
        self, weights: Mapping[str, Any], seeds: Iterable[int], edit: SegmentEdit | None = None
    ) -> PlannedScenes:
        """Generate one scene for each seed.

        Args:
            weights: "ema" and "constants" of a `GANformer2State`.
            seeds: Integers from 0 to 2^32 - 1; one or more.
            edit: A change of every scene.

        Raises:
            ValueError: If seeds are no such integers or none, or the edit is of another segment
                than there are.
            TypeError: If a segment is to move by parts of a pixel.
        """
        drawn = seed_array(seeds)
        if not drawn.size:
            raise ValueError("no seeds")
        numbers = None if edit is None else self._numbers(edit)
        found = []
        for start in range(0, drawn.size, self.batch_size):
            rows = np.arange(start, start + self.batch_size) % drawn.size
            placed = jax.device_put(drawn[rows], self.batch_sharding)
            found.append(jax.device_get(_generate(self, numbers, weights, placed)))
        parts = zip(*found, strict=True)
        return PlannedScenes(*(np.concatenate(part)[: drawn.size] for part in parts))

    def _numbers(self, edit: SegmentEdit) -> SegmentEdit:
        """Return an edit of arrays; raise ValueError or TypeError if it cannot be made."""
        last, size = self.config.planning.segments - 1, self.config.execution.resolution
        if not 0 <= edit.segment <= last:
            raise ValueError(f"segments are 0 to {last}, not {edit.segment}")
        if edit.style_seed is not None:
            edit = edit._replace(style_seed=seed_array([edit.style_seed])[0])
        # Further than the image is large is out of it, too.
        down, right = (max(-size, min(size, operator.index(n))) for n in (edit.down, edit.right))
        return jax.tree.map(np.asarray, edit._replace(down=down, right=right))

    def lower(self, weights: Mapping[str, Any]) -> jax.stages.Lowered:
        """Trace the program of one batch, for weights or for their shapes."""
        seeds = jax.ShapeDtypeStruct((self.batch_size,), np.uint32, sharding=self.batch_sharding)
        return _generate.lower(self, None, weights, seeds)


@functools.partial(jax.jit, static_argnums=0)
def _generate(
    sampler: SceneSampler, edit: SegmentEdit | None, weights: Mapping[str, Any], seeds_B: jax.Array
) -> tuple[Array, ...]:
    config = _in_float32(sampler.config)
    with jax.default_matmul_precision("highest"):
        plan = plan_scenes(config, weights["ema"]["planner"], seeds_B)
        z_BxKxD = _styles(config, seeds_B)
        if edit is not None:
            plan, z_BxKxD = edit_plan(config, edit, plan, z_BxKxD)
        layout = plan.layout_SxBxHxWxK[-1]
        images = execute(config, weights, z_BxKxD, harden(layout), sampler.noise, seeds_B)
    steps_BxSxHxW = jnp.swapaxes(plan.layout_SxBxHxWxK.argmax(-1), 0, 1)
    nearest_BxHxWx1 = layout.argmax(-1)[..., None]
    depth = jnp.take_along_axis(plan.depth_BxHxWxK, nearest_BxHxWx1, -1)[..., 0]
    return to_uint8(images), steps_BxSxHxW, depth, layout.max(-1)


def plan_scenes(config: GANformer2Config, params: Any, seeds_B: Int[Array, " b"]) -> Plan:
    """Plan the layouts of seeds."""
    planning = config.planning

    def draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        z_KxD = jax.random.normal(key, (planning.segments, planning.latent_size))
        return z_KxD, draw_present(planning, jax.random.fold_in(key, 1), 1)[0]

    z_BxKxD, present_BxK = jax.vmap(draw)(_keys(seeds_B, 0))
    plan: Any = Planner(planning, config.execution.resolution).apply(
        {"params": params}, z_BxKxD, present_BxK
    )
    return plan


def execute(
    config: GANformer2Config,
    weights: Mapping[str, Any],
    z_BxKxD: Float[Array, "b k d"],
    layout_BxHxWxK: Float[Array, "b h w k"],
    noise: str,
    seeds_B: Int[Array, " b"],
) -> Float[Array, "b h w c"]:
    """Make images of styles and layouts; random noise is that of the seeds."""
    variables = {"params": weights["ema"]["executor"], "constants": weights["constants"]}
    executor = Executor(config.execution, config.planning.segments)
    inputs, rngs = (z_BxKxD, layout_BxHxWxK, noise, seeds_B), {"noise": _key(2)}
    images: Any = executor.apply(variables, *inputs, rngs=rngs)
    return images


def edit_plan(
    config: GANformer2Config, edit: SegmentEdit, plan: Plan, z_BxKxD: Float[Array, "b k d"]
) -> tuple[Plan, Float[Array, "b k d"]]:
    """Return the plan and the styles after an edit; later steps are not planned again.

    Numbers of the edit may be traced, so that one program makes all edits of a kind.
    """
    place = edit.segment
    if edit.style_seed is not None:
        other_KxD = _styles(config, jnp.asarray(edit.style_seed, jnp.uint32)[None])[0]
        z_BxKxD = z_BxKxD.at[:, place].set(other_KxD[None, place])
    present = plan.present_BxK.at[:, place].multiply(1.0 - edit.remove)
    shape = plan.shape_BxHxWxK[..., place]
    shape = move_maps(shape, edit.down, edit.right, HIDDEN)
    depth = move_maps(plan.depth_BxHxWxK[..., place], edit.down, edit.right, 0.0)
    plan = plan._replace(
        shape_BxHxWxK=plan.shape_BxHxWxK.at[..., place].set(shape),
        depth_BxHxWxK=plan.depth_BxHxWxK.at[..., place].set(depth),
        present_BxK=present,
    )
    last = compose(*plan[:3])
    return plan._replace(layout_SxBxHxWxK=plan.layout_SxBxHxWxK.at[-1].set(last)), z_BxKxD


def _styles(config: GANformer2Config, seeds_B: Int[Array, " b"]) -> Float[Array, "b k d"]:
    """Draw the style latents of seeds."""
    shape = config.planning.segments + 1, config.execution.style_size
    return jax.vmap(lambda key: jax.random.normal(key, shape))(_keys(seeds_B, 1))


def _keys(seeds_B: Int[Array, " b"], purpose: int) -> jax.Array:
    return jax.vmap(functools.partial(jax.random.fold_in, _key(purpose)))(seeds_B)


def _key(purpose: int) -> jax.Array:
    return jax.random.fold_in(seeded_key(0), purpose)


def _in_float32(config: GANformer2Config) -> GANformer2Config:
    parts = {name: getattr(config, name) for name in ("planning", "execution")}
    exact = {name: dataclasses.replace(part, dtype="float32") for name, part in parts.items()}
    return dataclasses.replace(config, **exact)
