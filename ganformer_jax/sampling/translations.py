"""Translations of images by a trained generator."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ganformer_jax.config.translation import TranslatorConfig
from ganformer_jax.models.translator import Translator
from ganformer_jax.pixels import from_uint8, to_uint8
from ganformer_jax.sampling.seeds import check_batch_size
from ganformer_jax.sampling.synthesizer import Synthesized

if TYPE_CHECKING:
    from jaxtyping import UInt8


@dataclasses.dataclass(frozen=True)
class ImageTranslator:
    """Translates images; each translation depends on its image alone, not on the others.

    Activations are float32, and matrix products have the highest precision.

    Attributes:
        config: Config of the generator.
        batch_size: Images per batch; the last batch is padded.
        attention: Return attention maps, which take memory.
        batch_sharding: Sharding of a batch over devices; the parameters must be on the same ones.

    Raises:
        ValueError: If `batch_size` is below 1.
    """

    config: TranslatorConfig
    batch_size: int = 16
    attention: bool = False
    batch_sharding: jax.sharding.Sharding | None = None

    def __post_init__(self):
        check_batch_size(self.batch_size)

    def __call__(self, params: Any, images_BxHxWxC: UInt8[np.ndarray, "b h w c"]) -> Synthesized:
        """Translate images.

        Args:
            params: Parameters of the generator.
            images_BxHxWxC: One or more images of the config's size.

        Returns:
            The translations and, if asked for, attention of every residual block.

        Raises:
            ValueError: If there are no images, or they are of another shape.
            TypeError: If they are not uint8.
        """
        size = *self.config.image_size, self.config.image_channels
        if not len(images_BxHxWxC) or images_BxHxWxC.shape[1:] != size:
            shape = list(images_BxHxWxC.shape)
            raise ValueError(f"images {shape}: give one or more of {list(size)}")
        batches = [
            self._batch(params, images_BxHxWxC[start : start + self.batch_size])
            for start in range(0, len(images_BxHxWxC), self.batch_size)
        ]
        parts = [Synthesized(*jax.device_get(batch)) for batch in batches]
        count = len(images_BxHxWxC)
        images = np.concatenate([part.images for part in parts])[:count]
        layers = zip(*(part.attention for part in parts), strict=True)
        return Synthesized(images, tuple(np.concatenate(layer)[:count] for layer in layers))

    def lower(self, params: Any) -> jax.stages.Lowered:
        """Trace the program, for parameters or for their shapes."""
        size = (self.batch_size, *self.config.image_size, self.config.image_channels)
        images = jax.ShapeDtypeStruct(size, np.uint8, sharding=self.batch_sharding)
        return _translate.lower(self, params, images)

    def _batch(self, params: Any, images_BxHxWxC: np.ndarray) -> tuple[jax.Array, Any]:
        missing = self.batch_size - len(images_BxHxWxC)
        if missing:
            images_BxHxWxC = np.concatenate(
                [images_BxHxWxC, np.repeat(images_BxHxWxC[-1:], missing, 0)]
            )
        return _translate(self, params, jax.device_put(images_BxHxWxC, self.batch_sharding))


@functools.partial(jax.jit, static_argnums=0)
def _translate(settings: ImageTranslator, params: Any, images: jax.Array) -> tuple[jax.Array, Any]:
    config = dataclasses.replace(settings.config, dtype="float32")
    with jax.default_matmul_precision("highest"):
        translated, out = Translator(config).apply({"params": params}, from_uint8(images))
    return to_uint8(translated), out["attention"] if settings.attention else ()
