"""`edit`: remove, swap, move or recolor a component, or move along a direction."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from ganformer_jax.cli.image_options import ImageOptions
from ganformer_jax.cli.options import refuse_filled, refuse_without_effect
from ganformer_jax.cli.ranges import SEEDS
from ganformer_jax.cli.segment_edits import edit_segment
from ganformer_jax.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from ganformer_jax.directions import Direction
    from ganformer_jax.experiment.figures import FigureContext
    from ganformer_jax.experiment.latents.editing import LatentEdit

EDITS = ("remove", "swap", "move", "recolor", "direction")
GLOBAL = "global"
READ = {
    "move": {"limit", "directions"},
    "recolor": {"limit", "directions"},
    "direction": {"directions"},
}
"""Options that only some edits use, by the edit."""
NAMED = 3
"""Directions that a message names, at most."""


@dataclasses.dataclass(frozen=True)
class Options(ImageOptions):
    """Edit images of a run, an export or a snapshot, and measure what changes where.

    Give one of --remove, --swap, --move, --recolor and --direction. The file `latents.npz`
    in --out is for `visualize --latents` and for further edits.
    """

    seeds: str = "0-7"
    """Seeds of the images, such as 1,5,10-20."""
    component: str | None = None
    """Component to edit, from 1; or `global` for the global latent. For a GANformer2, the
    segment."""
    remove: bool = False
    """Hide the component from attention."""
    swap: int | None = None
    """Seed of the image from which the component's latent is taken."""
    move: tuple[float, float] | None = None
    """Rows and columns to move the component's region by, in fractions of the height
    and the width; down and right are positive. Generators with `attention.places`
    move the component's place; others change w along directions."""
    recolor: tuple[str, ...] = ()
    """New mean color of the component's region: three numbers from 0 to 255, or one
    color like '#ff8000'; for gray images one number."""
    direction: str | None = None
    """Name of a direction that `directions` found."""
    amount: float | None = None
    """How far to move along --direction, in standard deviations of w."""
    directions: pathlib.Path | None = None
    """File of directions; by default `directions/directions.npz` in the run's folder."""
    limit: float = 3.0
    """Largest change of w by --move and --recolor, in standard deviations; larger
    changes are shortened to it."""
    layer: int | None = None
    """Attention layer, from 0, the coarsest: the region of a component is where pixels
    attend to it most in this layer. By default that of the directions, or the last."""
    out: pathlib.Path | None = None
    """Folder to write to; by default `edited` in the run's folder."""
    overwrite: bool = False
    """Replace files that exist."""

    def truncates(self) -> bool:
        """Return whether truncation has an effect, which includes a latent that is swapped in."""
        return super().truncates() or self.swap is not None


def run(options: Options) -> None:
    """Write edited images, a sheet, latents and a table to a folder."""
    kind = _check(options)
    options.check_generator()
    if options.kind() == "ganformer2":
        return edit_segment(options, kind)
    seeds = options.check_images()
    folder = options.out or options.default_folder("edited")
    refuse_filled(folder, options.overwrite)

    from ganformer_jax.experiment.latents.edit_files import write_edit
    from ganformer_jax.experiment.regions import attention_layers, check_layer

    context, weights = options.load_images(seeds)
    if context.config.merge.images:
        raise UserError(
            "this generator is a k-GAN, which has neither a global latent nor components: its "
            "images cannot be edited"
        )
    check_layer(attention_layers(context.config), options.layer)
    component = _component(options, context)
    edit, layer = _edit(options, kind, context, component, weights)
    names = [f"{seed:06d}" for seed in seeds]
    if options.latents is not None:
        names = [f"{row:06d}" for row in range(len(context.latents))]
    files, changes = write_edit(context, edit, names, folder, layer=layer, weights=weights)
    print(changes)
    print(f"{len(files)} files in {folder}")


def _check(options: Options) -> str:
    """Check the options; return the kind of the edit."""
    given = [kind for kind in EDITS if getattr(options, kind) not in (None, False, ())]
    if len(given) != 1:
        names = ", ".join(f"--{kind}" for kind in EDITS)
        raise UserError(f"give one of {names}" + (", not several" if given else ""))
    kind = given[0]
    if (kind == "direction") != (options.amount is not None):
        raise UserError("--direction NAME and --amount NUMBER need each other")
    if kind != "direction" and options.component is None:
        raise UserError(f"--{kind} needs --component: the number of a component")
    if options.component == GLOBAL and kind in ("remove", "move", "recolor"):
        raise UserError(
            f"--{kind}: the global latent has no region; name a component by its number"
        )
    if options.swap is not None and not 0 <= options.swap < SEEDS:
        raise UserError("--swap must be a seed from 0 to 2^32 - 1")
    if options.recolor:
        _color(options.recolor)
    if options.limit <= 0:
        raise UserError("--limit must be above 0")
    _refuse_unread(options, READ.get(kind, ()), f"--{kind}")
    return kind


def _refuse_unread(options: Options, read: Collection[str], edit: str) -> None:
    """Raise `UserError` if an option is given that an edit does not read."""
    given = {"limit": options.limit != Options.limit, "directions": options.directions is not None}
    refuse_without_effect(given, read, edit)


def _component(options: Options, context: FigureContext) -> int | None:
    """Return the component to edit, from 0; None for the global latent, or if none is named.

    Raises:
        UserError: If there is no such component, or images do not attend to components.
    """
    if options.component in (None, GLOBAL):
        return None
    if not context.config.attended_resolutions:
        raise UserError(
            f"--component {options.component}: this generator has no attention, so images have no "
            f"regions of components; use --component {GLOBAL}"
        )
    text, count = str(options.component), context.config.components
    if not text.isdecimal() or not 1 <= int(text) <= count:
        raise UserError(f"--component {text}: name one from 1 to {count}, or {GLOBAL}")
    return int(text) - 1


