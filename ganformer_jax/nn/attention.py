"""Bipartite attention, simplex and duplex (GANformer, arXiv 2103.01209, section 3.1).

Elements X (say, image positions) attend to elements Y (latent components), and what they gather
changes their own features. The equations of the section, numbered here in its order:

    (1)  a(X, Y) = softmax(q(X) k(Y)^T / sqrt(D)) v(Y)          attention
    (2)  u(X, Y) = omega(X) + beta(a(X, Y))                     additive update
    (3)  u(X, Y) = gamma(a(X, Y)) * omega(X) + beta(a(X, Y))    simplex update
    (4)  K = a(Y, X) = S q(X)                                   centroids
    (5)  u(X, Y) = (3) with P v(Y) in place of a(X, Y)          duplex update

q, k, v, beta and gamma are dense layers, D is the width of a head, and omega normalizes. Duplex
attention replaces keys by centroids: P is softmax(q(X) K^T / sqrt(D)), and S is its transpose with
rows scaled to sum to 1, so K holds the mean of the queries assigned to each component. P and K
alternate as in k-means, from learned first centroids. A gain alone, gamma(a) * omega(X), is
possible too. With places, scores of components come from their latents alone (`nn.places`).

With F elements in X and T in Y the cost is F x T, linear in pixels. T is small, so nothing here
projects the F elements where projecting T keys, centroids or values gives the same sums
(`nn.projections`).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganformer_jax.nn.attention_checks import check_arrays, check_options
from ganformer_jax.nn.initialize import normal
from ganformer_jax.nn.layers import EPSILON, Dropout, EqualizedDense
from ganformer_jax.nn.microbatch import FULL_BATCH, Microbatch
from ganformer_jax.nn.projections import ProjectedRows, gather, own_head, score, spread_heads

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    Probabilities = Float[Array, "b n f t"]
    Assignments = Float[Array, "b n t f"]
    Queries = list[ProjectedRows]

MASKED_SCORE = -10_000.0
"""Large but finite: if all elements are hidden, attention is as if none were."""


@dataclasses.dataclass(frozen=True)
class KMeans:
    """K-means of duplex attention, which finds its centroids.

    Attributes:
        iterations: K-means iterations per layer, 1 or more.
        weight_per_iteration: Score weights for every iteration, or one set for all.
    """

    iterations: int = 1
    weight_per_iteration: bool = True


def assignments(probabilities_BxNxFxT: Probabilities) -> Assignments:
    """Return S of (4): the share of each element of X in each component's centroid."""
    total = jnp.sum(probabilities_BxNxFxT, 2, keepdims=True) + EPSILON
    return jnp.swapaxes(probabilities_BxNxFxT / total, 2, 3)


