"""Networks of every kind may be traced for a batch of any size, as `jax.export` does it."""

import jax
import jax.numpy as jnp
import pytest

from ganformer_jax.config import DiscriminatorConfig
from ganformer_jax.config.ganformer2 import CriticConfig, ExecutionConfig, PlanningConfig
from ganformer_jax.config.patches import PatchConfig
from ganformer_jax.config.prior import AutoencoderConfig, TransformerConfig
from ganformer_jax.config.text import TextEncoderConfig
from ganformer_jax.config.translation import TranslatorConfig
from ganformer_jax.models.causal_transformer import CausalTransformer
from ganformer_jax.models.dcgan import DCGANDiscriminator
from ganformer_jax.models.executor import Executor
from ganformer_jax.models.patch_discriminator import PatchDiscriminator
from ganformer_jax.models.planner import Planner
from ganformer_jax.models.sagan import SAGANDiscriminator
from ganformer_jax.models.segment_discriminator import LayoutReader, SegmentDiscriminator
from ganformer_jax.models.text_encoder import TextEncoder
from ganformer_jax.models.translator import Translator
from ganformer_jax.models.vq_autoencoder import Decoder, Encoder

SIZE, SEGMENTS = 16, 5
SMALL = {"channel_base": 32, "channel_max": 4}
PLANNING = PlanningConfig(steps=2, step_segments=2, latent_size=4, **SMALL)
EXECUTION = ExecutionConfig(resolution=SIZE, style_size=4, **SMALL)
CRITIC = CriticConfig(**SMALL, minibatch_stddev_group=1).network
CODES = AutoencoderConfig(image_size=(SIZE, SIZE), width=4, multipliers=(1, 1))
WORDS = TextEncoderConfig(layers=1, width=8, heads=2, hidden_width=8, vocabulary=9)
TOKENS = TransformerConfig(layers=1, width=8, heads=2, hidden_width=8)
IMAGES = (SIZE, SIZE, 3)
LAYOUT = (SIZE, SIZE, SEGMENTS)

NETWORKS = {
    "planner": (Planner(PLANNING, SIZE), [(SEGMENTS, 4), (SEGMENTS,)]),
    "executor": (Executor(EXECUTION, SEGMENTS), [(SEGMENTS + 1, 4), LAYOUT]),
    "discriminator of segments": (SegmentDiscriminator(CRITIC), [IMAGES, LAYOUT]),
    "reader of layouts": (LayoutReader(), [IMAGES]),
    "translator": (Translator(TranslatorConfig(width=4, blocks=1, components=2)), [IMAGES]),
    "discriminator of patches": (PatchDiscriminator(PatchConfig(width=4, layers=1)), [IMAGES]),
    "encoder": (Encoder(CODES, 2), [IMAGES]),
    "decoder": (Decoder(CODES), [(8, 8, 2)]),
    "DCGAN's discriminator": (DCGANDiscriminator(DiscriminatorConfig(**SMALL)), [IMAGES]),
    "SAGAN's discriminator": (SAGANDiscriminator(DiscriminatorConfig(**SMALL)), [IMAGES]),
}
READERS = {
    "text encoder": TextEncoder(WORDS),
    "causal transformer": CausalTransformer(TOKENS, vocabulary=9, longest=32),
}


def assert_any_batch(network, shapes, dtype=jnp.float32):
    """Assert that a network has outputs of the batch's size, whatever that is."""
    (batch,) = jax.export.symbolic_shape("b")
    keys = {name: jax.random.key(0) for name in ("params", "noise")}
    one, any_batch = (
        [jax.ShapeDtypeStruct((count, *shape), dtype) for shape in shapes] for count in (2, batch)
    )
    variables = jax.eval_shape(network.init, keys, *one)
    outputs = jax.eval_shape(
        lambda variables, *inputs: network.apply(variables, *inputs, rngs={"noise": keys["noise"]}),
        variables,
        *any_batch,
    )
    assert jax.tree.leaves(outputs)[0].shape[0] == batch


@pytest.mark.parametrize("name", NETWORKS)
def test_images_of_any_number(name):
    assert_any_batch(*NETWORKS[name])


@pytest.mark.parametrize("name", READERS)
def test_texts_of_any_number(name):
    assert_any_batch(READERS[name], [(6,)], jnp.int32)
