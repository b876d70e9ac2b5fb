"""Programs of a generator that run without this package, serialized by `jax.export`.

Each takes a dict of weights, then its inputs, and returns a dict. The batch size is symbolic: a
program is compiled for each number of images that it is called with.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.convert.build import unflatten
from ganformer_jax.errors import UserError
from ganformer_jax.models import num_layers
from ganformer_jax.models.by_seed import apply_sampling, generate_by_seed
from ganformer_jax.pixels import to_uint8

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
BATCH = "b"
PREFIX = "weights/"
"""Prefix of the names of weights, which distinguishes them from other arrays."""


class Input(NamedTuple):
    """An argument of a program, after the weights."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    meaning: str


class Program(NamedTuple):
    """A function of weights and inputs that returns a dict, and descriptions of both."""

    function: Callable[..., dict[str, Any]]
    inputs: tuple[Input, ...]
    outputs: dict[str, str]

    def describe(self) -> dict[str, Any]:
        """Return the descriptions of inputs and outputs in a form for JSON."""
        inputs = [{**given._asdict(), "shape": list(given.shape)} for given in self.inputs]
        return {"inputs": inputs, "outputs": self.outputs}


def generator_programs(config: GeneratorConfig, noise: str) -> dict[str, Program]:
    """Return the programs of a generator by name: `sample`, `generate` and `synthesize`.

    Args:
        config: Config of the generator.
        noise: "random", "const" or "none"; with "random" the last two have an input of seeds.
    """
    seeds = Input("seeds", (BATCH,), "uint32", "one for each image, 0 to 2^32 - 1")
    noise_seeds = (seeds._replace(meaning="decide the noise of each image"),)
    noise_seeds = noise_seeds if noise == "random" else ()
    latents = (BATCH, config.num_latents)
    z = Input("z", (*latents, config.z_size), "float32", "normally distributed; the last is global")
    layers = num_layers(config)
    w_shape = (BATCH, config.num_w, layers, config.w_size)
    w = Input("w", w_shape, "float32", "w of each latent and layer")
    images = "float32 [b, height, width, channels], about -1 to 1"
    maps = {
        "attention": "list, a layer each: float32 [b, components, heads, height, width], 0 to 1"
    }
    maps = maps if config.attended_resolutions else {}
    w_output = {"w": "float32 [b, latents, width], before truncation"}
    return {
        "sample": Program(
            _sample(config, noise),
            (seeds, *_labels(config), _PSI),
            {"images": "uint8 [b, height, width, channels], 0 to 255", **w_output},
        ),
        "generate": Program(
            _generate(config, noise),
            (z, *_labels(config), _PSI, *noise_seeds),
            {"images": images, **w_output, **maps},
        ),
        "synthesize": Program(
            _synthesize(config, noise), (w, *noise_seeds), {"images": images, **maps}
        ),
    }


def serialize(program: Program, weights: Mapping[str, Any]) -> bytes:
    """Lower a program for all platforms and serialize it.

    Args:
        program: Program to serialize.
        weights: Arrays by name, of which only shapes and types are used.

    Raises:
        UserError: If flatbuffers, which `jax.export` serializes with, is not installed.
    """
    export = _jax_export()
    (batch,) = export.symbolic_shape(BATCH)
    inputs = [
        jax.ShapeDtypeStruct(
            [batch if side == BATCH else side for side in given.shape], given.dtype
        )
        for given in program.inputs
    ]
    shapes = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in weights.items()}
    with _without_source_files():
        exported = export.export(jax.jit(program.function), platforms=PLATFORMS)(shapes, *inputs)
    return bytes(exported.serialize())


def deserialize(program: Any) -> Any:
    """Return the `jax.export.Exported` of a serialized program, which may be an array of bytes.

    Raises:
        UserError: If flatbuffers is not installed.
    """
    return _jax_export().deserialize(bytearray(program))


def _jax_export() -> Any:
    if importlib.util.find_spec("flatbuffers") is None:
        raise UserError("jax.export needs flatbuffers: pip install flatbuffers")
    from jax import export

    return export


_PSI = Input("truncation_psi", (), "float32", "1 is without truncation, 0 the mean image")


def _labels(config: GeneratorConfig) -> tuple[Input, ...]:
    meaning = "one-hot class or condition of each image"
    if config.text.vocabulary:
        meaning = "tokens of the caption of each image, 0 for padding"
    labels = Input("labels", (BATCH, config.label_size), "float32", meaning)
    return (labels,) if config.label_size else ()


def _variables(weights: Mapping[str, Array]) -> dict[str, Any]:
    return unflatten({name.removeprefix(PREFIX): leaf for name, leaf in weights.items()})


def _sample(config: GeneratorConfig, noise: str) -> Callable[..., dict[str, Any]]:
    @jax.default_matmul_precision("highest")
    def sample(weights: Mapping[str, Array], seeds_B: Int[Array, " b"], *rest: Array):
        labels_BxY, psi = _optional(config, *rest)
        images, out = generate_by_seed(config, _variables(weights), seeds_B, labels_BxY, noise, psi)
        return {"images": to_uint8(images), "w": out["w"]}

    return sample


def _generate(config: GeneratorConfig, noise: str) -> Callable[..., dict[str, Any]]:
    @jax.default_matmul_precision("highest")
    def generate(weights: Mapping[str, Array], z_BxKxD: Float[Array, "b k d"], *rest: Array):
        labels_BxY, psi, *seeds = _optional(config, *rest)
        images, out = apply_sampling(
            config,
            _variables(weights),
            z_BxKxD,
            labels_BxY,
            truncation_psi=psi,
            noise=noise,
            noise_seeds_B=seeds[0] if seeds else None,
        )
        return {"images": images, "w": out["w"]} | _maps(out)

    return generate


def _synthesize(config: GeneratorConfig, noise: str) -> Callable[..., dict[str, Any]]:
    @jax.default_matmul_precision("highest")
    def synthesize(weights: Mapping[str, Array], w_BxKxLxD: Array, *seeds: Array):
        images, out = apply_sampling(
            config,
            _variables(weights),
            w_BxKxLxD,
            noise=noise,
            noise_seeds_B=seeds[0] if seeds else None,
            method="synthesize",
        )
        return {"images": images} | _maps(out)

    return synthesize


def _optional(config: GeneratorConfig, *rest: Array) -> tuple[Any, ...]:
    """Return the labels, or None if the generator has none, and the inputs after them."""
    return rest if config.label_size else (None, *rest)


def _maps(out: Mapping[str, Any]) -> dict[str, list[Array]]:
    return {"attention": list(out["attention"])} if out["attention"] else {}


@contextlib.contextmanager
def _without_source_files() -> Iterator[None]:
    """Keep the paths of local source files out of lowered programs."""
    name = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)
