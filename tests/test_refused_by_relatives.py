"""Networks and samplers of translation, priors and GANformer2 refuse what they would misread."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganformer_jax.config.ganformer2 import ExecutionConfig, PlanningConfig
from ganformer_jax.config.patches import PatchConfig
from ganformer_jax.config.prior import AutoencoderConfig, PriorConfig, PriorStageConfig
from ganformer_jax.config.translation import TranslatorConfig
from ganformer_jax.models.executor import Executor
from ganformer_jax.models.patch_discriminator import PatchDiscriminator
from ganformer_jax.models.planner import Planner
from ganformer_jax.models.segment_discriminator import LayoutReader
from ganformer_jax.models.translator import Translator
from ganformer_jax.models.vq_autoencoder import Encoder
from ganformer_jax.sampling.planned_scenes import SceneSampler
from ganformer_jax.sampling.priors import PriorSampler
from ganformer_jax.sampling.translations import ImageTranslator

TRANSLATOR = TranslatorConfig(image_size=(16, 16), width=4, blocks=1)
AUTOENCODER = AutoencoderConfig(image_size=(16, 16), width=4)
CAPTIONS = PriorConfig(autoencoder=AUTOENCODER, prior=PriorStageConfig(label_size=3, vocabulary=7))


@functools.cache
def variables_of(network, *shapes):
    return jax.eval_shape(network.init, jax.random.key(0), *map(jnp.zeros, shapes))


def applied(network, shapes, *inputs):
    """Shapes of what a network returns; nothing is compiled."""
    return jax.eval_shape(network.apply, variables_of(network, *shapes), *inputs)


@pytest.mark.parametrize(
    ("network", "size", "message"),
    [
        (Translator(TRANSLATOR), 18, "images of 18x18: give multiples of 4, 4x4 or more"),
        (Encoder(AUTOENCODER, 8), 18, "images of 18x18: give multiples of 4, 4x4 or more"),
        (LayoutReader(), 18, "images of 18x18: give multiples of 4, 4x4 or more"),
        # Its logits were none, and their mean was not a number.
        (PatchDiscriminator(PatchConfig(width=4, layers=2)), 8, "images of 8x8: give 12x12 or"),
    ],
)
def test_images_are_floats_of_a_size_that_fits(network, size, message):
    shape = (1, 16, 16, 3)
    applied(network, [shape], jnp.zeros((2, 12, 12, 3), jnp.bfloat16))
    with pytest.raises(TypeError, match="images are uint8: convert them"):
        applied(network, [shape], jnp.zeros(shape, jnp.uint8))
    with pytest.raises(ValueError, match=r"images \[16, 16, 3\]: give \[batch, height, width"):
        applied(network, [shape], jnp.zeros(shape[1:]))
    with pytest.raises(ValueError, match=message):
        applied(network, [shape], jnp.zeros((1, size, size, 3)))


def test_latents_of_segments_are_all_there():
    """Without a latent of the image, that of the last segment was taken for it."""
    executor = Executor(ExecutionConfig(resolution=8, style_size=4, channel_max=4), 3)

    def image(segments):
        z, layout = jnp.zeros((2, segments + 1, 4)), jnp.zeros((2, 8, 8, 3))
        return executor.init(jax.random.key(0), z, layout, "const")

    jax.eval_shape(lambda: image(3))
    with pytest.raises(ValueError, match=r"styles \[2, 3, 4\]: give \[2, 4, 4\]"):
        image(2)
    planner = Planner(PlanningConfig(latent_size=4, channel_max=4), 8)
    with pytest.raises(ValueError, match=r"z \[2, 6, 4\]: give \[2, 7, 4\]"):
        planner.init(jax.random.key(0), jnp.zeros((2, 6, 4)), jnp.ones((2, 7)))


@pytest.mark.parametrize("labels", [[2], [[1, 7, 2]], [[1, 0.5, 2]], [[1, -1, 2]], [[1, 2]]])
def test_captions_are_rows_of_known_tokens(labels):
    """A class was read as the tokens of its one-hot vector, and 7 as the token 6."""
    message = "captions must be 1 rows of 3 tokens, whole numbers from 0 to 6"
    with pytest.raises(ValueError, match=message):
        PriorSampler(CAPTIONS).images({}, [0], labels)
    with pytest.raises(ValueError, match=message):
        PriorSampler(CAPTIONS).nats({}, np.zeros((1, 16), int), labels)


def test_samplers_refuse_settings_out_of_range():
    unlabeled = dataclasses.replace(CAPTIONS, prior=PriorStageConfig())
    for make in (PriorSampler, ImageTranslator, SceneSampler):
        with pytest.raises(ValueError, match="batch_size is 0; it should be 1 or more"):
            make(unlabeled, batch_size=0)
    for top_k in (-1, 257):
        with pytest.raises(ValueError, match=f"top_k is {top_k}; it should be from 0 to 256"):
            PriorSampler(unlabeled, top_k=top_k)
    for temperature in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="temperature is .*; it should be 0 or more"):
            PriorSampler(unlabeled).images({}, [0], temperature=temperature)


@pytest.mark.parametrize("shape", [(0, 16, 16, 3), (1, 20, 20, 3), (16, 16, 3)])
def test_images_to_read_are_of_the_size_that_was_trained_on(shape):
    for read in (ImageTranslator(TRANSLATOR), PriorSampler(CAPTIONS).reconstruct):
        with pytest.raises(ValueError, match=r"give one or more of \[16, 16, 3\]"):
            read({}, np.zeros(shape, np.uint8))
