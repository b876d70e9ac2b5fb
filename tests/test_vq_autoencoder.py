"""The autoencoder of a prior: codes, gradients past them, and the codebook."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganformer_jax.config.prior import AutoencoderConfig, CodebookConfig
from ganformer_jax.models.codebook import new_codebook, update_codebook, use_of
from ganformer_jax.models.vq_autoencoder import (
    Decoder,
    Encoder,
    commitment_loss,
    nearest_codes,
    straight_through,
)

BOOK = CodebookConfig(entries=6, width=3, decay=0.5)


def vectors(seed, shape=(2, 4, 4, 3)):
    return jax.random.normal(jax.random.key(seed), shape)


def test_codes_are_the_nearest_entries():
    x, book = vectors(0), vectors(1, (6, 3))
    distances = np.linalg.norm(np.asarray(x)[..., None, :] - np.asarray(book), axis=-1)
    np.testing.assert_array_equal(nearest_codes(x, book), distances.argmin(-1))


def test_gradients_pass_to_the_vectors_as_they_are():
    x, book, weights = vectors(0), vectors(1, (6, 3)), vectors(2)

    def loss(x, book):
        entries = book[nearest_codes(x, book)]
        return (weights * straight_through(x, entries)).sum()

    value, (to_x, to_book) = jax.value_and_grad(loss, (0, 1))(x, book)
    np.testing.assert_allclose(value, (weights * book[nearest_codes(x, book)]).sum(), rtol=1e-5)
    np.testing.assert_array_equal(to_x, weights)
    assert not to_book.any()


def test_the_commitment_loss_moves_the_vectors_alone():
    x, entries = vectors(0), vectors(1)
    to_x, to_entries = jax.grad(commitment_loss, (0, 1))(x, entries)
    np.testing.assert_allclose(to_x, 2 * (x - entries) / x.size, rtol=1e-5)
    assert not to_entries.any()


def test_entries_move_to_the_means_of_their_vectors():
    config = dataclasses.replace(BOOK, decay=0.0, restart_below=0.0)
    x, book = vectors(0), new_codebook(config, jax.random.key(1))
    codes = nearest_codes(x, book.entries)
    moved = update_codebook(config, book, x, codes, jax.random.key(2))
    for entry in range(6):
        own = np.asarray(x)[np.asarray(codes) == entry]
        expected = own.mean(0) if len(own) else book.entries[entry]
        np.testing.assert_allclose(moved.entries[entry], expected, rtol=1e-5)
        np.testing.assert_allclose(moved.uses[entry], len(own) * 6 / 32, rtol=1e-5)


def test_a_new_codebook_starts_from_vectors_of_the_batch():
    x, book = vectors(0), new_codebook(BOOK, jax.random.key(1))
    codes = jnp.zeros(x.shape[:-1], jnp.int32)
    started = update_codebook(
        dataclasses.replace(BOOK, decay=0.99), book, x, codes, jax.random.key(2)
    )
    rows = {tuple(row) for row in np.asarray(x).reshape(-1, 3).tolist()}
    assert all(tuple(row) in rows for row in started.entries.tolist())
    assert len({tuple(row) for row in started.entries.tolist()}) == 6
    np.testing.assert_array_equal(started.uses, 1)


def test_an_entry_that_takes_most_of_the_first_batch_restarts_too():
    """With many entries it would count as one in use."""
    book_config = dataclasses.replace(BOOK, entries=256, decay=0.95)
    x, book = vectors(0), new_codebook(book_config, jax.random.key(1))
    codes = jnp.zeros(x.shape[:-1], jnp.int32)
    started = update_codebook(book_config, book, x, codes, jax.random.key(2))
    np.testing.assert_array_equal(started.uses, 1)


def test_an_entry_that_is_not_used_restarts_and_the_others_do_not():
    """Its uses fall to 0.5, 0.25, 0.125 and, in the fourth step, below 0.1."""
    x, book = vectors(0), new_codebook(BOOK, jax.random.key(1))
    book = book.replace(uses=jnp.ones(6), sums=book.entries)
    codes = jnp.asarray(np.arange(32).reshape(2, 4, 4) % 5)  # never the last one
    rows = {tuple(row) for row in np.asarray(x).reshape(-1, 3).tolist()}
    states = [book]
    for step in range(4):
        key = jax.random.fold_in(jax.random.key(2), step)
        states.append(update_codebook(BOOK, states[-1], x, codes, key))
    np.testing.assert_allclose([float(state.uses[5]) for state in states], [1, 0.5, 0.25, 0.125, 1])
    np.testing.assert_allclose(states[3].entries[5], book.entries[5], rtol=1e-4)
    assert tuple(states[4].entries[5].tolist()) in rows
    assert not any(tuple(row) in rows for row in states[4].entries[:5].tolist())
    again = update_codebook(BOOK, states[3], x, codes, jax.random.fold_in(jax.random.key(2), 3))
    np.testing.assert_array_equal(again.entries, states[4].entries)


def test_use_is_a_share_and_a_perplexity():
    assert use_of(np.array([3, 3, 0, 0])) == pytest.approx((0.5, 2.0))
    assert use_of(np.array([1, 1, 1, 1])) == pytest.approx((1.0, 4.0))
    assert use_of(np.array([7, 0, 0, 0])) == pytest.approx((0.25, 1.0))


@pytest.mark.parametrize("size", [(8, 16), (16, 8)])
def test_images_become_codes_and_images_again(size):
    config = AutoencoderConfig(image_size=size, width=4, multipliers=(1, 2, 1), blocks=2)
    assert (config.stride, config.code_count) == (4, 8)
    images = vectors(0, (2, *size, 3))
    encoder, decoder = Encoder(config, 5), Decoder(config)
    found, _ = jax.eval_shape(encoder.init_with_output, jax.random.key(0), images)
    assert found.shape == (2, *config.code_size, 5)
    (made, features), _ = jax.eval_shape(decoder.init_with_output, jax.random.key(0), found)
    assert made.shape == images.shape and features.shape == (2, *size, 4)


def test_half_precision_is_close():
    config = AutoencoderConfig(image_size=(8, 8), width=8, multipliers=(1, 1))
    half = dataclasses.replace(config, dtype="bfloat16")
    images = vectors(0, (2, 8, 8, 3))
    whole, variables = jax.jit(Encoder(config, 4).init_with_output)(jax.random.key(0), images)
    found = jax.jit(Encoder(half, 4).apply)(variables, images)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, whole, atol=0.1)