def _edit(
    options: Options, kind: str, context: FigureContext, component: int | None, weights: str
) -> tuple[LatentEdit, int | None]:
    """Return the edit, and the attention layer of regions."""
    from ganformer_jax.experiment.latents import editing

    latents, layer = context.latents, options.layer
    if kind == "remove":
        assert component is not None
        return editing.remove(latents, component), layer
    if options.swap is not None:
        other = _other(options, context, component, options.swap)
        return editing.swap(latents, other, component, options.swap), layer
    if options.move is not None and context.config.attention.places:
        assert component is not None
        _refuse_unread(options, (), "--move of a component with a place")
        size = context.config.image_size
        return editing.move_place(latents, component, options.move, size), layer
    known = _directions(options, context, weights)
    if kind == "direction":
        direction = _named(options, known)
        component = _moved_component(options, direction, component)
        edit = editing.move_along(latents, direction, options.amount or 0.0, component)
        return edit, _layer(options, [direction])
    assert component is not None
    own = editing.of_component(known, component)
    targets = _targets(options, context.config.image_channels)
    layer = _layer(options, list(own.values()))
    settings: dict[str, Any] = {"limit": options.limit, "layer": layer}
    relative = options.move is not None
    edit = editing.change_region(context, component, own, targets, relative=relative, **settings)
    print(editing.describe_fit(own, list(targets)))
    return edit, layer


def _other(options: Options, context: FigureContext, component: int | None, seed: int) -> Any:
    """Return the latents that are swapped in, of the same labels as the images."""
    count, labels = len(context.latents), context.labels
    if context.config.label_size and labels is None:
        config = context.config
        if component is None or "components" in config.labeled_branches or config.text.vocabulary:
            raise UserError("--swap of this latent needs labels: give --seeds, not --latents")
        labels = [0] * count  # which components do not depend on
    truncation = options.truncation_psi, options.truncation_cutoff
    if options.latents is not None and not options.gives_truncation():
        truncation = _stored_truncation(context, options.truncation_psi)
    return context.synthesizer.latents(context.variables, [seed] * count, labels, *truncation)


def _stored_truncation(context: FigureContext, psi: float) -> tuple[float, int | None]:
    """Return psi and cutoff of the latents in a file, as recorded there; by default this psi."""
    facts = context.latents.facts or [{}]
    found = {(one.get("truncation_psi", psi), one.get("truncation_cutoff")) for one in facts}
    if len(found) > 1:
        raise UserError("--latents differ in truncation: give --truncation-psi")
    return found.pop()


def _directions(options: Options, context: FigureContext, weights: str) -> dict[str, Direction]:
    from ganformer_jax.directions import read_directions
    from ganformer_jax.experiment.latents.direction_files import DIRECTIONS_FILE

    path = options.directions or options.default_folder("directions") / DIRECTIONS_FILE
    return read_directions(path, context.config, weights=weights, say=print)


def _named(options: Options, known: dict[str, Direction]) -> Direction:
    name = str(options.direction)
    if name not in known:
        more = f" and {len(known) - NAMED} more" if len(known) > NAMED else ""
        names = ", ".join(list(known)[:NAMED])
        near = did_you_mean(name, known) or f"; the directions are {names}{more}"
        raise UserError(f"no direction {name}{near}")
    return known[name]


def _moved_component(options: Options, direction: Direction, component: int | None) -> int | None:
    """Return the component that a direction moves; None for the global or all latents."""
    from ganformer_jax.directions import COMPONENTS, component_name

    if direction.latent == COMPONENTS:
        if component is None:
            raise UserError(f"--direction {direction.name} needs --component: its number")
        return component
    given = GLOBAL if component is None else component_name(component)
    if options.component is not None and given != direction.latent:
        raise UserError(f"--direction {direction.name} is of {direction.latent}, not of {given}")
    number = direction.latent.removeprefix("component ")
    return int(number) - 1 if number.isdecimal() else None


def _layer(options: Options, directions: list[Direction]) -> int | None:
    if options.layer is not None or not directions:
        return options.layer
    return directions[0].facts.get("attention_layer")


def _targets(options: Options, channels: int) -> dict[str, float]:
    """Return the properties of the region that are to change, and by how much or to what."""
    from ganformer_jax.directions import color_names

    if options.move is not None:
        return dict(zip(("row", "column"), options.move, strict=True))
    names, values = color_names(channels), _color(options.recolor)
    if len(values) != len(names):
        numbers = "one number" if len(names) == 1 else f"{len(names)} numbers"
        hint = " or one color like #ff8000" if len(names) == 3 else ""
        raise UserError(
            f"--recolor {' '.join(options.recolor)}: give {numbers} from 0 to 255 "
            f"({', '.join(names)}){hint}"
        )
    return dict(zip(names, values, strict=True))


def _color(given: Sequence[str]) -> list[float]:
    """Return the numbers of a color, of any number of channels.

    Raises:
        UserError: If it is not one color like #ff8000, or a number is not from 0 to 255.
    """
    if len(given) == 1 and re.fullmatch("#?[0-9a-fA-F]{6}", given[0]):
        return [float(value) for value in bytes.fromhex(given[0].removeprefix("#"))]
    try:
        values = [float(value) for value in given]
    except ValueError:
        values = [math.nan]
    if not all(0 <= value <= 255 for value in values):
        raise UserError(
            f"--recolor {' '.join(given)}: give numbers from 0 to 255, or one color like #ff8000"
        )
    return values
