"""Sums over the attended elements without projecting each of the attending ones.

Attention compares projected rows with few keys, and gathers few sums of them. Where rows are many,
it costs less to project the keys back, or to project the sums: both are the same by
associativity. Equations are numbered as in `nn.attention`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class ProjectedRows(NamedTuple):
    """Rows and the dense layer that projects them, not yet applied; the batch of rows may be 1."""

    rows_BxFxI: Float[Array, "b f i"]
    kernel_IxO: Float[Array, "i o"]
    bias_O: Float[Array, " o"]


def score(
    projected: ProjectedRows, keys_BxNxTxO: Float[Array, "b n t o"]
) -> Float[Array, "b n f t"]:
    """Return products of projected rows with keys: q(X) k(Y)^T of (1), q(X) K^T of (4) and (5)."""
    rows_BxFxI, kernel_IxO, bias_O = projected
    # (X W + b) k^T = X (W k^T) + b k^T
    keys_BxNxTxI = jnp.einsum("io,bnto->bnti", kernel_IxO, keys_BxNxTxO)
    offset_BxNxT = jnp.einsum("o,bnto->bnt", bias_O, keys_BxNxTxO)
    if keys_BxNxTxI.shape[0] != 1:  # so written for a symbolic batch, of which > is undecided
        scores = jnp.einsum("bfi,bnti->bnft", rows_BxFxI, keys_BxNxTxI)
    else:
        scores = jnp.tensordot(rows_BxFxI, keys_BxNxTxI[0], (2, 2)).transpose(0, 2, 1, 3)
    return scores + offset_BxNxT[:, :, None]


def gather(
    shares_BxNxTxF: Float[Array, "b n t f"], projected: ProjectedRows
) -> Float[Array, "b n t o"]:
    """Return sums of projected rows, weighted by shares: S q(X) of (4)."""
    rows_BxFxI, kernel_IxO, bias_O = projected
    # S (X W + b) = (S X) W + (S 1) b
    gathered_BxNxTxI = jnp.einsum("bntf,bfi->bnti", shares_BxNxTxF, rows_BxFxI)
    total_BxNxTx1 = shares_BxNxTxF.sum(-1, keepdims=True)
    return gathered_BxNxTxI @ kernel_IxO + total_BxNxTx1 * bias_O[None, None, None]


def spread_heads(x_BxNxTxD: Float[Array, "b n t d"]) -> Float[Array, "b n t n*d"]:
    """Put each head's vector at its place among all heads, with zeros elsewhere.

    Its product with rows that are not split into heads is that of (1) and (5) for the one head.
    """
    heads, _, width = x_BxNxTxD.shape[1:]
    placed = jnp.einsum("bntd,nm->bntmd", x_BxNxTxD, jnp.eye(heads))
    return placed.reshape(*placed.shape[:3], heads * width)


def own_head(x_BxNxTxD: Float[Array, "b n t n*d"]) -> Float[Array, "b n t d"]:
    """Keep each head's vector out of rows that hold those of all heads: (4) for the one head."""
    heads, _, width = x_BxNxTxD.shape[1:]
    split = x_BxNxTxD.reshape(*x_BxNxTxD.shape[:3], heads, width // heads)
    return jnp.einsum("bntmd,nm->bntd", split, jnp.eye(heads))
