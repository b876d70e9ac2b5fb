"""`view`: serve a page on this machine that edits images of a generator."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
from typing import TYPE_CHECKING

from ganformer_jax.cli.generator_options import GeneratorOptions
from ganformer_jax.errors import UserError

if TYPE_CHECKING:
    from ganformer_jax.viewer import Labels, ViewedGenerator

PACKAGES = ("starlette", "uvicorn")


@dataclasses.dataclass(frozen=True)
class Options(GeneratorOptions):
    """Serve a page that edits images of a run, an export or a snapshot, on this machine.

    The page shows an image and the component that each pixel attends to most; components are
    swapped, removed and interpolated. Only this machine can open it, with the URL that is printed.
    """

    port: int = 0
    """Port to serve the page on; 0 for any free port."""
    open: bool = True
    """Open the page in a browser, if there is a display."""
    condition: str | None = None
    """Condition to start with: comma-separated numbers, or name=number pairs; by default the
    condition of a training image."""
    prompt: str | None = None
    """Caption to start with, for a run trained on captions; the page shows its tokens as
    numbers."""


def run(options: Options) -> None:
    """Compile the generator, print the URL of the page, and serve it until a signal."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f'view needs {missing[0]}: pip install "ganformer-jax[view]"')
    if not 0 <= options.port < 2**16:
        raise UserError("--port must be from 0 to 65535")
    options.check_generator()
    from ganformer_jax.viewer.app import make_app, new_token
    from ganformer_jax.viewer.serve import bind, opened_in_browser, serve, url

    with bind(options.port) as listener:
        viewed = _load(options)
        print("compiling the generator ...", flush=True)
        token = new_token()
        app = make_app(viewed, _name(options), token)
        address = url(listener, token)
        print(f"viewer: {address}\nCtrl-C ends it", flush=True)
        with opened_in_browser(address) if options.open else contextlib.nullcontext():
            serve(app, listener)


def _name(options: Options) -> str:
    path = options.workdir.resolve()
    return path.stem if path.is_file() else path.name


def _load(options: Options) -> ViewedGenerator:
    import jax

    from ganformer_jax.viewer import ViewedGenerator

    config, variables, weights, placement = options.load_for_devices(1)
    labels = _labels(options, config.label_size, config.text.vocabulary)
    variables = jax.device_put(variables, placement.devices[0])
    return ViewedGenerator(config, variables, labels, weights)


def _labels(options: Options, size: int, vocabulary: int = 0) -> Labels:
    """Return the labels of the generator: conditions if the run or an option says so."""
    from ganformer_jax.classes import load_class_names
    from ganformer_jax.conditions import load_condition_names
    from ganformer_jax.experiment.chosen_labels import choose_labels
    from ganformer_jax.viewer import Labels

    run = options.workdir
    names = load_condition_names(run, size) if size else None
    prompts = () if options.prompt is None else (options.prompt,)
    if options.condition is None and names is None and not prompts and not vocabulary:
        if not size:
            return Labels()
        return Labels("classes", tuple(load_class_names(run, size)), 0)
    try:
        given = {"condition": options.condition, "prompts": prompts}
        chosen = choose_labels(run, size, [0], **given, vocabulary=vocabulary).labels
    except UserError as error:
        if options.condition is not None or prompts or vocabulary:
            raise
        print(f"starting with a condition of zeros: {error}")
        chosen = None
    start = [0.0] * size if chosen is None else chosen[0]
    names = names or [str(number) for number in range(size)]
    return Labels("conditions", tuple(names), tuple(float(number) for number in start))
