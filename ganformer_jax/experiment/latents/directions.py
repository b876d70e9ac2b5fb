"""The search for directions in w: by factorization, and by regression on sampled images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tqdm import tqdm

from ganformer_jax.directions import (
    ALL,
    COMPONENTS,
    GLOBAL,
    Direction,
    Reader,
    component_name,
    component_readers,
    factorize,
    fit_linear,
    global_readers,
    property_names,
    region_properties,
    smallest_changes,
)
from ganformer_jax.errors import UserError
from ganformer_jax.evaluate.component_metrics import ValidatedSegmenter
from ganformer_jax.experiment.figures.context import FigureContext, Unsuitable
from ganformer_jax.experiment.regions import (
    component_regions,
    make_with_attention,
)
from ganformer_jax.metrics.dci import MIN_ROWS
from ganformer_jax.models import num_layers
from ganformer_jax.pixels import as_rgb
from ganformer_jax.sampling import layer_thirds
from ganformer_jax.scenes.layout import IMAGE_ATTRIBUTES

if TYPE_CHECKING:
    from jaxtyping import Float


class DirectionGroup(NamedTuple):
    """Directions of one kind and latent.

    Attributes:
        name: Name of the sheet's file, without a suffix.
        directions: The directions.
        row: The sample that the sheet shows.
        component: The component whose region it shows, from 0; None for none.
    """

    name: str
    directions: list[Direction]
    row: int = 0
    component: int | None = None


@dataclasses.dataclass(frozen=True)
class DirectionSearch:
    """Input of the search for directions.

    Attributes:
        context: The generator, and the latents of the samples, the same for all layers.
        segmenter: Returns the network that reads attributes of scenes; raises `UserError` if
            there is none.
        count: Directions by factorization for each group.
        layer: Attention layer of the regions, from 0; by default the last.
        progress: Show the progress of making the samples.
    """

    context: FigureContext
    segmenter: Callable[[], ValidatedSegmenter]
    count: int = 8
    layer: int | None = None
    progress: bool = True

    @property
    def w_MxKxD(self) -> Float[np.ndarray, "m k d"]:
        """Latents of the samples, without the words of captions."""
        return self.context.latents.own_w_BxKxLxD[:, :, 0]


def find_directions(
    search: DirectionSearch,
    kinds: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> list[DirectionGroup]:
    """Find directions of these kinds, keys of `KINDS`.

    Args:
        search: The generator and its samples.
        kinds: Kinds of directions; by default all that the generator can have, and a line gives
            the reason for each kind that is skipped.
        say: Receives lines for the user.

    Raises:
        UserError: If the generator cannot have a kind that was asked for.
        ValueError: If there are fewer than `MIN_ROWS` samples.
    """
    if len(search.w_MxKxD) < MIN_ROWS:
        raise ValueError(f"{MIN_ROWS} samples are needed, not {len(search.w_MxKxD)}")
    groups = []
    for kind in kinds or KINDS:
        try:
            groups += KINDS[kind](search, say)
        except (Unsuitable, UserError) as reason:
            if kinds:
                raise UserError(f"no directions by {kind}: {reason}") from None
            say(f"no directions by {kind}: {reason}")
    return groups


def _factorization(search: DirectionSearch, say: Callable[[str], None]) -> Iterator[DirectionGroup]:
    """Yield directions of the global latent, also by layers, and those of every component."""
    context, w_MxKxD = search.context, search.w_MxKxD
    if context.config.merge.images:
        raise Unsuitable("images that are merged have no global latent and no components")
    if context.config.network != "ganformer":
        raise Unsuitable(f"a {context.config.network} has no styles")
    readers = global_readers(context.config, context.variables)
    of_components = component_readers(context.config, context.variables)
    if not readers and not of_components:
        raise Unsuitable("no dense layer reads w")
    if readers:
        yield _factored(search, "global", GLOBAL, readers, w_MxKxD[:, -1])
    for name, layers in layer_thirds(num_layers(context.config)).items():
        some = [reader for reader in readers if reader.layer in layers]
        if some:
            span = layers[0], layers[-1]
            yield _factored(search, f"global-{name}", GLOBAL, some, w_MxKxD[:, -1], span)
    if of_components:
        codes = w_MxKxD[:, :-1] - w_MxKxD[:, :-1].mean(0)
        codes = codes.reshape(-1, codes.shape[-1])
        yield _factored(search, "components", COMPONENTS, of_components, codes)


def _factored(
    search: DirectionSearch,
    name: str,
    latent: str,
    readers: Sequence[Reader],
    codes_MxD: Float[np.ndarray, "m d"],
    layers: tuple[int, int] | None = None,
) -> DirectionGroup:
    vectors_MxD, strengths = factorize(readers, search.count)
    found = [
        Direction(
            f"{name} {number}",
            latent,
            vector_D[None],
            float((codes_MxD @ vector_D).std()),
            "factorization",
            layers,
            {"strength": float(strength)},
        )
        for number, (vector_D, strength) in enumerate(zip(vectors_MxD, strengths, strict=True), 1)
    ]
    return DirectionGroup(name, found)


def _regions(search: DirectionSearch, say: Callable[[str], None]) -> Iterator[DirectionGroup]:
    """Yield directions of each component's region: its place, area and color."""
    search.context.need_attention()
    names = property_names(search.context.config.image_channels)
    properties_MxKxA = _sampled_properties(search)
    for component in range(search.context.config.components):
        properties_MxA = properties_MxKxA[:, component]
        rows = np.flatnonzero(~np.isnan(properties_MxA).any(1))
        if len(rows) < MIN_ROWS:
            has = f"has a region in {len(rows)} of {len(properties_MxA)} images"
            say(f"no directions of {component_name(component)}: it {has}, {MIN_ROWS} are needed")
            continue
        codes_MxD = search.w_MxKxD[rows, component]
        facts = {"images": len(rows), "attention_layer": search.layer}
        found = _region_directions(component, names, codes_MxD, properties_MxA[rows], facts)
        if found:
            yield DirectionGroup(f"component-{component + 1}", found, int(rows[0]), component)