def upsample_assignments(
    shares_BxNxTxF: Assignments, grid: tuple[int, int]
) -> Float[Array, "b n t f2"]:
    """Bring assignments to a grid of this height and width from one of the same shape.

    Its sides are a multiple of the old ones. A cell's share is divided evenly among the cells that
    cover it, so shares still sum to 1.
    """
    *batch, cells = shares_BxNxTxF.shape
    height, width = grid
    factor = math.isqrt(height * width // cells)
    shares = shares_BxNxTxF.reshape(*batch, height // factor, width // factor) / (factor * factor)
    return jnp.repeat(jnp.repeat(shares, factor, -1), factor, -2).reshape(*batch, height * width)


def normalize_attended(
    x_BxFxC: Float[Array, "b f c"], integration: str, norm: str | None
) -> Float[Array, "b f c"]:
    """Normalize X, omega of (3), along channels ("layer") or elements ("instance").

    What the update will set again is removed: the mean for "add", the scale for "mul".
    """
    if norm is None:
        return x_BxFxC
    axis = {"layer": 2, "instance": 1}[norm]
    if integration in ("add", "both"):
        x_BxFxC = x_BxFxC - jnp.mean(x_BxFxC, axis, keepdims=True)
    if integration in ("mul", "both"):
        power = jnp.mean(jnp.square(x_BxFxC), axis, keepdims=True)
        x_BxFxC = x_BxFxC * jax.lax.rsqrt(power + EPSILON)
    return x_BxFxC


class Gate(nn.Module):
    """Sigmoid gate per element and head, in (0, 1), from features and position."""

    heads: int
    bias: float

    @nn.compact
    def __call__(self, x_BxFxC: Array, position_FxD: Array | None) -> Float[Array, "b n f"]:
        """Return the gate of every element; a `bias` above 0 opens it at first."""
        gate = EqualizedDense(self.heads, name="features")(x_BxFxC)
        if position_FxD is not None:
            gate = gate + EqualizedDense(self.heads, name="position")(position_FxD)[None]
        return jnp.swapaxes(jax.nn.sigmoid(gate + self.bias), 1, 2)


class BipartiteAttention(nn.Module):
    """X attends to Y and is updated with what it gathers.

    Attributes:
        heads: Attention heads; must divide the width.
        integration: "add" (bias), "mul" (gain) or "both".
        norm: "layer", "instance" or None, see `normalize_attended`.
        dropout: Attention dropout: half of it drops single weights, half whole elements of Y.
        gate_x: Gate what each element of X receives.
        gate_y: Gate what each element of Y sends.
        kmeans: Duplex attention; None for simplex. Its learned first centroids fix the number of
            elements of Y: pad these, and hide what is left over by a mask.
        width: Width of queries, keys and values over all heads; by default that of X.
    """

    heads: int = 1
    integration: str = "add"
    norm: str | None = None
    dropout: float = 0.0
    gate_x: bool = False
    gate_y: bool = False
    kmeans: KMeans | None = None
    width: int | None = None

    @nn.compact
    def __call__(
        self,
        x_BxFxC: Float[Array, "b f c"],
        y_BxTxD: Float[Array, "b t d"],
        x_position_FxD: Float[Array, "f d2"] | None = None,
        y_position_TxD: Float[Array, "t d3"] | None = None,
        *,
        assignments_BxNxTxF: Assignments | None = None,
        mask_BxT: Float[Array, "b t"] | None = None,
        place_scores_BxFxT: Float[Array, "b f t"] | None = None,
        train: bool = False,
        microbatch: Microbatch = FULL_BATCH,
    ) -> tuple[Float[Array, "b f c"], Probabilities, Assignments | None]:
        """Update X.

        Args:
            x_BxFxC: Attending elements.
            y_BxTxD: Attended elements.
            x_position_FxD: Positions of X, added to queries.
            y_position_TxD: Positions of Y, added to keys.
            assignments_BxNxTxF: Assignments of an earlier layer, to start k-means from.
            mask_BxT: 0 hides an element of Y, 1 shows it.
            place_scores_BxFxT: Scores of all heads by the places of Y, in place of those of
                queries; an element of X may then attend to nothing, whose score is 0.
            train: Apply dropout, from the "dropout" stream.
            microbatch: Microbatch of gradient accumulation that these images are;
                dropout is drawn for the full batch.

        Returns:
            Updated X in its own type; attention probabilities after dropout and gates; and, with
            k-means, the assignments they imply.

        Raises:
            ValueError: Heads do not divide the width, an option is unknown, or shapes do not belong
                together.
            TypeError: X or Y are not floating point.
        """
        width = self.width or x_BxFxC.shape[-1]
        check_options(self.heads, width, self.integration, self.norm, self.dropout, self.kmeans)
        check_arrays(
            x_BxFxC,
            y_BxTxD,
            self.heads,
            x_position=x_position_FxD,
            y_position=y_position_TxD,
            assignments=assignments_BxNxTxF,
            mask=mask_BxT,
            place_scores=place_scores_BxFxT,
        )
        x, y = x_BxFxC.astype(jnp.float32), y_BxTxD.astype(jnp.float32)
        dtype = jnp.result_type(x_BxFxC)  # float32 for NumPy's float64
        softmax = functools.partial(
            self._probabilities, mask_BxT=mask_BxT, train=train, microbatch=microbatch
        )
        if place_scores_BxFxT is not None:
            probabilities = self._at_places(place_scores_BxFxT, mask_BxT, train, microbatch)
        else:
            queries = self._queries(x, x_position_FxD, width)
            if self.kmeans is None:
                probabilities = softmax(self._key_scores(queries, y, y_position_TxD))
            else:
                first = self._first_centroids(queries, y.shape[1], assignments_BxNxTxF)
                probabilities = self._cluster(queries, first, self.kmeans, softmax)
        if self.gate_y:
            gate = Gate(self.heads, 0.0, name="gate_y")(y, y_position_TxD)
            probabilities = probabilities * gate[:, :, None]
        if self.gate_x:
            gate = Gate(self.heads, 1.0, name="gate_x")(x, x_position_FxD)
            probabilities = probabilities * gate[..., None]
        shares = assignments(probabilities) if self.kmeans else None
        return self._update(x, y, probabilities).astype(dtype), probabilities, shares

    def _queries(self, x_BxFxC: Array, position_FxD: Array | None, width: int) -> Queries:
        """Return q(X) as rows to project and add up: features and, if given, positions."""
        weights = EqualizedDense(width, name="queries").weights(x_BxFxC.shape[-1])
        queries = [ProjectedRows(x_BxFxC, *weights)]
        if position_FxD is not None:
            layer = EqualizedDense(width, name="query_positions")
            weights = layer.weights(position_FxD.shape[-1])
            queries.append(ProjectedRows(position_FxD[None], *weights))
        return queries

    def _key_scores(
        self, queries: Queries, y_BxTxD: Array, position_TxD: Array | None
    ) -> Float[Array, "b n f t"]:
        """Return q(X) k(Y)^T / sqrt(D) of (1)."""
        width = queries[0].bias_O.shape[0]
        keys = EqualizedDense(width, name="keys")(y_BxTxD)
        if position_TxD is not None:
            keys = keys + EqualizedDense(width, name="key_positions")(position_TxD)[None]
        keys_BxTxNxD = keys.reshape(*keys.shape[:2], self.heads, width // self.heads)
        keys_BxNxTxC = spread_heads(jnp.swapaxes(keys_BxTxNxD, 1, 2))
        scores = [score(query, keys_BxNxTxC) for query in queries]
        return sum(scores[1:], scores[0]) / math.sqrt(width // self.heads)

    def _probabilities(
        self, scores_BxNxFxT: Array, mask_BxT: Array | None, train: bool, microbatch: Microbatch
    ) -> Probabilities:
        """Return the softmax of (1) over visible elements of Y, with dropout."""
        if mask_BxT is not None:
            scores_BxNxFxT = scores_BxNxFxT + (1.0 - mask_BxT)[:, None, None] * MASKED_SCORE
        probabilities = jax.nn.softmax(scores_BxNxFxT, -1)
        if train and self.dropout > 0.0:
            for axes in (), (2,):  # single cells, then whole elements of Y
                probabilities = Dropout(self.dropout / 2, axes)(probabilities, microbatch)
        return probabilities

    def _at_places(
        self, scores_BxFxT: Array, mask_BxT: Array | None, train: bool, microbatch: Microbatch
    ) -> Probabilities:
        """Return the softmax over visible elements of Y and nothing, without the latter."""
        batch, count, _ = scores_BxFxT.shape
        shape = batch, self.heads, count, scores_BxFxT.shape[-1]
        scores = jnp.pad(jnp.broadcast_to(scores_BxFxT[:, None], shape), [(0, 0)] * 3 + [(0, 1)])
        if mask_BxT is not None:
            mask_BxT = jnp.pad(mask_BxT, [(0, 0), (0, 1)], constant_values=1.0)
        return self._probabilities(scores, mask_BxT, train, microbatch)[..., :-1]

    # K-means. A query is the pair [q(features), q(position)], laid out over both and only then
    # split into heads, as in the published networks.

    def _cluster(
        self,
        queries: Queries,
        centroids: Array,
        kmeans: KMeans,
        softmax: Callable[[Array], Probabilities],
    ) -> Probabilities:
        """Alternate between the probabilities of (5) and the centroids of (4)."""
        width = queries[0].bias_O.shape[0]
        sets = kmeans.iterations if kmeans.weight_per_iteration else 1
        shape, ones = (self.heads, 1, centroids.shape[-1]), nn.initializers.ones
        weights = [self.param(f"score_weights_{i}", ones, shape)[None] for i in range(sets)]
        probabilities = jnp.zeros(())
        for iteration in range(kmeans.iterations):
            if iteration > 0:
                centroids = self._centroids(queries, assignments(probabilities))
            weighted = spread_heads(centroids * weights[min(iteration, sets - 1)])
            pairs = zip(queries, jnp.split(weighted, 2, -1), strict=False)
            scores = [score(query, half) for query, half in pairs]
            scores = sum(scores[1:], scores[0]) / math.sqrt(width // self.heads)
            probabilities = softmax(scores)
        return probabilities

    def _centroids(self, queries: Queries, shares_BxNxTxF: Assignments) -> Float[Array, "b n t d"]:
        """Return K of (4); without positions the second half of a query is zero."""
        halves = [gather(shares_BxNxTxF, query) for query in queries]
        halves += [jnp.zeros_like(halves[0])] * (2 - len(halves))
        return own_head(jnp.concatenate(halves, -1))

    def _first_centroids(
        self, queries: Queries, count: int, shares_BxNxTxF: Assignments | None
    ) -> Float[Array, "b n t d"]:
        """Return the centroids of an earlier layer's assignments or, without any, learned ones."""
        if shares_BxNxTxF is not None:
            return self._centroids(queries, shares_BxNxTxF)
        shape = (1, self.heads, count, 2 * (queries[0].bias_O.shape[0] // self.heads))
        return self.param("centroids", normal(), shape)

    def _update(self, x_BxFxC: Array, y_BxTxD: Array, probabilities_BxNxFxT: Array) -> Array:
        """Return u(X, Y) of (2), (3) or (5)."""
        channels = x_BxFxC.shape[-1]
        width = self.width or channels
        values = EqualizedDense(width, name="values")(y_BxTxD)
        values_BxTxNxD = values.reshape(*y_BxTxD.shape[:2], self.heads, width // self.heads)
        outputs = channels * (2 if self.integration == "both" else 1)
        kernel, bias_O = EqualizedDense(outputs, name="modulation").weights(width)
        kernel_NxDxO = kernel.reshape(self.heads, -1, outputs)
        # gamma(P v(Y)) = (P v(Y)) W + b = P (v(Y) W) + b, and beta likewise
        control_BxNxTxO = jnp.einsum("btnd,ndo->bnto", values_BxTxNxD, kernel_NxDxO)
        control = jnp.einsum("bnft,bnto->bfo", probabilities_BxNxFxT, control_BxNxTxO)
        control = control + bias_O[None, None]
        x = normalize_attended(x_BxFxC, self.integration, self.norm)
        if self.integration in ("add", "mul"):
            return x + control if self.integration == "add" else x * (control + 1.0)
        gain, bias = jnp.split(control, 2, -1)
        return x * (gain + 1.0) + bias
