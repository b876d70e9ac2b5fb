"""Options of commands about images, made from seeds or from latents in a file."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from ganformer_jax.cli.generator_options import GeneratorOptions
from ganformer_jax.cli.ranges import SEEDS, parse_ranges
from ganformer_jax.errors import UserError

if TYPE_CHECKING:
    from ganformer_jax.experiment.chosen_labels import ChosenLabels
    from ganformer_jax.experiment.figures import FigureContext


@dataclasses.dataclass(frozen=True)
class SynthesisOptions(GeneratorOptions):
    """Options that say how images are made."""

    noise: Literal["const", "random", "none"] = "const"
    """Noise in the synthesis network: const is the same for all images; random is
    decided by an image's seed; none adds no noise."""
    class_names: Annotated[tuple[str, ...], tyro.conf.arg(name="class")] = ()
    """Class of the images, by name (classes.json) or number. Images cycle through
    several classes, by default through all."""
    condition: str | None = None
    """Condition of the images, for a run trained on conditions: numbers such as
    0.5,1,0, or name=1,other=0.5 (conditions.json), where the others are 0. By default
    the conditions of training images."""
    prompt: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Caption of the images, for a run trained on captions, in words of
    tokenizer.json. The option can be repeated: images cycle through several captions.
    By default the captions of training images."""
    batch_size: int = 16
    """Images per batch, over all devices of this host."""

    def choose_labels(self, seeds: Sequence[int], size: int, vocabulary: int) -> ChosenLabels:
        """Return the labels of images of these seeds, as these options choose them.

        Args:
            seeds: Seed of each image.
            size: `label_size` of the generator.
            vocabulary: Number of tokens of its captions.

        Raises:
            UserError: See `chosen_labels.choose_labels`.
        """
        from ganformer_jax.experiment.chosen_labels import choose_labels

        return choose_labels(
            self.workdir,
            size,
            seeds,
            self.class_names,
            self.condition,
            self.prompt,
            vocabulary,
        )


def check_cutoff(cutoff: int | None) -> None:
    """Raise `UserError` if the number of layers to truncate is below 0."""
    if cutoff is not None and cutoff < 0:
        raise UserError("--truncation-cutoff must be 0 or more")


@dataclasses.dataclass(frozen=True)
class ImageOptions(SynthesisOptions):
    """Options that select a generator and some of its images."""

    seeds: str = "0-15"
    """Seeds of the images, such as 1,5,10-20."""
    latents: pathlib.Path | None = None
    """File of latents to use instead of --seeds: a `latents.npz`, or an .npz file with
    an array `w` of shape [images, components + 1, size of w]."""
    truncation_psi: float = 0.7
    """Truncation psi; below 1 trades variety for quality. Latents in a file are
    truncated already."""
    truncation_cutoff: int | None = None
    """Number of layers to truncate, from the first; by default all."""

    def truncates(self) -> bool:
        """Return whether truncation psi and cutoff have an effect."""
        return self.latents is None

    def gives_truncation(self) -> bool:
        """Return whether truncation psi or cutoff differs from the default."""
        is_default = self.truncation_psi == type(self).truncation_psi
        return not is_default or self.truncation_cutoff is not None

    def check_images(self) -> Sequence[int]:
        """Return the seeds, once the options make sense."""
        seeds = parse_ranges(self.seeds, "--seeds", SEEDS)
        check_cutoff(self.truncation_cutoff)
        if self.batch_size < 1:
            raise UserError("--batch-size must be 1 or more")
        if self.latents is not None:
            labeled = self.class_names or self.condition is not None or self.prompt
            if self.seeds != type(self).seeds or labeled:
                raise UserError(
                    "--latents cannot be combined with --seeds, --class, --condition or --prompt: "
                    "leave them out"
                )
            if self.gives_truncation() and not self.truncates():
                raise UserError(
                    "--truncation-psi and --truncation-cutoff have no effect on --latents, which "
                    "are truncated already: leave them out"
                )
            if not self.latents.is_file():
                raise UserError(f"no file {self.latents}")
        self.check_generator()
        return seeds

    def load_images(self, seeds: Sequence[int], **settings: Any) -> tuple[FigureContext, str]:
        """Load the generator; return it with the images, and the checksum of its weights.

        Args:
            seeds: Of the images, if there are no latents.
            **settings: More fields of the context.
        """
        from ganformer_jax.experiment.figures import FigureContext
        from ganformer_jax.sampling import read_latents

        synthesizer, variables, weights = self.load_synthesizer(self.batch_size, self.noise)
        config = synthesizer.config
        if self.latents is not None:
            latents = read_latents(
                self.latents, config, weights=weights, noise=self.noise, say=print
            )
            return FigureContext(synthesizer, variables, latents, **settings), weights
        chosen = self.choose_labels(seeds, config.label_size, config.text.vocabulary)
        truncation = self.truncation_psi, self.truncation_cutoff
        z_BxKxD = synthesizer.z(seeds)
        latents = synthesizer.latents(variables, seeds, chosen.labels, *truncation)
        context = FigureContext(
            synthesizer, variables, latents, z_BxKxD, chosen.labels, *truncation, **settings
        )
        return context, weights
