"""Bipartite attention, simplex and duplex (GANformer, arXiv 2103.01209, section 3.1).

Elements X (say, image positions) attend to elements Y (latent components), and what they
gather changes their own features: by a bias, a gain or both. With F elements in X and T in Y the
cost is F x T, linear in pixels.

Simplex attention (eqs. 1 and 2) scores queries of X against keys of Y. Duplex attention (eqs. 3
to 5) gives every component a centroid, the mean of the queries assigned to it, as in k-means,
and scores queries against centroids.

T is small, so nothing here projects the F elements where projecting the T keys, centroids or
values instead gives the same sums.

Axes: B batch, F elements of X, T elements of Y, N heads, H width of a head, C width of X,
E elements' width in k-means, 2 C in all (a query without and with its position's share).
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganformer_jax.nn.layers import EPSILON, EqualizedDense

if TYPE_CHECKING:
    from jaxtyping import Array, Float

MASKED_SCORE = -10_000.0
"""Added to the scores of hidden components; finite, so that hiding all of them is uniform."""


@dataclasses.dataclass(frozen=True)
class KMeans:
    """How duplex attention finds its centroids.

    Attributes:
        iterations: K-means iterations a layer, 1 or more.
        carried: Start from the previous layer's assignments where there is one.
        weight_per_iteration: Score weights for every iteration, or one set for all.
    """

    iterations: int = 1
    carried: bool = False
    weight_per_iteration: bool = True


def normalize_attended(
    x_BxFxC: Float[Array, "b f c"], integration: str, norm: str | None
) -> Float[Array, "b f c"]:
    """Normalize X before integration, along channels ("layer") or elements ("instance").

    What integration will set again is removed: the mean for "add", the scale for "mul".
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


def assignments(probabilities_BxNxFxT: Float[Array, "b n f t"]) -> Float[Array, "b n t f"]:
    """Share of each element in each component's centroid: attention, normalized over X (eq. 4)."""
    total = jnp.sum(probabilities_BxNxFxT, 2, keepdims=True) + EPSILON
    return jnp.swapaxes(probabilities_BxNxFxT / total, 2, 3)


