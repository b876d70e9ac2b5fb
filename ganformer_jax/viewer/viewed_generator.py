"""The generator of the viewer: images, segments and changes for a state."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.errors import UserError
from ganformer_jax.metrics.edits import edit_changes, pixel_change
from ganformer_jax.pixels import enlarge, strongest_in_layer
from ganformer_jax.sampling import (
    ImageLatents,
    Synthesized,
    Synthesizer,
    check_labels,
    interpolate,
    swap_components,
)
from ganformer_jax.viewer.state import ALL, GLOBAL, Label, Labels, State, ViewedEdit, parse_state

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

LATENTS_KEPT, IMAGES_KEPT = 256, 16


@dataclasses.dataclass(frozen=True)
class View:
    """What the page shows of a state.

    Attributes:
        image: uint8 [H, W, C].
        segments: Component that each position attends to most, from 0, at the resolution of the
            layer; None without attention.
        change: Mean change of pixels against the unedited image, in levels of 0 to 255.
        changes: The same inside and outside the region of each component in the unedited image;
            NaN where the region is empty or everything.
    """

    image: UInt8[np.ndarray, "h w c"]
    segments: Int[np.ndarray, "h2 w2"] | None
    change: float
    changes: Float[np.ndarray, "k 2"]


class ViewedGenerator:
    """Makes images of states, one at a time, with one program for each kind of noise.

    Attributes:
        config: Config of the generator.
        labels: Labels that it takes.
        weights: Checksum of its variables.
        components: Number of components that images attend to.
        places: Whether components have places, which can be moved.
        has_global: Whether there is a global latent; a k-GAN has none.
    """

    def __init__(
        self,
        config: GeneratorConfig,
        variables: Mapping[str, Any],
        labels: Labels = Labels(),  # noqa: B008 -- it is frozen
        weights: str = "",
    ):
        self.config, self.labels, self.weights = config, labels, weights
        self.components = config.components if config.attended_resolutions else 0
        self.places = bool(self.components) and config.attention.places
        self.has_global = not config.merge.images
        self._variables = variables
        self._w = functools.lru_cache(LATENTS_KEPT)(self._map)
        self._unedited = functools.lru_cache(IMAGES_KEPT)(self._synthesize)

    @functools.cached_property
    def layer_sizes(self) -> list[tuple[int, int]]:
        """Height and width of each attention layer; the first use compiles."""
        made = self._unedited(self.start)
        return [(layer.shape[-2], layer.shape[-1]) for layer in made.attention]

    @property
    def start(self) -> State:
        """The state that the page starts with."""
        return State(label=self.labels.start)

    def parse(self, data: object) -> State:
        """Check a state received from the page.

        Raises:
            UserError: If it is not a state of this generator.
        """
        layers = len(self.layer_sizes)
        state = parse_state(data, self.labels, self.components, layers, self.places)
        if not self.has_global and any(edit.component == GLOBAL for edit in state.edits):
            raise UserError('component must be "all": a k-GAN has no global latent')
        labels = None if state.label is None else [state.label]
        try:
            check_labels(self.config.label_size, labels, 1, self.config.text.vocabulary)  # pyright: ignore[reportArgumentType]
        except ValueError as error:
            raise UserError(f"label: {error}") from error
        return state

    def view(self, state: State) -> View:
        """Make the image of a state, and compare it with the unedited image."""
        before = self._unedited(dataclasses.replace(state, edits=(), layer=None))
        made = self._synthesize(state) if state.edits else before
        regions, segments = (self._segments(one, state.layer) for one in (before, made))
        change_1xHxW = pixel_change(before.images, made.images)
        changes = np.full((self.components, 2), np.nan)
        for component in range(self.components):
            assert regions is not None
            region_HxW = enlarge(regions == component, change_1xHxW.shape[1])
            found = edit_changes(change_1xHxW, region_HxW[None])
            changes[component] = found.inside[0], found.outside[0]
        return View(made.images[0], segments, float(change_1xHxW.mean()), changes)

    def latents(self, state: State) -> ImageLatents:
        """Return the edited latents of a state, with the edits in their facts.

        A mask of all components is always given if the generator has attention, and shifts of all
        places if it has places, so that one program serves every state.
        """
        mask_1xK = np.ones((1, self.components), np.float32) if self.components else None
        shift = np.zeros((1, self.components, 2), np.float32) if self.places else None
        w_1xKxLxD, words = self._of_seed(state, state.seed), self.config.words
        kept: Any = {"shift_BxKx2": shift, "words": words, "places": self.places}
        latents = ImageLatents(w_1xKxLxD, _seeds(state.seed), mask_1xK, **kept)
        for edit in state.edits:
            latents = self._edited(latents, edit, state)
        facts: dict[str, Any] = {"seed": state.seed, "truncation_psi": state.psi}
        if state.edits:
            facts["edits"] = [dataclasses.asdict(edit) for edit in state.edits]
        return dataclasses.replace(latents, facts=(facts,))

    def _edited(self, latents: ImageLatents, edit: ViewedEdit, state: State) -> ImageLatents:
        if edit.kind in ("remove", "move"):
            assert isinstance(edit.component, int)
            if edit.kind == "move":
                return latents.moved(edit.component, edit.x, edit.y)
            return latents.without(edit.component)
        w_1xKxLxD = latents.w_BxKxLxD
        source = self._of_seed(state, edit.seed)
        if edit.component != ALL:
            component = -1 if edit.component == GLOBAL else edit.component
            source = swap_components(w_1xKxLxD, source, [int(component)])
        if edit.kind == "interpolate":
            source = interpolate(w_1xKxLxD, source, edit.t)
        return latents.with_w(source)

    def _synthesizer(self, noise: str) -> Synthesizer:
        return Synthesizer(self.config, 1, noise, attention=bool(self.components))  # pyright: ignore[reportArgumentType]

    def _synthesize(self, state: State) -> Synthesized:
        return self._synthesizer(state.noise)(self._variables, self.latents(state))

    def _of_seed(self, state: State, seed: int) -> Float[np.ndarray, "1 k l d"]:
        return self._w(seed, state.psi, state.label)

    def _map(self, seed: int, psi: float, label: Label) -> Float[np.ndarray, "1 k l d"]:
        labels = None if label is None else [label]
        made = self._synthesizer("const").latents(self._variables, [seed], labels, psi)  # pyright: ignore[reportArgumentType]
        return made.w_BxKxLxD

    def _segments(self, made: Synthesized, layer: int | None) -> Int[np.ndarray, "h2 w2"] | None:
        return strongest_in_layer(made.attention, layer)[0] if made.attention else None


def _seeds(seed: int) -> np.ndarray:
    return np.array([seed], np.uint32)
