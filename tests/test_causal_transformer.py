"""GPT-2: equal to the published implementation, causal, and the same read token by token."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ganformer_jax.config.prior import TransformerConfig
from ganformer_jax.convert.gpt2 import read_gpt2
from ganformer_jax.errors import UserError
from ganformer_jax.models.causal_transformer import CausalTransformer, empty_cache

DATA = pathlib.Path(__file__).parent / "data" / "gpt2.npz"
HEADS = 4


@pytest.fixture(scope="module")
def reference():
    with np.load(DATA) as file:
        return dict(file)


def write(path, reference, prefix="transformer.", **changes):
    """Write the weights of the reference to a file; None leaves an array out."""
    weights = {n: a for n, a in reference.items() if n.startswith("weights/")}
    arrays = {n.removeprefix("weights/transformer."): a for n, a in weights.items()} | changes
    save_file({prefix + n: a for n, a in arrays.items() if a is not None}, path)
    return path


@pytest.fixture(scope="module")
def published(tmp_path_factory, reference):
    path = write(tmp_path_factory.mktemp("gpt2") / "x.safetensors", reference)
    transformer, params = read_gpt2(path, HEADS)
    apply = jax.jit(transformer.apply)

    def read(tokens, *cache):
        with jax.default_matmul_precision("highest"):
            return apply({"params": params}, tokens, *cache)

    return transformer, params, read


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_logits_are_those_of_the_published_implementation(tmp_path, reference, published, prefix):
    path = write(tmp_path / "x.safetensors", reference, prefix)
    transformer, params = read_gpt2(path, HEADS)
    config = transformer.config
    assert (config.layers, config.width, config.hidden_width) == (2, 16, 48)
    assert (transformer.vocabulary, transformer.longest) == (40, 12)
    jax.tree.map(np.testing.assert_array_equal, params, published[1])
    logits, _ = published[2](jnp.asarray(reference["tokens"]))
    np.testing.assert_allclose(logits, reference["logits"], atol=1e-4)


def test_weights_may_be_constants_of_a_compiled_function(reference, published):
    """Arrays of NumPy cannot be indexed by what is traced."""
    transformer, params, read = published
    logits, _ = jax.jit(lambda tokens: transformer.apply({"params": params}, tokens))(
        jnp.asarray(reference["tokens"])
    )
    np.testing.assert_allclose(logits, read(reference["tokens"])[0], atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_weights_of_half_precision_are_read_in_float32(tmp_path, reference, dtype):
    _, usual = read_gpt2(write(tmp_path / "x.safetensors", reference), HEADS)
    half = {
        name: array.astype(dtype)
        for name, array in load_file(tmp_path / "x.safetensors").items()
        if array.dtype == np.float32
    }
    save_file(half, tmp_path / "half.safetensors")
    _, found = read_gpt2(tmp_path / "half.safetensors", HEADS)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b.astype(dtype)), found, usual)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}


def test_a_later_token_changes_no_earlier_logits(reference, published):
    tokens = jnp.asarray(reference["tokens"])
    changed = tokens.at[:, 7].set((tokens[:, 7] + 1) % 40)
    one, other = (published[2](each)[0] for each in (tokens, changed))
    np.testing.assert_array_equal(one[:, :7], other[:, :7])
    assert np.abs(one[:, 7:] - other[:, 7:]).max((0, 2)).min() > 1e-3


@pytest.mark.parametrize("pieces", [[1] * 12, [5, 1, 6]])
def test_logits_from_the_cache_are_those_of_the_whole_sequence(reference, published, pieces):
    transformer, _, read = published
    tokens = jnp.asarray(reference["tokens"])
    cache, found = empty_cache(transformer.config, len(tokens), 12), []
    for piece in jnp.split(tokens, np.cumsum(pieces)[:-1], 1):
        logits, cache = read(piece, cache)
        found.append(logits)
    assert int(cache.length) == 12
    np.testing.assert_allclose(jnp.concatenate(found, 1), read(tokens)[0], atol=1e-5)


def test_more_tokens_than_a_cache_holds_are_refused(published):
    """They would be written over those that it has."""
    transformer, params, _ = published
    read = functools.partial(transformer.apply, {"params": params})
    tokens, cache = jnp.ones((2, 3), jnp.int32), empty_cache(transformer.config, 2, 4)
    with pytest.raises(ValueError, match="a cache of 4 tokens has no room for 5 after 0"):
        jax.jit(read)(jnp.ones((2, 5), jnp.int32), cache)
    _, cache = read(tokens, cache)
    with pytest.raises(ValueError, match="a cache of 4 tokens has no room for 3 after 3"):
        read(tokens, cache)


def test_more_tokens_than_places_are_refused(published):
    transformer, params, _ = published
    with pytest.raises(ValueError, match="13 tokens, and the transformer reads at most 12"):
        transformer.apply({"params": params}, jnp.ones((1, 13), jnp.int32))
    cache = empty_cache(transformer.config, 1, 20)._replace(length=np.int32(11))
    with pytest.raises(ValueError, match="13 tokens, 11 of them in the cache, and the transformer"):
        transformer.apply({"params": params}, jnp.ones((1, 2), jnp.int32), cache)


def test_initial_parameters_are_those_that_are_read(published):
    transformer, params, _ = published
    tokens = jnp.ones((1, 3), jnp.int32)
    made = jax.eval_shape(transformer.init, jax.random.key(0), tokens)["params"]
    shapes = jax.tree.map(lambda leaf: leaf.shape, made)
    assert shapes == jax.tree.map(lambda leaf: leaf.shape, params)


def test_half_precision_is_close():
    config = TransformerConfig(layers=2, width=16, heads=2, hidden_width=32)
    tokens = jnp.arange(10)[None] % 7
    whole = CausalTransformer(config, 7, 10)
    params = whole.init(jax.random.key(0), tokens)
    half = CausalTransformer(
        TransformerConfig(layers=2, width=16, heads=2, hidden_width=32, dtype="bfloat16"), 7, 10
    )
    logits, cache = half.apply(params, tokens)
    assert logits.dtype == jnp.float32 and cache.layers[0][0].dtype == jnp.bfloat16
    np.testing.assert_allclose(logits, whole.apply(params, tokens)[0], atol=0.01)


def test_what_is_not_a_gpt2_is_refused(tmp_path, reference):
    name = "h.1.mlp.c_proj.weight"
    path = write(tmp_path / "less.safetensors", reference, **{name: None})
    with pytest.raises(
        UserError, match=f"less.safetensors does not contain a GPT-2: it has no {name}"
    ):
        read_gpt2(path, HEADS)
    path = write(tmp_path / "more.safetensors", reference, more=np.zeros(2, np.float32))
    with pytest.raises(UserError, match="does not contain a GPT-2: it has an array more"):
        read_gpt2(path, HEADS)
    path = write(tmp_path / "x.safetensors", reference)
    for heads in (None, 3):
        with pytest.raises(UserError, match="give a number of heads that divides its width, 16"):
            read_gpt2(path, heads)
    path = write(tmp_path / "y.safetensors", reference, **{name: np.zeros((2, 2), np.int32)})
    with pytest.raises(UserError, match=r"mlp.c_proj.weight is int32 \[2, 2\], not weights"):
        read_gpt2(path, HEADS)
    head = {"lm_head.weight": np.ones((40, 16), np.float32)}
    path = write(tmp_path / "z.safetensors", reference, "", **head)
    with pytest.raises(UserError, match="lm_head.weight differs from wte.weight"):
        read_gpt2(path, HEADS)
    transposed = np.zeros((48, 16), np.float32)
    path = write(tmp_path / "t.safetensors", reference, **{"h.0.attn.c_attn.weight": transposed})
    with pytest.raises(UserError, match=r"c_attn.weight is \[48, 16\], .* should be \[16, 48\]"):
        read_gpt2(path, HEADS)