def upsample_assignments(
    shares_BxNxTxF: Float[Array, "b n t f"], grid: tuple[int, int]
) -> Float[Array, "b n t f2"]:
    """Carry assignments to a grid of this height and width from one of the same shape.

    Both sides of the new grid are the same multiple of those of the old one, or equal to them.

    Every cell hands its share to the cells that cover it, in equal parts: shares still sum to 1.
    """
    *batch, cells = shares_BxNxTxF.shape
    height, width = grid
    factor = math.isqrt(height * width // cells)
    shares = shares_BxNxTxF.reshape(*batch, height // factor, width // factor) / (factor * factor)
    shares = jnp.repeat(jnp.repeat(shares, factor, -1), factor, -2)
    return shares.reshape(*batch, height * width)


def score(
    rows_BxFxR: Float[Array, "b f r"],
    kernel_RxC: Float[Array, "r c"],
    bias_C: Float[Array, " c"],
    targets_BxNxTxC: Float[Array, "b n t c"],
) -> Float[Array, "b n f t"]:
    """Products of (rows kernel + bias) with targets, by way of (kernel targets).

    Either batch may be 1, for what is the same in every image.
    """
    projected_BxNxTxR = jnp.einsum("rc,bntc->bntr", kernel_RxC, targets_BxNxTxC)
    offset_BxNxT = jnp.einsum("c,bntc->bnt", bias_C, targets_BxNxTxC)
    if projected_BxNxTxR.shape[0] > 1:
        scores = jnp.einsum("bfr,bntr->bnft", rows_BxFxR, projected_BxNxTxR)
    else:
        scores = jnp.tensordot(rows_BxFxR, projected_BxNxTxR[0], (2, 2)).transpose(0, 2, 1, 3)
    return scores + offset_BxNxT[:, :, None]


def gather(
    shares_BxNxTxF: Float[Array, "b n t f"],
    rows_BxFxR: Float[Array, "b f r"],
    kernel_RxC: Float[Array, "r c"],
    bias_C: Float[Array, " c"],
) -> Float[Array, "b n t c"]:
    """Sums of (rows kernel + bias) weighted by shares, by way of sums of rows."""
    gathered_BxNxTxR = jnp.einsum("bntf,bfr->bntr", shares_BxNxTxF, rows_BxFxR)
    total_BxNxTx1 = shares_BxNxTxF.sum(-1, keepdims=True)
    return gathered_BxNxTxR @ kernel_RxC + total_BxNxTx1 * bias_C[None, None, None]


class Gate(nn.Module):
    """Sigmoid gate per element and head, in (0, 1), from features and position."""

    heads: int
    bias: float

    @nn.compact
    def __call__(self, x_BxLxC: Array, position_LxP: Array | None) -> Float[Array, "b n l"]:
        """Gate of every element; `bias` above 0 leaves it open at first."""
        gate = EqualizedDense(self.heads, name="features")(x_BxLxC)
        if position_LxP is not None:
            gate = gate + EqualizedDense(self.heads, name="position")(position_LxP)[None]
        return jnp.swapaxes(jax.nn.sigmoid(gate + self.bias), 1, 2)


class BipartiteAttention(nn.Module):
    """X attends to Y and integrates what it gathers.

    Attributes:
        heads: Attention heads; must divide the width of X.
        integration: "add" (bias), "mul" (gain) or "both".
        norm: "layer", "instance" or None, see `normalize_attended`.
        dropout: Attention dropout; half of it falls on cells, half on elements of Y.
        gate_x: Gate what each element of X receives.
        gate_y: Gate what each element of Y sends.
        kmeans: Duplex attention; None for simplex.
    """

    heads: int = 1
    integration: str = "add"
    norm: str | None = None
    dropout: float = 0.0
    gate_x: bool = False
    gate_y: bool = False
    kmeans: KMeans | None = None

    @nn.compact
    def __call__(
        self,
        x_BxFxC: Float[Array, "b f c"],
        y_BxTxD: Float[Array, "b t d"],
        x_position_FxP: Float[Array, "f p"] | None = None,
        y_position_TxP: Float[Array, "t p"] | None = None,
        *,
        carried_BxNxTxG: Float[Array, "b n t g"] | None = None,
        grid: tuple[int, int] | None = None,
        mask_BxT: Float[Array, "b t"] | None = None,
        train: bool = False,
    ) -> tuple[Array, Float[Array, "b n f t"], Float[Array, "b n t f"] | None]:
        """Update X.

        Args:
            x_BxFxC: Attending elements.
            y_BxTxD: Attended elements.
            x_position_FxP: Positions of X, added to queries.
            y_position_TxP: Positions of Y, added to keys.
            carried_BxNxTxG: Assignments of an earlier layer, on a grid of G cells, to start from.
            grid: Height and width of the grid that X is, for what is carried; by default square.
            mask_BxT: 0 hides an element of Y, 1 shows it.
            train: Apply dropout, from the "dropout" stream.

        Returns:
            Updated X in its own type; attention probabilities after dropout and gates; and, with
            k-means, the assignments they imply.

        Raises:
            ValueError: Heads do not divide the width of X.
        """
        if x_BxFxC.shape[-1] % self.heads:
            raise ValueError(f"{self.heads} heads do not divide width {x_BxFxC.shape[-1]}")
        positions = x_position_FxP, y_position_TxP
        dtype, x, y = x_BxFxC.dtype, x_BxFxC.astype(jnp.float32), y_BxTxD.astype(jnp.float32)
        if self.kmeans is None:
            probabilities = self._probabilities(self._key_scores(x, y, *positions), mask_BxT, train)
        else:
            if self.kmeans.carried and carried_BxNxTxG is not None:
                side = math.isqrt(x.shape[1])
                carried_BxNxTxG = upsample_assignments(carried_BxNxTxG, grid or (side, side))
            probabilities = self._cluster(x, y, x_position_FxP, carried_BxNxTxG, mask_BxT, train)
        if self.gate_y:
            gate = Gate(self.heads, 0.0, name="gate_y")(y, y_position_TxP)
            probabilities = probabilities * gate[:, :, None]
        if self.gate_x:
            gate = Gate(self.heads, 1.0, name="gate_x")(x, x_position_FxP)
            probabilities = probabilities * gate[..., None]
        shares = assignments(probabilities) if self.kmeans else None
        return self._integrate(x, y, probabilities).astype(dtype), probabilities, shares

    def _probabilities(self, scores_BxNxFxT: Array, mask_BxT: Array | None, train: bool) -> Array:
        """Softmax over Y of scaled scores, with dropout (eq. 1)."""
        if mask_BxT is not None:
            scores_BxNxFxT = scores_BxNxFxT + (1.0 - mask_BxT)[:, None, None] * MASKED_SCORE
        probabilities = jax.nn.softmax(scores_BxNxFxT, -1)
        if not train or self.dropout == 0.0:
            return probabilities
        cells, columns = nn.Dropout(self.dropout / 2), nn.Dropout(self.dropout / 2, (2,))
        return columns(cells(probabilities, False), False)

    def _key_scores(self, x: Array, y: Array, x_position, y_position) -> Array:
        """Queries against keys."""
        width = x.shape[-1]
        keys = EqualizedDense(width, name="keys")(y)
        if y_position is not None:
            keys = keys + EqualizedDense(width, name="key_positions")(y_position)[None]
        keys_BxTxNxH = keys.reshape(*keys.shape[:2], self.heads, -1)
        keys_BxNxTxC = self._spread_heads(jnp.swapaxes(keys_BxTxNxH, 1, 2))
        scores = [score(*row, keys_BxNxTxC) for row in self._queries(x, x_position)]
        return sum(scores[1:], scores[0]) / math.sqrt(width // self.heads)

    def _queries(self, x: Array, x_position: Array | None) -> list[tuple[Array, Array, Array]]:
        """Features and, if given, positions, each with the kernel and bias that project them."""
        width = x.shape[-1]
        queries = [(x, *EqualizedDense(width, name="queries").weights(width))]
        if x_position is not None:
            layer = EqualizedDense(width, name="query_positions")
            queries.append((x_position[None], *layer.weights(x_position.shape[-1])))
        return queries

    def _cluster(self, x, y, x_position, carried, mask_BxT, train: bool) -> Array:
        """K-means: queries against centroids, centroids from assignments (eqs. 4 and 5).

        An element is the pair [query, its position's share], laid out over both and only then
        split into heads, as in the published networks.
        """
        width = x.shape[-1]
        rows = self._queries(x, x_position)

        def centroids_of(shares_BxNxTxF: Array) -> Array:
            halves = [gather(shares_BxNxTxF, *row) for row in rows]
            halves += [jnp.zeros_like(halves[0])] * (2 - len(halves))
            return self._own_half(jnp.concatenate(halves, -1))

        def scores_of(centroids_BxNxTxE: Array) -> Array:
            halves = jnp.split(self._spread_heads(centroids_BxNxTxE), 2, -1)
            scores = [score(*row, half) for row, half in zip(rows, halves, strict=False)]
            return sum(scores[1:], scores[0])

        kmeans = self.kmeans or KMeans()
        if kmeans.carried and carried is not None:
            centroids = centroids_of(carried)
        else:
            centroids = self._learned_centroids(y.shape[1], 2 * (width // self.heads))
        sets = kmeans.iterations if kmeans.weight_per_iteration else 1
        weights = [self._score_weights(index, centroids.shape[-1]) for index in range(sets)]
        probabilities = jnp.zeros(())
        for iteration in range(kmeans.iterations):
            if iteration > 0:
                centroids = centroids_of(assignments(probabilities))
            scores = scores_of(centroids * weights[min(iteration, sets - 1)])
            scores = scores / math.sqrt(width // self.heads)
            probabilities = self._probabilities(scores, mask_BxT, train)
        return probabilities

    def _learned_centroids(self, components: int, width: int) -> Array:
        shape = (1, self.heads, components, width)
        return self.param("centroids", nn.initializers.normal(1.0), shape)

    def _score_weights(self, index: int, width: int) -> Array:
        shape = (self.heads, 1, width)
        return self.param(f"score_weights_{index}", nn.initializers.ones, shape)[None]

    def _spread_heads(self, x_BxNxTxE: Array) -> Array:
        """Put each head's part into its place among all heads, zeros elsewhere: [B, N, T, N E]."""
        placed = jnp.einsum("bnte,nm->bntme", x_BxNxTxE, jnp.eye(self.heads))
        return placed.reshape(*placed.shape[:3], -1)

    def _own_half(self, x_BxNxTxM: Array) -> Array:
        """Keep each head's part of rows that hold all heads' parts: [B, N, T, E]."""
        parts = x_BxNxTxM.reshape(*x_BxNxTxM.shape[:3], self.heads, -1)
        return jnp.einsum("bntme,nm->bnte", parts, jnp.eye(self.heads))

    def _integrate(self, x: Array, y: Array, probabilities_BxNxFxT: Array) -> Array:
        """Gather values and let them set the gain and bias of normalized X (eqs. 2 and 3)."""
        width = x.shape[-1]
        values = EqualizedDense(width, name="values")(y)
        values_BxTxNxH = values.reshape(*values.shape[:2], self.heads, -1)
        outputs = width * (2 if self.integration == "both" else 1)
        kernel, bias = EqualizedDense(outputs, name="modulation").weights(width)
        kernel_NxHxO = kernel.reshape(self.heads, -1, outputs)
        control_BxNxTxO = jnp.einsum("btnh,nho->bnto", values_BxTxNxH, kernel_NxHxO)
        control = jnp.einsum("bnft,bnto->bfo", probabilities_BxNxFxT, control_BxNxTxO)
        gain, offset = self._gain_and_bias(control + bias[None, None])
        x = normalize_attended(x, self.integration, self.norm)
        x = x if gain is None else x * (gain + 1.0)
        return x if offset is None else x + offset

    def _gain_and_bias(self, control: Array) -> tuple[Array | None, Array | None]:
        if self.integration == "both":
            gain, bias = jnp.split(control, 2, -1)
            return gain, bias
        return (control, None) if self.integration == "mul" else (None, control)
