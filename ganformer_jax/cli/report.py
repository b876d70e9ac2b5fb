"""`report`: write one HTML page about a run, or one that compares several."""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from ganformer_jax.cli.options import (
    named,
    program,
    refuse_overwriting,
    refuse_without_effect,
)
from ganformer_jax.errors import UserError, one_line

if TYPE_CHECKING:
    from ganformer_jax.evaluate.neighbors import Neighbors

PACKAGES = ("jinja2", "plotly")
BATCH = 32
"""Images per batch in feature networks."""
OF_NEIGHBORS = "neighbor_images", "neighbor_network", "inception", "real"
"""Options about nearest training images, besides their number."""
NAMED = 3
"""Number of runs that the file name of a comparison lists."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Write one HTML page about a run, or one that compares several runs.

    The page needs no network and no other file. Run the command again for a newer page.
    """

    runs: Annotated[
        tuple[pathlib.Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[RUN ...]")
    ] = (pathlib.Path("runs/scenes"),)
    """Folders of runs; several are compared."""
    out: pathlib.Path | None = None
    """File to write; by default report.html in the folder of a run, or
    report-<names>.html beside the first of several. An earlier page of this command
    is replaced; another file is not."""
    neighbors: int = 8
    """Number of samples of the newest checkpoint to show beside their nearest
    training images, which takes minutes on a CPU; 0 for none. Not for several
    runs."""
    neighbor_images: int = 1000
    """Number of training images to search for neighbors; the first ones are searched."""
    neighbor_network: Literal["random", "inception"] = "random"
    """Network whose features are compared: Inception with random weights, which needs
    no download, or FID's."""
    inception: pathlib.Path | None = None
    """Weights of FID's Inception; by default the published ones, downloaded once."""
    real: pathlib.Path | None = None
    """Training images, if the run's dataset was moved: a prepared dataset, or
    anything that `prepare` reads."""
    overwrite: bool = False
    """Replace a file that is not a page of this command."""


def run(options: Options) -> None:
    """Write the page and print its path."""
    if options.neighbors < 0 or options.neighbor_images < 2:
        raise UserError("--neighbors must be 0 or more, and --neighbor-images 2 or more")
    _check_neighbors(options)
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f'report needs {missing[0]}: pip install "ganformer-jax[report]"')
    from ganformer_jax.files import write_atomically
    from ganformer_jax.report import MARK, comparison_page, read_run_folder, run_page
    from ganformer_jax.report.run_files import short_names

    if not options.runs:
        raise UserError("name the folder of a run")
    names = short_names(options.runs)
    runs = [read_run_folder(folder, name) for folder, name in zip(options.runs, names, strict=True)]
    out = options.out or _default_out(options.runs)
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: name a file")
    if not _is_page(out, MARK):
        refuse_overwriting([out], options.overwrite)
    if len(runs) > 1:
        page = comparison_page(runs, program())
    else:
        page = run_page(runs[0], _neighbors(options), program())
    write_atomically(out, page)
    print(f"report: {out} ({len(page) / 1e6:.1f} MB)")


def _check_neighbors(options: Options) -> None:
    """Raise `UserError` if an option about neighbors has no effect."""
    if options.inception is not None and options.neighbor_network != "inception":
        raise UserError("--inception needs --neighbor-network inception: give both or neither")
    several = len(options.runs) > 1
    if options.neighbors and not several:
        return
    given = {name: getattr(options, name) != getattr(Options, name) for name in OF_NEIGHBORS}
    given["neighbors"] = options.neighbors not in (0, Options.neighbors)
    what = "a comparison of runs" if several else "--neighbors 0"
    refuse_without_effect(given, (), what)


def _default_out(runs: Sequence[pathlib.Path]) -> pathlib.Path:
    if len(runs) == 1:
        return runs[0] / "report.html"
    names = [run.resolve().name for run in runs]
    more = [f"and-{len(names) - NAMED}-more"] if len(names) > NAMED else []
    return named(runs[0]).parent / f"report-{'-'.join([*names[:NAMED], *more])}.html"


def _is_page(path: pathlib.Path, mark: str) -> bool:
    """Return whether a file was written by this command."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return mark.encode() in file.read(1000)


def _neighbors(options: Options) -> Neighbors | str | None:
    """Return the neighbors, or the reason why they are missing, which the page then shows."""
    if not options.neighbors:
        return None
    from ganformer_jax.cli.devices import local_devices
    from ganformer_jax.evaluate.requests import RANDOM, TRAINED
    from ganformer_jax.experiment.evaluation import metric_networks
    from ganformer_jax.experiment.neighbors import neighbors_of_run
    from ganformer_jax.load import load_run

    network = RANDOM if options.neighbor_network == "random" else TRAINED
    files = {"inception": options.inception}
    try:
        return neighbors_of_run(
            options.runs[0],
            load_run,
            metric_networks(local_devices(BATCH), BATCH, files),
            network,
            samples=options.neighbors,
            searched=options.neighbor_images,
            real=options.real,
        )
    except UserError as error:
        reason = str(error)
    except Exception as error:  # from other libraries, as when a device is out of memory
        reason = one_line(error)
    print(f"warning: no nearest training images: {reason}", file=sys.stderr)
    return reason
