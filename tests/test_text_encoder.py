"""BERT: equal to the published implementation, from weights in its naming."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ganformer_jax.convert.bert import read_bert
from ganformer_jax.errors import UserError
from ganformer_jax.models.text_encoder import TextEncoder

DATA = pathlib.Path(__file__).parent / "data" / "bert.npz"
HEADS = 4


@pytest.fixture(scope="module")
def reference():
    with np.load(DATA) as file:
        return dict(file)


def write(path, reference, prefix="", **changes):
    """Write the weights of the reference to a file; None leaves an array out."""
    arrays = {n.removeprefix("weights/"): a for n, a in reference.items() if "weights/" in n}
    arrays |= changes
    save_file({prefix + n: a for n, a in arrays.items() if a is not None}, path)
    return path


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_outputs_are_those_of_the_published_implementation(tmp_path, reference, prefix):
    config, params = read_bert(write(tmp_path / "x.safetensors", reference, prefix), HEADS)
    assert (config.layers, config.width, config.hidden_width) == (2, 16, 32)
    assert (config.vocabulary, config.longest, config.segments) == (40, 12, 2)
    tokens = jnp.asarray(reference["tokens"])
    with jax.default_matmul_precision("highest"):
        hidden, pooled = TextEncoder(config).apply({"params": params}, tokens)
    seen = reference["tokens"] != 0
    np.testing.assert_allclose(hidden[seen], reference["hidden"][seen], atol=1e-5)
    np.testing.assert_allclose(pooled, reference["pooled"], atol=1e-5)


def test_weights_may_be_constants_of_a_compiled_function(tmp_path, reference):
    """Arrays of NumPy cannot be indexed by what is traced."""
    config, params = read_bert(write(tmp_path / "x.safetensors", reference), HEADS)
    encode = jax.jit(lambda tokens: TextEncoder(config).apply({"params": params}, tokens))
    _, pooled = encode(jnp.asarray(reference["tokens"]))
    np.testing.assert_allclose(pooled, reference["pooled"], atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_weights_of_half_precision_are_read_in_float32(tmp_path, reference, dtype):
    _, usual = read_bert(write(tmp_path / "x.safetensors", reference), HEADS)
    half = {
        name: array.astype(dtype)
        for name, array in load_file(tmp_path / "x.safetensors").items()
        if array.dtype == np.float32
    }
    save_file(half, tmp_path / "half.safetensors")
    _, found = read_bert(tmp_path / "half.safetensors", HEADS)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b.astype(dtype)), found, usual)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}


def test_padding_changes_nothing(tmp_path, reference):
    config, params = read_bert(write(tmp_path / "x.safetensors", reference), HEADS)
    tokens = jnp.asarray(reference["tokens"][1:2, :5])
    encode = TextEncoder(config).apply
    short, longer = (
        encode({"params": params}, jnp.pad(tokens, ((0, 0), (0, more)))) for more in (0, 7)
    )
    np.testing.assert_allclose(short[0], longer[0][:, :5], atol=1e-5)
    np.testing.assert_allclose(short[1], longer[1], atol=1e-5)
    with pytest.raises(ValueError, match="13 tokens, and the encoder reads at most 12"):
        encode({"params": params}, jnp.ones((1, 13), jnp.int32))


def test_initial_parameters_are_those_that_are_read(tmp_path, reference):
    config, params = read_bert(write(tmp_path / "x.safetensors", reference), HEADS)
    tokens = jnp.ones((1, 3), jnp.int32)
    made = jax.eval_shape(TextEncoder(config).init, jax.random.key(0), tokens)["params"]
    shapes = jax.tree.map(lambda leaf: leaf.shape, made)
    assert shapes == jax.tree.map(lambda leaf: leaf.shape, params)


def test_what_is_not_a_bert_is_refused(tmp_path, reference):
    name = "encoder.layer.1.output.dense.weight"
    path = write(tmp_path / "less.safetensors", reference, **{name: None})
    with pytest.raises(
        UserError, match=f"less.safetensors does not contain a BERT: it has no {name}"
    ):
        read_bert(path, HEADS)
    path = write(tmp_path / "x.safetensors", reference)
    for heads in (None, 3):
        with pytest.raises(UserError, match="give a number of heads that divides its width, 16"):
            read_bert(path, heads)
    path = write(tmp_path / "y.safetensors", reference, **{name: np.zeros((2, 2, 2), np.float32)})
    with pytest.raises(UserError, match=r"output.dense.weight is float32 \[2, 2, 2\], not weights"):
        read_bert(path, HEADS)


@pytest.mark.parametrize("buffer", ["position_ids", "token_type_ids"])
def test_constants_and_arrays_of_task_heads_are_left_out(tmp_path, reference, buffer):
    more = {f"embeddings.{buffer}": np.arange(12)[None], "cls.predictions.bias": np.zeros(40)}
    _, expected = read_bert(write(tmp_path / "x.safetensors", reference), HEADS)
    _, found = read_bert(write(tmp_path / "y.safetensors", reference, **more), HEADS)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        # Positions by distance were left out, and tokens encoded without them.
        ("encoder.layer.0.attention.self.distance_embedding.weight", (23, 4), "it has an array"),
        ("embeddings.word_embeddings.weight", (40,), r"float32 \[40\], not weights"),
        ("encoder.layer.0.output.dense.weight", (3, 5), r"is \[3, 5\], .* should be \[16, 32\]"),
        ("pooler.dense.bias", (3,), r"pooler.dense.bias is \[3\], .* it should be \[16\]"),
    ],
)
def test_arrays_that_no_bert_has_are_named(tmp_path, reference, name, shape, message):
    path = write(tmp_path / "x.safetensors", reference, **{name: np.zeros(shape, np.float32)})
    with pytest.raises(UserError, match=message) as error:
        read_bert(path, HEADS)
    assert name in str(error.value) and "\n" not in str(error.value)