def _region_directions(
    component: int,
    names: Sequence[str],
    codes_MxD: Float[np.ndarray, "m d"],
    properties_MxA: Float[np.ndarray, "m a"],
    known: dict[str, Any],
) -> list[Direction]:
    """Return, for each property that varies, the direction that changes no other property."""
    varied = properties_MxA.std(0) > 1e-9
    if not varied.any():
        return []
    names = [name for name, varies in zip(names, varied, strict=True) if varies]
    fit = fit_linear(codes_MxD, properties_MxA[:, varied])
    changes_AxD, products_AxA = smallest_changes(fit.weights_AxD, fit.covariance_DxD)
    lengths_A = np.sqrt(np.maximum(np.diag(products_AxA), np.finfo(float).tiny))
    unit_products = products_AxA / (lengths_A[:, None] * lengths_A)
    found = []
    for place, name in enumerate(names):
        if not products_AxA[place, place] > 0:  # w does not predict it
            continue
        facts = {
            "property": name,
            "r2": float(fit.r2_A[place]),
            "deviation": float(fit.deviation_A[place]),
            "per_unit": float(1 / lengths_A[place]),
            "products": dict(zip(names, unit_products[place].tolist(), strict=True)),
            **known,
        }
        step_D, latent = changes_AxD[place] / lengths_A[place], component_name(component)
        found.append(_regressed(f"{latent} {name}", latent, step_D[None], facts))
    return found


def _attributes(search: DirectionSearch, say: Callable[[str], None]) -> Iterator[DirectionGroup]:
    """Yield the direction in the whole w of each attribute that the segmentation network reads."""
    segmenter = search.segmenter()
    made = [as_rgb(images) for images, _ in _samples(search, attention=False)]
    _, attributes_MxA = segmenter.segmenter(np.concatenate(made))
    used = segmenter.reliable & (attributes_MxA.std(0) > 0)
    if not used.any():
        raise Unsuitable("no attribute that the segmentation network reads reliably varies")
    w_MxKxD = search.w_MxKxD
    fit = fit_linear(w_MxKxD.reshape(len(w_MxKxD), -1), attributes_MxA[:, used])
    found = []
    for place, index in enumerate(np.flatnonzero(used)):
        # One attribute at a time: counts of colors or sizes add up to the number of objects.
        weights_1xD = fit.weights_AxD[place : place + 1]
        change, product = smallest_changes(weights_1xD, fit.covariance_DxD)
        length = float(np.sqrt(product[0, 0]))
        if not length > 0:
            continue
        name = IMAGE_ATTRIBUTES[index]
        facts = {"attribute": name, "r2": float(fit.r2_A[place])}
        facts |= {"deviation": float(fit.deviation_A[place]), "per_unit": 1 / length}
        step_KxD = (change[0] / length).reshape(w_MxKxD.shape[1:])
        found.append(_regressed(name, ALL, step_KxD, facts | {"images": len(w_MxKxD)}))
    if not found:
        raise Unsuitable("a linear model of w predicts none of the attributes")
    yield DirectionGroup("attributes", found)


def _regressed(
    name: str, latent: str, step_KxD: Float[np.ndarray, "k d"], facts: dict[str, Any]
) -> Direction:
    scale = float(np.linalg.norm(step_KxD)) or 1.0
    vector = (step_KxD / scale).astype(np.float32)
    return Direction(name, latent, vector, scale, "regression", facts=facts)


def _sampled_properties(search: DirectionSearch) -> Float[np.ndarray, "m k a"]:
    """Return the properties of each component's region in every sample."""
    found = []
    for images, segments in _samples(search, attention=True):
        assert segments is not None, "need_attention"
        every = range(search.context.config.components)
        found.append(np.stack([region_properties(images, segments == k) for k in every], 1))
    return np.concatenate(found)


def _samples(
    search: DirectionSearch, attention: bool
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Yield images of the samples and, if asked, their segments, a batch at a time."""
    context, count = search.context, len(search.context.latents)
    batch = context.synthesizer.batch_size
    with tqdm(total=count, unit=" images", disable=not search.progress, leave=False) as bar:
        for start in range(0, count, batch):
            latents = context.latents.take(range(start, min(start + batch, count)))
            if attention:
                made = make_with_attention(context, latents)
                yield made.images, component_regions(made, search.layer)
            else:
                yield context.images(latents), None
            bar.update(len(latents))


KINDS = {"factorization": _factorization, "regions": _regions, "attributes": _attributes}
"""Searches by kind: functions of a `DirectionSearch` and of a function that receives lines."""
